"""The page of a comparison: whole, self-contained, safe with any label, and sound where figures are missing."""

import copy
import json
import math
import re
import shlex
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from blockyard.cli import parser
from blockyard.compare.documents import Choice, Plan, Report, RunResult
from blockyard.compare.plan.dataset import described
from blockyard.compare.report import figures as pictures
from blockyard.compare.report import format as figures
from blockyard.compare.report import page as pages
from blockyard.compare.report import terminal
from blockyard.compare.report import text as words_of
from blockyard.compare.report.page import amount, target
from blockyard.compare.report.result import assemble
from blockyard.core.files import strict
from blockyard.core.numbers import TOKENS
from blockyard.data import load_text
from blockyard.systems import parse_target
from blockyard.task._text import Text

NEVER = "significan", "winner", "outperform", "trend"
MEANS = {"gated_deltanet": 2.005, "llama": 2.008, "gla": 2.061, "mamba2": 2.108, "retnet": 2.2, "hyena": 2.3}
STEP, STEPS = 2048, 480


def read_report(data: dict[str, Any]) -> Report:
    return Report.from_json(json.loads(json.dumps(strict(data))), "a report")


def render(data: dict[str, Any]) -> str:
    return pages.render(read_report(data))


def describe(data: dict[str, Any]) -> str:
    return terminal.describe(read_report(data))


def sentences(data: dict[str, Any]) -> list[str]:
    return words_of.sentences(read_report(data))


def describe_plan(plan: dict[str, Any]) -> str:
    return terminal.describe_plan(Plan.from_json(plan, "a plan"))


def command(plan: dict[str, Any]) -> list[str]:
    return pages.command(Plan.from_json(plan, "a plan"))


def plan_of(labels: list[str], seeds: int, **changed: Any) -> dict[str, Any]:
    arms = [
        {"label": label, "name": "gla" if i == 2 else label, "system": {"kind": "system"}, "hash": f"h{i}",
         "ordinal": 0, "id": f"h{i}-0", "dim": 64 + 16 * (i % 2), "params": 1_000_000 + 900 * i, "body_params": 900_000,
         "flops_per_token": 6e6 + 2e5 * (i % 3), "peak_bytes": 300_000_000 + 20_000_000 * i,
         "state_bytes": {"1024": 65536, "8192": 8_388_608 if i == 1 else 65536, "65536": None}}
        for i, label in enumerate(labels)
    ]  # fmt: skip
    same = {
        "length": 128, "batch": 16, "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.1, "clip": 1.0,
        "optimiser": "AdamW(0.9, 0.95)", "device": "cpu", "precision": "float32", "workers": 2, "threads": 1,
        "rates": [2.5e-3, 5e-3, 1e-2, 2e-2], "rate_rule": "rate * sqrt(64 / dim)",
    }  # fmt: skip
    data = {
        "name": "a text", "hash": "d73d3ac1cbf1", "paths": ["/data/my text.txt"], "codec": "bytes",
        "summary": "a text (sha256 d73d3ac1cbf1): train 1.30 MB",
        "task": None, "bytes": {"train": 1_300_957, "tune": 72_420, "test": 72_414},
        "scored": {"tune": 72_420, "final": 72_414},
    }  # fmt: skip
    speed = {arm["id"]: {"step": STEP / (9000 + 2000 * i), "token": 1 / (900 + 400 * i)} for i, arm in enumerate(arms)}
    return {
        "format": 1, "arms": arms, "data": data, "matched": {"params": 1e6, "tokens": 1e6}, "same": same,
        "metric": vars(Text.metric), "looks": [seeds], "against": None, "references": {},
        "tuning": "fit", "alpha": 0.05, "margin": 0.01, "seeds": list(range(seeds)), "tuning_seed": 99,
        "versions": {"torch": "2.13.0", "numerics": 1}, "steps": {arm["id"]: STEPS for arm in arms}, "speed": speed,
        **changed,
    }  # fmt: skip


