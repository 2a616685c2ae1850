"""Public leaderboards judged again: what can be told apart, beside what each one's own rule says of the same runs.

    python -m tests.acceptance.replays [FOLDER]      writes results/judge/*.md from the tables in FOLDER/runs

FOLDER is that of benchmark data (`BLOCKYARD_DATA`, else ../shared/data). The tables hold figures read from the logs of
three public repositories under the MIT licence; each page names its own.
"""

import csv
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import stdtr

from blockyard.compare.outcome import Judgement
from blockyard.compare.report.format import gap, word
from blockyard.compare.report.text import sentences
from blockyard.compare.verdict import judge

OUT = Path(__file__).parents[2] / "results" / "judge"
Scores = dict[str, list[float]]


def scores(path: Path, arm: str, score: str) -> Scores:
    """The scores of every entry, in the order of the entries' names, which begin with their dates."""
    found: Scores = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row[arm], []).append(float(row[score]))
    return dict(sorted(found.items()))


def below(values: list[float], mean: float) -> float:
    """The chance of a t test that the mean of these runs is not below a number."""
    n = len(values)
    if n < 2 or np.var(values) == 0:
        return 1.0
    return float(stdtr(n - 1, (np.mean(values) - mean) / (np.std(values, ddof=1) / n**0.5)))


def told(judged: Judgement, a: str, b: str) -> str:
    """The verdict on a, held against b."""
    return word(gap(judged, a, b))


