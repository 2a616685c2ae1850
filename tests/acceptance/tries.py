"""Forty real tries of 0.1M parameters, of which four are planted gains, as an automatic loop makes them.

    python -m tests.acceptance.tries [FOLDER]               about ten minutes on two cores; what was stopped goes on
    python -m tests.acceptance.tries FOLDER beforehand      are they gains? the chain by five seeds

The baseline sees one token. The planted changes let it see 32, 9, 5 and 3: in so short a training far tokens disturb.
Of the others 28 move a constant that nothing depends on, and 8 go back, or to another optimiser, which does harm.
"""

import sys
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics

import blockyard as by
from blockyard.core.files import write_whole

BASELINE = "llama:layers=1,mixer.pattern=band,pattern.window=1@muon"
ASKED = {"params": "100k", "tokens": "40k", "length": 32, "batch": 32}
GAINS = ("pattern.window=32", "pattern.window=9", "pattern.window=5", "pattern.window=3")
NEUTRAL = [f"norm.eps={factor}e-{power}" for power in (5, 6, 7, 8) for factor in range(2, 9)]
HARMS = (
    ("@adamw",), ("@adamw", "pattern.window=1"), ("@adamw", "pattern.window=32"), ("pattern.window=1", "@adamw"),
    ("pattern.window=32", "pattern.window=1"),
)  # fmt: skip


def text(folder: Path) -> Path:
    """A text that every Python carries: its help on the language."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "topics.txt", "\n\n".join(topics[name] for name in sorted(topics)).encode())
    return folder / "topics.txt"


def order() -> list[str]:
    """The forty changes: some others, a gain, some others, a gain, ..."""
    neutral, found = iter(NEUTRAL), list[str]()
    for at, count in enumerate((5, 6, 5, 6, 5)):
        first, *more = HARMS[at]
        found += [*islice(neutral, 2), first, *islice(neutral, count - 2), *more, *GAINS[at : at + 1]]
    return found


def beforehand(folder: Path) -> None:
    """The chain step by step, on seeds of its own."""
    arms = [f"see{window}={BASELINE.replace('window=1', f'window={window}')}" for window in (1, 32, 9, 5, 3)]
    print(by.compare(arms, data=str(text(folder)), out=folder / "beforehand", seeds=5, tuning="none", **ASKED))


def main(folder: Path) -> None:
    tries = folder / "tries"
    by.referee.init(BASELINE, data=str(text(folder)), out=tries, effect="2.5%", quiet=True, **ASKED)
    done = len([each for each in by.referee.show(tries).tries if each.decided])
    for change in order()[done:]:
        print(by.referee.attempt(change, out=tries, quiet=True), flush=True)
    print(by.referee.show(tries, held_out=True, quiet=True))


if __name__ == "__main__":
    work = Path(sys.argv[1] if sys.argv[1:] else "build/tries")
    (beforehand if sys.argv[2:] == ["beforehand"] else main)(work)