def document(
    labels: list[str], seeds: int = 3, failed: frozenset[tuple[str, int]] = frozenset(), turn: float = 1, **changed: Any
) -> dict[str, Any]:
    """What a comparison of arms with these labels leaves; `failed` holds the runs (label, seed) that did not finish.

    `turn` -1 turns every score round, for a metric where higher is better.
    """
    plan, rng = plan_of(labels, seeds, **changed), np.random.default_rng(5)
    text, means = rng.normal(0, 0.1, 32), list(MEANS.values())
    runs, trials, rates = {}, {}, {}
    for i, arm in enumerate(plan["arms"]):
        trials[arm["id"]] = [] if plan["tuning"] == "none" else [means[i] + 0.1, means[i], math.nan if i else 2.0, 2.4]
        for seed in plan["seeds"]:
            bad = (arm["label"], seed) in failed
            groups = means[i] + text + rng.normal(0, 0.004, 32) + rng.normal(0, 0.006)
            curve = [[step * STEP, 2.6 + 9 / step + 0.02 * i] for step in range(12, (90 if bad else STEPS) + 1, 12)]
            lengths = {"64": 2.1, "128": means[i], "256": 2.0, "512": None if i == 1 else 1.99}
            rates[arm["id"], seed] = 0.004, i == 2
            runs[arm["id"], seed] = {
                "key": f"{i}{seed:015}",
                "status": "failed" if bad else "finished", "reason": "the loss is not finite" if bad else "",
                "steps": 1, "seconds": 90.0, "curve": curve,
                "groups": (turn * groups).tolist(), "weights": [1 / 32] * 32,
                "lengths": None if bad or seed else lengths,
                "probes": None if bad else {"copying": 0.1, "recall": -0.002, "horizon": [3.5, None], "rank": [2.0]},
            }  # fmt: skip
    done = {key: RunResult.from_json(run, "a run") for key, run in runs.items()}
    found = assemble(
        Plan.from_json(plan, "a plan"), plan["seeds"], done, rates, [trials] if plan["tuning"] == "fit" else [{}]
    )
    return strict(found.to_json())


def everything(*labels: str, seeds: int = 3) -> frozenset[tuple[str, int]]:
    return frozenset((label, seed) for label in labels for seed in range(seeds))


LABELS = list(MEANS)
CASES = {
    "five arms, one failed wholly, one partly": document(LABELS[:5], 3, everything("retnet") | {("mamba2", 2)}),
    "two arms": document(LABELS[:2], 5),
    "one arm": document(LABELS[:1]),
    "one seed": document(LABELS[:3], 1),
    "one seed, the first failed": document(LABELS[:3], 1, everything("llama", seeds=1)),
    "all failed": document(LABELS[:3], 3, everything(*LABELS[:3])),
    "the first seed of all failed": document(LABELS[:2], 3, frozenset((label, 0) for label in LABELS[:2])),
    "not tuned, by minutes": document(LABELS[:2], 3, tuning="none", matched={"params": 1e6, "minutes": 1.5}),
}