def page(name: str, head: list[str], judged: Judgement, rows: list[list[str]], titles: list[str]) -> None:
    said = [f"- {sentence}" for sentence in sentences(judged)]
    lines = [f"# {name}", "", *head, "", *said, "", f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.md").write_text("\n".join(lines) + "\n")
    print(f"{name}: {len(rows)} rows", flush=True)


def counts(rows: list[list[str]], at: int, right: Callable[[str], bool]) -> str:
    asked = [row[at] for row in rows if row[at] not in ("–", "no verdict")]
    return f"{sum(map(right, asked))} of {len(asked)}"


def speedrun(folder: Path) -> None:
    """Entries of an optimiser speedrun: each must end below 3.28, in as few steps as it can."""
    path, base = folder / "nanogpt_track3.csv", "(baseline)"
    held = scores(path, "entry", "val_loss")
    judged = judge(path, seed="none", margin=0.0005)
    against = judge(path, seed="none", margin=0.0005, against=base)
    rows, before = [], ""
    for entry, values in held.items():
        n, mean, own = len(values), float(np.mean(values)), judged.arm(entry).score
        rule = (3.28 - mean) * math.sqrt(n) >= 0.004
        sure = "one run" if own.high is None else "yes" if own.high < 3.28 else "no"
        rows.append([entry, str(n), f"{mean:.5f}", told(judged, entry, before) if before else "–",
                     told(against, entry, base) if entry != base else "–", "yes" if rule else "no", sure])  # fmt: skip
        before = entry
    kept = [row for row in rows if row[5] == "yes"]
    head = [
        "The last validation loss of 386 runs of 42 entries, read from the logs of KellerJordan/modded-nanogpt, "
        "records/track_3_optimization (MIT). `blockyard judge nanogpt_track3.csv --seed none --margin 0.0005`: every "
        "row is a run, since names of runs are cut off in the table.",
        "",
        "The contest asks for few steps, not for a low loss: an entry is valid where (3.28 - mean) sqrt(n) is at least "
        "0.004, which takes 0.0013 for the spread of every entry. So entries need not differ in loss, and most do not: "
        f"{counts(rows, 3, lambda said: 'better' in said or 'worse' in said)} can be told apart from the one before by "
        "name. The rule goes by one spread for all; by their own runs alone "
        f"{sum(row[6] == 'yes' for row in kept)} of the {len(kept)} entries that pass it lie below 3.28 at 95%, "
        f"{sum(row[6] == 'one run' for row in kept)} have one run, which says nothing of its spread.",
    ]
    titles = ["entry", "runs", "mean loss", "than the one before", "than the baseline", "own rule", "below 3.28 at 95%"]
    page("nanogpt_track3", head, judged, rows, titles)


def golf(folder: Path) -> None:
    """Entries of a contest of small models: each must beat the best before it by 0.005 nats a token."""
    path, base, step = folder / "parameter_golf.csv", "2026-03-17_NaiveBaseline", 0.003
    held = scores(path, "entry", "val_bpb")
    judged = judge(path)
    first = next(entry for entry, values in held.items() if len(values) > 1)
    against = judge(path, against=first)
    rows, before, best = [], "", math.inf
    for entry, values in held.items():
        rule = "–" if best == math.inf else "yes" if below(values, best - step) < 0.01 else "no"
        rows.append([entry, str(len(values)), f"{np.mean(values):.4f}", told(judged, entry, before) if before else "–",
                     told(against, entry, first) if entry != first else "–", rule])  # fmt: skip
        before, best = entry, min(best, float(np.mean(values)))
    both = [row for row in rows if row[5] in ("yes", "no") and row[3] not in ("–", "no verdict")]
    head = [
        "Bits a byte of 164 runs of 57 entries, read from the logs of openai/parameter-golf (MIT). "
        "`blockyard judge parameter_golf.csv`; most entries have three runs.",
        "",
        f"{base} has one run, which no verdict can be held against; the baseline here is the first entry with several, "
        f"{first}. The contest's rule: at least 0.005 nats a token better than the best before, at p < 0.01. It is "
        "worked out here as entries show it, by a t test of their own runs against the mean of the best before less "
        "0.003 bits a byte (0.005 nats at 2.4 bytes a token; larger tokens make it less); the spread of the best "
        "before is not in it, nor that there are 56 such tests. "
        f"{sum(row[5] == 'yes' for row in rows)} entries pass it. Of {len(both)} that have a verdict beside the one "
        f"before by date, {sum('better' in row[3] for row in both)} are told apart as better, "
        f"{sum('worse' in row[3] for row in both)} as worse, over all pairs at once.",
    ]
    titles = [
        "entry",
        "runs",
        "bits a byte",
        "than the one before",
        f"than {first}",
        "own rule, against the best before",
    ]
    page("parameter_golf", head, judged, rows, titles)


def grade_school(folder: Path) -> None:
    """Four models on the same problems: a paper gave their shares of right answers."""
    path, base = folder / "gsm8k_samples.csv", "6b_finetuning"
    held, judged = scores(path, "model", "correct"), judge(path)
    order = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
    rows, before = [], ""
    for model in order:
        own = judged.arm(model).score
        rows.append([model, f"{np.mean(held[model]):.1%}", f"{own.low:.1%} to {own.high:.1%}",
                     told(judged, model, before) if before else "–", told(judged, model, base) if before else "–",
                     _more(held, model, before)])  # fmt: skip
        before = model
    head = [
        "Right or wrong of four models on the same 1,319 problems, from openai/grade-school-math (MIT). "
        "`blockyard judge gsm8k_samples.csv`: the models are paired by the problems.",
        "",
        "The paper compares the shares as they are; all that it says of these four holds over the choice of problems, "
        "all pairs at once. What training again would change one run of each cannot say.",
    ]
    titles = [
        "model",
        "right",
        "own interval",
        "than the one before",
        f"than {base}",
        "by the shares, than the one before",
    ]
    page("gsm8k_samples", head, judged, rows, titles)


def _more(held: Scores, a: str, b: str) -> str:
    return "–" if not b else "better" if np.mean(held[a]) > np.mean(held[b]) else "worse"


def main() -> None:
    told = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BLOCKYARD_DATA", "../shared/data")
    folder = Path(told) / "runs"
    if not folder.is_dir():
        raise SystemExit(f"there is no {folder}; name the folder of benchmark data")
    for replay in (speedrun, golf, grade_school):
        replay(folder)


if __name__ == "__main__":
    main()
