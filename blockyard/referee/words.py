"""The ledger in words: a line for every try, and what the chain comes to."""

import math

from blockyard.referee.evidence import DISCARD, KEEP, UNDECIDED
from blockyard.referee.ledger import LEFT, OPEN, Ledger, Look, Try
from blockyard.task._metric import Metric


def share(value: float, metric: Metric) -> str:
    """An effect or a spread: in percent of the score, or in the unit of a score that is a share."""
    return f"{value:.2g} {metric.unit}" if metric.share else f"{100 * value:.3g}%"


def ruling(made: Try) -> str:
    """A try in one line, the answer first."""
    why = {
        KEEP: f"chance {made.chance:.2g} at a level of {made.level:.2g}; it is the baseline now",
        DISCARD: f"a gain of the stated size would look so in one of {math.exp(made.evidence):.0f} tries at most",
        UNDECIDED: f"the most seeds were spent; chance {made.chance:.2g} at a level of {made.level:.2g}",
        OPEN: "stopped; the same command goes on",
        LEFT: "stopped, and never gone on with",
    }[made.answer]
    return f"{made.answer:9}  {_measured(made)}  {made.change}: {made.reason or why}"


def _measured(made: Try) -> str:
    if made.mean is None:
        return "nothing measured"
    n = len(made.differences)
    word = "better" if made.mean > 0 else "worse"
    return f"{100 * abs(made.mean):.2f}% {word} over {n} {'seed' if n == 1 else 'seeds'}"


def told(ledger: Ledger) -> str:
    """The whole ledger."""
    asked = ledger.asked
    lines = [
        f"baseline {asked.baseline}: {sum(ledger.floor) / len(ledger.floor):.4f} {ledger.metric.unit}",
        f"noise floor: two runs differ by {share(ledger.spread, ledger.metric)}, by {len(ledger.floor)} runs",
        f"an effect of {share(asked.effect, ledger.metric)} is seen by at most {ledger.most} seeds a try; "
        f"all tries share an error of {100 * asked.alpha:g}%",
    ]  # fmt: skip
    lines += [f"{made.number:4}  {ruling(made)}" for made in ledger.tries]
    chain = [asked.baseline, *(made.change for made in ledger.kept)]
    lines.append(f"kept {len(ledger.kept)} of {len(ledger.tries)} tries: {' -> '.join(chain)}")
    lines += [_look(look, ledger) for look in ledger.looks]
    if ledger.kept and not any(look.upto == ledger.kept[-1].number for look in ledger.looks):
        lines.append("held-out text: not looked at since the last keep; blockyard referee show --held-out does")
    lines.append(f"the next try has a level of {ledger.next_level():.2g}")
    return "\n".join(lines)


def _look(look: Look, ledger: Ledger) -> str:
    what = f"held-out text: the chain up to try {look.upto} is better by {share(look.difference, ledger.metric)}"
    if look.low is None or look.high is None:
        return f"{what}; {look.verdict}"
    ends = f"{share(look.low, ledger.metric)} to {share(look.high, ledger.metric)}"
    return f"{what} ({ends} with a certainty of {100 * (1 - look.level):g}%, {look.seeds} seeds each)"