class Tags(HTMLParser):
    """Every element is closed in its turn; words outside style and script are kept."""

    void = {"meta", "br", "link", "img", "hr", "input"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.ids: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words += data + " "


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    return tags


def drawings(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)


def named(page: str, name: str) -> str:
    """The words of all pictures whose title has this id, or ids that begin with it."""
    found = [svg for svg in drawings(page) if re.search(f'<title id="{name}[^"]*-title"', svg)]
    return " ".join(" ".join(text.text or "" for text in ElementTree.fromstring(svg).iter("text")) for svg in found)


@pytest.mark.parametrize("case", CASES)
def test_page_is_well_formed_and_needs_no_network(case: str) -> None:
    page = render(CASES[case])
    tags = read(page)
    assert tags.open == [] and tags.names.count("h1") == 1
    assert len(tags.ids) == len(set(tags.ids))
    for svg in drawings(page):
        ElementTree.fromstring(svg)
    assert "http://" not in page and "https://" not in page
    assert not re.search(r"<(link|img|iframe)|@import|url\(|\bsrc=", page)


@pytest.mark.parametrize("case", CASES)
def test_no_figure_is_missing_in_print(case: str) -> None:
    words = read(render(CASES[case])).words
    plan_at = words.index("The whole plan, as JSON")
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", words[:plan_at])
    assert not any(word in words.lower() for word in NEVER)


@pytest.mark.parametrize("case", CASES)
def test_same_document_gives_the_same_bytes(case: str) -> None:
    before = json.dumps(CASES[case])
    assert render(CASES[case]) == render(json.loads(before))
    assert json.dumps(CASES[case]) == before


def test_six_arms_of_five_seeds_stay_small() -> None:
    data = document(LABELS, 1)
    for arm in data["arms"]:
        arm["curves"], arm["score"]["per_seed"] = 5 * arm["curves"], 5 * arm["score"]["per_seed"]
    assert len(render(data).encode()) < 250_000


def test_every_arm_is_in_every_picture() -> None:
    data = CASES["five arms, one failed wholly, one partly"]
    page = render(data)
    for picture in (
        "forest",
        "forest-narrow",
        "price-0",
        "price-1",
        "price-2",
        "price-3",
        "curves",
        "curves-late",
        "lengths",
        "tuning",
    ):
        for arm in data["arms"]:
            assert arm["name"] in named(page, picture), (picture, arm["name"])


def test_answer_comes_first_and_no_sentence_is_lost() -> None:
    data = CASES["five arms, one failed wholly, one partly"]
    page = render(data)
    words = read(page).words
    assert re.search(r"<h1>Best at equal tokens: [^<]+</h1>", page)
    for sentence in sentences(data):
        assert sentence in words, sentence
    assert "One seed gives no verdict" in read(render(CASES["one seed"])).words
    assert "No architecture finished a run" in read(render(CASES["all failed"])).words
    alone = r"<h1>gated_deltanet: \d\.\d{4} bits/byte on the test, the mean of 3 seeds.</h1>"
    assert re.search(alone, render(CASES["one arm"]))
    alone = read(render(CASES["one arm"])).words
    assert not any(word in alone for word in ("Quality and its price", "behind  the first", "at equal", "Point at"))


def reach(data: dict[str, Any], minutes: dict[str, Any] | None, crossing: list[list[str]]) -> str:
    """The answer to this comparison if its curves said that."""
    return sentences({**data, "along": {**data["along"], "minutes": minutes, "crossing": crossing}})[0]


def test_what_needs_no_training_and_is_ahead_is_said_at_once() -> None:
    """Who knows the answers is not counted; where more is better, more is ahead."""

    def said(**changed: Any) -> list[str]:
        return [each for each in sentences(document(LABELS, **changed)) if "no training" in each]

    groups = {"oracle": [0.0] * 32, "counting": [9.0] * 32, "ridge": [0.5] * 32}
    untested = "better than the mean of every arm; whether by chance is not tested."
    assert said(references=groups) == [f"ridge (0.500) needs no training of ours and scores {untested}"]
    assert sentences(document(LABELS, references=groups))[1] == said(references=groups)[0]
    both = said(references={**groups, "linear": [0.25] * 32})
    assert both == [f"ridge (0.500) and linear (0.250) need no training of ours and score {untested}"]
    up = {"name": "gain", "unit": "points", "better": "higher"}
    upside = {"oracle": [1.0] * 32, "ridge": [-9.0] * 32, "counting": [-0.5] * 32}
    turned = said(turn=-1, metric=up, references=upside)
    assert len(turned) == 1 and turned[0].startswith("counting (-0.5")
    assert not said(references={"counting": [9.0] * 32})


def test_the_answer_names_its_scope_and_its_price() -> None:
    data = document(["retnet", "llama"], 5)
    best = [arm["name"] for arm in data["arms"] if arm["candidate"]]
    tied = " (this comparison cannot say which)" if len(best) > 1 else ""
    assert reach(data, None, []) == f"Best at equal tokens: {' or '.join(best)}{tied}; all took about the same time."
    slower = {"minutes": 1.5, "losses": [["llama", 2.0, 1.9, 2.1], ["retnet", 2.2, 2.2, 2.2]], "best": ["llama"]}
    assert "; at equal time probably: llama." in reach(data, slower, [])
    assert "probably: llama or retnet." in reach(data, slower | {"best": ["llama", "retnet"]}, [])
    assert reach(data, slower, [["llama", "retnet"]]).endswith("; with 4 times the tokens the order may change.")
    assert "may change" not in reach(data, slower, [["gla", "mamba2"]])
    for matched, words in (({"flops": 1e12}, "operations"), ({"minutes": 2.0}, "time")):
        other = {**data, "plan": {**data["plan"], "matched": {"params": 1e6} | matched}}
        assert sentences(other)[0].startswith(f"Best at equal {words}: ")
        assert ("probably" in reach(other, slower, [])) == (words == "operations")
    assert "at equal time: not known" in sentences({**data, "along": None})[0]


def test_price_is_in_every_place_where_the_answer_is() -> None:
    data = copy.deepcopy(CASES["two arms"])
    for arm, seconds in zip(data["arms"], (240.0, 120.0)):
        arm["seconds"] = [seconds + i for i in range(5)]
    first, second = (arm["name"] for arm in data["arms"])
    losses = [[second, 2.0, 1.9, 2.1], [first, 2.2, 2.2, 2.2]]
    data["along"] |= {"minutes": {"minutes": 122 / 60, "losses": losses, "best": [second]}, "crossing": []}
    words, text = " ".join(read(render(data)).words.split()), describe(data)
    for told in (words, " ".join(text.split())):
        assert f"at equal time probably: {second}" in told and "At equal time (2.03 min a run, by the speeds" in told
        assert "time a run (" in told and f"{first} 4.00 min to 4.07 min" in told
    row = next(line.split() for line in text.splitlines() if line.startswith(first))
    assert row[-1] == "2." and row[-3:-1] == ["4.03", "min"]
    assert "at equal tokens" in words and "at equal tokens:" in text
    assert read_report(data).arms[0].speeds == [data["arms"][0]["tokens"] / (240 + i) for i in range(5)]
    data["arms"][0]["score"]["per_seed"][0] = None  # a run that failed says nothing of speed
    assert len(read_report(data).arms[0].speeds) == 4


def test_training_losses_have_the_unit_of_the_score_or_name_their_own() -> None:
    data = document(LABELS[:3])
    data["plan"]["data"]["training"] = {"unit": "bits/byte", "per_nat": 0.5}
    last = data["arms"][0]["curves"][0][-1]
    assert f"{0.5 * data['along']['target']['loss']:.3f} bits/byte" in read(render(data)).words and last[1] > 2
    assert "nats" not in named(render(data), "curves")
    facts = vars(described(Text(load_text([str(Path(__file__))])), Choice(None, [], "bytes")).training)
    assert facts == {"unit": "bits/byte", "per_nat": pytest.approx(1 / math.log(2))}


@pytest.mark.parametrize("case", CASES)
def test_a_terminal_of_80_columns_holds_it(case: str) -> None:
    text = describe(CASES[case]) + describe_plan(CASES[case]["plan"])
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"(?<![\d.])-0\.0*(?!\d)|\b(\d+)[-–]\1\b|\b1 (architectures|seeds)", text)
    for sentence in sentences(CASES[case]):
        assert sentence in " ".join(text.split())


