"""Forty real tries of 0.1M parameters, of which four are planted gains, as an automatic loop makes them.

    python -m tests.acceptance.tries [FOLDER]            some minutes of one core; what was stopped goes on
    python -m tests.acceptance.tries FOLDER beforehand   are they gains? the chain, and the harms, compared by 12 seeds

The baseline is handicapped in four ways and the planted changes take them away, one after the other. Of the others 23
move a small constant that no figure depends on, and 13 are steps back, or away, that do harm. The ledger is written to
results/referee at the end.
"""

import sys
from pathlib import Path

import blockyard as by
from blockyard.core.files import write_whole

BASELINE = "llama:layers=5,mixer=linear_attention@muon"
ASKED = {"params": "100k", "tokens": "40k", "length": 32, "batch": 32}
GAINS = ("layers=2", "mixer=attention,mixer.position=none", "mixer.position=rope", "residual=rezero")
OTHERS = (
    ("norm.eps=1e-6", "norm.eps=3e-6", "@adamw"),
    ("norm.eps=1e-6", "norm.eps=3e-6", "layers=5", "norm.eps=2e-5", "@adamw", "norm.eps=1e-7", "norm.eps=5e-6"),
    ("norm.eps=1e-6", "mixer=linear_attention", "norm.eps=1e-8", "layers=5", "norm.eps=2e-5", "residual=replace",
     "norm.eps=5e-6", "norm.eps=2e-6"),
    ("norm.eps=1e-6", "mixer.position=none", "norm.eps=3e-6", "layers=5", "norm.eps=1e-7", "mixer=linear_attention",
     "norm.eps=2e-5", "norm.eps=5e-6"),
    ("norm.eps=1e-6", "mixer.position=none", "norm.eps=3e-6", "mixer=linear_attention", "norm.eps=1e-7", "@adamw",
     "norm.eps=2e-5", "residual=prenorm", "norm.eps=2e-6", "norm.eps=1e-8"),
)  # fmt: skip
RESULTS = Path(__file__).resolve().parents[2] / "results" / "referee"


def text(folder: Path) -> Path:
    """A text that every Python carries: its help on the language."""
    from pydoc_data.topics import topics

    write_whole(folder / "topics.txt", "\n\n".join(topics[name] for name in sorted(topics)).encode())
    return folder / "topics.txt"


def order() -> list[str]:
    """The forty changes: some others, a gain, some others, a gain, ..."""
    found: list[str] = []
    for at, group in enumerate(OTHERS):
        found += [*group, *GAINS[at : at + 1]]
    return found


def beforehand(folder: Path) -> None:
    """The chain step by step, and what is away from it, on seeds of their own."""
    arms = ["start=llama:layers=5,mixer=linear_attention@muon", "a=llama:layers=2,mixer=linear_attention@muon",
            "b=llama:layers=2,mixer=attention,mixer.position=none@muon", "c=llama:layers=2@muon",
            "d=llama:layers=2,residual=rezero@muon", "replace=llama:layers=2,residual=replace@muon",
            "plain=llama:layers=2"]  # fmt: skip
    print(by.compare(arms, data=str(text(folder)), out=folder / "beforehand", seeds=12, tuning="none", **ASKED))


def main(folder: Path) -> None:
    tries = folder / "tries"
    by.referee.init(BASELINE, data=str(text(folder)), out=tries, effect="2%", quiet=True, **ASKED)
    done = len([each for each in by.referee.show(tries).tries if each.decided])
    for change in order()[done:]:
        print(by.referee.attempt(change, out=tries, quiet=True), flush=True)
    ledger = by.referee.show(tries, held_out=True, quiet=True)
    print(ledger)
    write_whole(RESULTS / "ledger.json", (tries / "ledger.json").read_bytes())
    write_whole(RESULTS / "ledger.txt", f"{ledger}\n".encode())


if __name__ == "__main__":
    work = Path(sys.argv[1] if sys.argv[1:] else "build/tries")
    (beforehand if sys.argv[2:] == ["beforehand"] else main)(work)
