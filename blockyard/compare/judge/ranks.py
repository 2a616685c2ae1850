"""What resolved pairs say of the order of the arms: ranks, letters and who may be the best.

rank        from 1 + the arms resolved better, to k - those resolved worse
letters     arms share one exactly if they are not resolved
candidates  arms of best rank 1, none that failed unless all did
"""

from collections.abc import Iterable
from string import ascii_letters

Resolved = Iterable[tuple[str, str]]  # the better arm, the worse one


def ranks_of(ranked: list[str], resolved: Resolved) -> dict[str, tuple[int, int]]:
    """The places that the resolved pairs leave open for every arm."""
    better, worse = dict.fromkeys(ranked, 0), dict.fromkeys(ranked, 0)
    for a, b in resolved:
        if a in worse:
            worse[a] += 1
        if b in better:
            better[b] += 1
    return {arm: (1 + better[arm], len(ranked) - worse[arm]) for arm in ranked}


def candidates_of(ranks: dict[str, tuple[int, int]], failed: set[str]) -> set[str]:
    """Arms that may be best. One with a failure is not, unless every arm has one."""
    sound = set(ranks) - failed or set(ranks)
    return {arm for arm in sound if ranks[arm][0] == 1}


def letters_of(ranked: list[str], resolved: Resolved) -> dict[str, str]:
    """Arms share a letter exactly if they are not resolved: each resolved pair splits the groups that hold both."""
    groups = [frozenset(ranked)]
    for a, b in resolved:
        both = frozenset((a, b))
        split = {group - {arm} if both <= group else group for group in groups for arm in both}
        groups = [group for group in split if not any(group < other for other in split)]
    place = {arm: at for at, arm in enumerate(ranked)}
    groups.sort(key=lambda group: sorted(place[arm] for arm in group))
    names = [ascii_letters[i] if i < len(ascii_letters) else f"({i + 1})" for i in range(len(groups))]
    return {arm: "".join(name for name, group in zip(names, groups) if arm in group) for arm in ranked}