@pytest.mark.parametrize("case", CASES)
def test_small_things_are_in_order(case: str) -> None:
    page = render(CASES[case])
    words = read(page).words
    prose = words[: words.index("To repeat it")]
    assert not re.search(r"[a-z]\.[A-Z]|\b1 architectures|[−-]0\.0+\b(?!\d)|\b(\d)[-–]\1\b", prose)
    for svg in drawings(page):
        assert float(re.findall(r'viewBox="0 0 ([0-9.]+)', svg)[0]) <= 520 or "forest-title" in svg
        for axis in ("x", "y"):
            ticks = [node for node in ElementTree.fromstring(svg).iter("text") if node.get("class") == "tick"]
            at = [tick.get(axis) for tick in ticks]
            row = [tick.text for tick, place in zip(ticks, at) if at.count(place) > 1]
            assert len(row) == len(set(row)), (svg[:300], row)


def test_ticks_of_a_narrow_range_differ() -> None:
    ticks = [999_600.0, 999_800.0, 1_000_000.0, 1_000_200.0]
    assert pictures.written(ticks, figures.brief) == ["999,600", "999,800", "1,000,000", "1,000,200"]
    assert pictures.written([1e3, 1e4], figures.brief) == ["1k", "10k"]
    assert [figures.signed(x, 2) for x in (-0.001, 0.0, -0.0, 0.004, -1.0)] == ["0.00", "0.00", "0.00", "0.00", "−1.00"]
    assert [figures.duration(x) for x in (0.7321, 12, 119, 237, 9000)] == [
        "0.732 s",
        "12.0 s",
        "119 s",
        "3.95 min",
        "2.50 h",
    ]


def test_an_arm_looks_the_same_in_every_report() -> None:
    looks: dict[str, int] = {}
    for labels in (LABELS, LABELS[::-1][:4], ["gla", "other", "llama"], ["llama"]):
        for name, look in pictures.indices(read_report(document(labels, 1))).items():
            assert looks.setdefault(name, look) == look
    assert len({look % pictures.COLOURS for look in looks.values()}) > 3
    many = [f"arm{i}" for i in range(90)]

    def looks_of(names: list[str]) -> dict[str, int]:
        return pictures.indices(SimpleNamespace(arms=[SimpleNamespace(name=name) for name in names]))

    found = looks_of(many)
    assert len(set(found.values())) == 90 and looks_of(many[::-1]) == found
    assert all(found[name] % pictures.COLOURS == looks_of([name])[name] % pictures.COLOURS for name in many)


def test_what_differs_between_arms_stands_under_their_names() -> None:
    data = document(["llama", "a", "b"], 3)
    arms = data["plan"]["arms"]
    for arm, own in zip(arms, ({}, {"mixer.heads": "2"}, {"mixer.window": "16"})):
        arm["overrides"] = {"dim": "64", **own}
    arms[1]["name"] = "gla"
    assert figures.differs(read_report(data).plan) == {
        "llama": "",
        "a": "gla mixer.heads=2",
        "b": "gla mixer.window=16",
    }
    trained = {"kind": "optimiser", "name": "mup", "settings": {"base": 32}}
    arms[2]["system"] = {"settings": {"optimiser": trained}}
    assert figures.differs(read_report(data).plan)["b"] == "gla mixer.window=16 @mup:base=32"
    assert target(read_report(data).plan.arms[2]) == "b=gla:dim=64,mixer.window=16@mup:base=32"
    arms[2]["system"] = arms[1]["system"]
    arms[2] |= {"hash": arms[1]["hash"], "overrides": arms[1]["overrides"]}
    assert figures.differs(read_report(data).plan)["b"] == "gla mixer.heads=2 (the same as a)"
    page = render(data)
    assert '<span class="small settings">gla mixer.heads=2</span>' in page
    assert "a: gla mixer.heads=2\n" in describe(data) and "a: gla mixer.heads=2\n" in describe_plan(data["plan"])


def test_the_best_run_of_every_arm_is_named() -> None:
    data = {**CASES["five arms, one failed wholly, one partly"], "report": "runs/mine/report.html"}
    for text in (describe(data), read(render(data)).words):
        for arm in data["arms"]:
            assert (f"runs/mine:{arm['name']}" in text) == (arm["name"] != "retnet")
            assert arm["model"] is None or arm["model"]["folder"] in text


def test_what_cannot_be_is_said_in_words() -> None:
    words = read(render(CASES["five arms, one failed wholly, one partly"])).words
    assert "llama: not possible at 512 tokens." in words
    assert "retnet: not measured (its run of the first seed did not finish)." in words
    assert "Not drawn: retnet (no finished run)." in words
    assert "Nothing was tuned" in read(render(CASES["not tuned, by minutes"])).words


def test_matrix_reads_the_same_from_both_sides() -> None:
    data = CASES["five arms, one failed wholly, one partly"]
    page = render(data)
    rows = re.findall(r'<td class="(better|worse)" title="([^ ]+) against ([^:]+): ', page)
    resolved = sum(pair["resolved"] for pair in data["pairs"])
    assert resolved and len(rows) == 2 * resolved
    turned = {"better": "worse", "worse": "better"}
    assert {(kind, a, b) for kind, a, b in rows} == {(turned[kind], b, a) for kind, a, b in rows}


def test_labels_are_escaped_everywhere() -> None:
    labels = ["<script>alert(1)</script>", "a\"b'&<b>", "x" * 60]
    data = document(labels, 3, everything(labels[1]))
    data["plan"]["data"]["name"] = "<img onerror=alert(2)>"
    data["arms"][0]["reasons"] = ["</pre><script>"]
    page = render(data)
    assert read(page).names.count("script") == 1 and "img" not in read(page).names
    assert not any(text in page for text in ("<script>alert", "</pre><script>", "&<b>"))
    for svg in drawings(page):
        assert all(
            node.tag in ("svg", "title", "desc", "path", "text", "g") for node in ElementTree.fromstring(svg).iter()
        )


def test_a_metric_where_higher_is_better_is_the_same_comparison_seen_from_the_other_side() -> None:
    up = {"name": "gain", "unit": "points", "better": "higher"}
    down = document(LABELS[:4], 3, frozenset({("mamba2", 2)}))
    turned = document(LABELS[:4], 3, frozenset({("mamba2", 2)}), turn=-1, metric=up)
    for one, other in zip(down["arms"], turned["arms"]):
        assert {k: one[k] for k in ("name", "rank", "letters", "candidate")} == {
            k: other[k] for k in ("name", "rank", "letters", "candidate")
        }
        assert other["score"]["mean"] == -one["score"]["mean"]
        assert (other["score"]["low"], other["score"]["high"]) == (-one["score"]["high"], -one["score"]["low"])
        scores = other["score"]["per_seed"]
        most = max(score for score in scores if score is not None)
        assert other["model"]["folder"] == f"{other['runs'][scores.index(most)]['folder']}/model"
    for one, other in zip(down["pairs"], turned["pairs"]):
        assert (one["a"], one["b"], one["verdict"], one["p"]) == (other["a"], other["b"], other["verdict"], other["p"])
        assert other["difference"] == -one["difference"] and (other["low"], other["high"]) == (
            -one["high"],
            -one["low"],
        )
    assert any(pair["resolved"] for pair in turned["pairs"])
    page, words = render(turned), read(render(turned)).words
    assert "points; higher is better" in words and "above zero is better" in words
    assert "left is worse" in page and "points (higher is better)" in page and "lower is better" not in page
    filled = [len(re.findall('class="mark"', svg)) for svg in drawings(page) if '<title id="price-' in svg]
    assert filled == [
        len(re.findall('class="mark"', svg)) for svg in drawings(render(down)) if '<title id="price-' in svg
    ]


@pytest.mark.parametrize("unit,other", [("error rate", "bits"), ("bits/byte", "error")])
def test_a_page_speaks_of_its_own_metric(unit: str, other: str) -> None:
    metric = {"name": "error" if unit == "error rate" else "loss", "unit": unit, "better": "lower"}
    found = document(LABELS[:3], 3, metric=metric)
    if unit == "error rate":  # nothing is read twice where there is no text
        for probes in (each for arm in found["arms"] for each in arm["probes"]):
            probes |= {"copying": None, "recall": None}
    page = render(found)
    assert unit in page and not re.search(rf"\b{other}", page[: page.index("To repeat it")], re.IGNORECASE)


def test_json_of_the_plan_can_be_copied() -> None:
    data = CASES["two arms"]
    text = re.findall(r"<pre>(.*?)</pre>", render(data), flags=re.DOTALL)[0]
    unescaped = (
        text.replace("&#34;", '"').replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    assert json.loads(unescaped) == data["plan"]


def test_command_asks_for_the_plan() -> None:
    plan = copy.deepcopy(CASES["one seed"]["plan"])
    plan["arms"][0]["overrides"] = {"mixer.heads": "8", "dim": "128"}
    plan["arms"][2]["label"] = "other"
    words = shlex.split(" ".join(command(plan)))
    asked = parser().parse_args(words[1:])
    assert words[:2] == ["blockyard", "compare"] and asked.data == ["/data/my text.txt"]
    targets = [parse_target(word) for word in asked.target]
    assert targets[0] == ("gated_deltanet", "gated_deltanet", {"mixer.heads": 8, "dim": 128})
    assert targets[2] == ("other", "gla", {})
    assert asked.params == asked.tokens == 1e6
    assert (asked.seeds, asked.margin, asked.length, asked.batch, asked.tuning) == ("1", 0.01, 128, 16, "fit")
    assert "From Python" not in render(CASES["one seed"])
    plan["seeds"], plan["alpha"] = [200], 0.01
    assert "base=2, alpha=0.01" in render(
        {**CASES["one seed"], "plan": {**CASES["one seed"]["plan"], "seeds": [200], "alpha": 0.01}}
    )


@pytest.mark.parametrize("value", [200e3, 1e6, 1.5e6, 1234567.0, 999.0, 2.5e9, 30_000.0, 0.75, 7e12])
def test_amounts_are_read_back_exactly(value: float) -> None:
    assert TOKENS(amount(value), "--tokens") == value


def test_scales_hold_their_values_and_have_ticks() -> None:
    for values in ([0.0], [5.0, 5.0], [-1.0, 2.0], [1e3, 1e9], [8192.0, 8192.0, 9000.0], [0.0, 0.0], [2.001, 2.002],
                   [1e-3, 1e35], [1e-300, 1.0, 1e300]):  # fmt: skip
        scale = pictures.scale(values, 0, 100)
        assert all(0 <= scale(value) <= 100 for value in values)
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 12 and all(-1e-6 <= scale(tick) <= 100 + 1e-6 for tick in ticks)
        written = [pictures.alike(ticks)(tick) for tick in ticks]
        assert scale.log or len(set(written)) == len(written)


def test_frontier_and_places() -> None:
    assert pictures.frontier([(1, 5), (2, 4), (2, 6), (3, 4), (4, 1)]) == [0, 1, 4]
    spots = pictures.place([(50, 50), (52, 51)], [60, 60], (0, 0, 400, 200))
    assert spots[0] != spots[1]
    assert pictures.spread([10, 11, 12], 16, 0, 100) == [10, 26, 42]
    moved = pictures.spread([99, 98, 97], 16, 0, 100)
    assert max(moved) <= 100 and all(abs(a - b) >= 16 for a, b in pairwise(moved))


def test_numbers_are_short() -> None:
    assert [pictures.brief(v) for v in (0, 999.9, 1000, 1234567, 0.0345, 1.93e10)] == [
        "0",
        "1k",
        "1k",
        "1.23M",
        "0.0345",
        "19.3G",
    ]
    assert pictures.brief(6.0, fixed=True) == "6.00" and pictures.brief(300e6, fixed=True) == "300M"
    assert [figures.memory(v) for v in (0, 12, 8192, 8_388_608)] == ["0 B", "12 B", "8.19 kB", "8.39 MB"]
