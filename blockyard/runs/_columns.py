"""Which column of a table says what: named by the user, or found by the words that such columns are called by.

    arm     what is compared: the first of ARM's words that has two values or more; or the names of runs without their
            seed (adamw-seed3, sgd/run_2), or the folders, or the files
    seed    which run of an arm a row is of                      pair   which sample of a test it scores
    group   samples of one group count as one (never found)      step   of several rows of a run the last one counts
    weight  how much a sample counts (never found)
    scores  the one column of numbers that is called like a metric, of a test before one of a validation

Where more than one column could be meant the user is asked: nothing is chosen between two metrics. The same words say
whether lower or higher is better.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blockyard.core.errors import UsageError, brief, unknown
from blockyard.runs._read import FILE, FOLDER, Row, Rows


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ARM = _words(
    "arm model method entry system algorithm algo approach variant architecture optimizer optimiser agent estimator "
    "classifier learner configuration config group experiment"
)
RUN = _words("run_name name run run_id")  # columns of names, which may hold the arm and the seed
SEED = _words("seed random_seed random_state rep repeat replicate trial run run_id run_name")
PAIR = _words("pair sample sample_id doc_id item item_id example example_id question question_id instance fold")
STEP = _words("step global_step iteration iter epoch")
LOWER = _words("loss nll ce bpb bpc ppl perplexity error err mse rmse mae mape wer cer fid regret brier ece")
HIGHER = _words(
    "acc accuracy correct f1 auc auroc precision recall bleu rouge meteor chrf match reward return r2 ndcg mrr iou "
    "dice psnr ssim success"
)
SHARES = _words("acc accuracy correct error err match f1 precision recall success auc auroc")
SEEDED = re.compile(r"(.+?)[\s/_.-]+(?:seed|run|trial|rep|fold|s)[\s_=.-]?(\d+)", re.IGNORECASE)
NONE = "none"
SPLIT_ARM, SPLIT_SEED = "name without its seed", "seed of the name"


@dataclass(frozen=True)
class Roles:
    """The column of every role; `found` are the roles whose column nobody named."""

    arm: str
    scores: list[str]
    seed: str | None = None
    pair: str | None = None
    group: str | None = None
    step: str | None = None
    weight: str | None = None
    found: tuple[str, ...] = ()

    def columns(self) -> dict[str, str]:
        """The roles that have a column, with it."""
        said = {name: getattr(self, name) for name in ("arm", "seed", "pair", "group", "weight", "step")}
        return {role: name for role, name in said.items() if name} | {"score": ", ".join(self.scores)}


def find_columns(rows: Rows, asked: Mapping[str, str | None]) -> tuple[Rows, Roles]:
    """The roles of a table's columns, and the table, which may have got two more from the names of runs.

    asked   the columns that the user names, by role: arm, seed, pair, group, weight, step, score; several stand with
            commas: each score is judged, of the others they are one name together. The seed `none`: every row is a run
    """
    names = rows.names
    each = asked.get("seed") == NONE and NONE not in names
    said = {
        role: _named(role, names, value) for role, value in asked.items() if value and not (each and role == "seed")
    }
    for name in said.get("score", []):
        if not any(isinstance(value, int | float) for value in rows.values(name)):
            raise UsageError(f"column {name!r} holds no numbers; name another --score")
    one: dict[str, str] = {}
    for role in said.keys() - {"score"}:
        rows, one[role] = _joined(rows, said[role])
    roles = [*one.items(), *(("score", name) for name in said.get("score", []))]
    for role, name in roles:
        if other := next((other for other, same in roles if same == name and other != role), None):
            raise UsageError(f"column {name!r} is both --{role} and --{other}; name another for one of them")
    taken = {name for found in said.values() for name in found} | set(one.values())
    for role, words in (("pair", PAIR), ("step", STEP)):
        if (
            role not in one
            and not (each and role == "step")
            and (name := _found(rows, words, taken, numbers=role == "step"))
        ):
            one[role] = name
            taken.add(name)
    if "arm" in one:
        arm, seed = one["arm"], one.get("seed") or _found(rows, SEED, taken)
    else:
        rows, arm, seed = _arms(rows, one.get("seed"), taken)
    seed = None if each else seed
    taken |= {arm, seed or ""}
    scores = said.get("score") or _scores(rows, taken)
    named = Roles(arm, scores, seed, one.get("pair"), one.get("group"), one.get("step"), one.get("weight"))
    return rows, replace(named, found=tuple(role for role in named.columns() if not asked.get(role)))


def direction(score: str) -> str | None:
    """Whether lower or higher is better of a metric that is called so; None where its name does not say."""
    words = tokens(score)
    return "lower" if words & {*LOWER} else "higher" if words & {*HIGHER} else None


def is_share(score: str) -> bool:
    """Whether a metric of this name may be a share of answers."""
    return bool(tokens(score) & {*SHARES})


def tokens(name: str) -> set[str]:
    """The words of a column's name."""
    return set(re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()))


def key(name: str) -> str:
    """A column's name as it is looked for: the last of dotted words, small, with lines for spaces."""
    return re.split(r"[./]", name)[-1].strip(" _").lower().replace(" ", "_").replace("-", "_")


def _named(role: str, names: Sequence[str], value: str) -> list[str]:
    """The columns that a user names for a role."""
    wanted = [value] if value in names or role == "step" else [part.strip() for part in value.split(",")]
    found = []
    for each in wanted:
        alike = [name for name in names if name == each] or [name for name in names if name.endswith(f".{each}")]
        if len(alike) != 1:
            raise unknown("column", each, names)
        found += alike
    if len(set(found)) < len(found):
        raise UsageError(f"--{role} names {found[0]!r} twice")
    return found


def _joined(rows: Rows, names: Sequence[str]) -> tuple[Rows, str]:
    """The column that was named; several become one, less what is missing in them."""
    if len(names) == 1:
        return rows, names[0]
    name = " ".join(names)
    parts = [[str(row[each]) for each in names if row.get(each) is not None] for row in rows.rows]
    return _with(rows, {name: [" ".join(part) or None for part in parts]}), name


def _with(rows: Rows, columns: Mapping[str, Sequence[Any]]) -> Rows:
    """The table with more columns."""
    more: list[Row] = [dict(zip(columns, each)) for each in zip(*columns.values())]
    return replace(rows, rows=[row | own for row, own in zip(rows.rows, more)])


def _found(rows: Rows, words: Sequence[str], taken: set[str], numbers: bool = False) -> str | None:
    """The first column that is called by one of these words and holds something."""
    for word in words:
        for name in rows.names:
            if key(name) == word and name not in taken:
                values = [value for value in rows.values(name) if value is not None]
                if values and (not numbers or all(isinstance(value, int | float) for value in values)):
                    return name
    return None


def _arms(rows: Rows, seed: str | None, taken: set[str]) -> tuple[Rows, str, str | None]:
    """The column of arms, and that of seeds, where the user named no arms."""
    single = None
    for word in ARM:
        name = _found(rows, [word], taken | {seed or ""})
        if name and len({value for value in rows.values(name) if value is not None}) > 1:
            return rows, name, seed or _found(rows, SEED, taken | {name})
        single = single or name
    for name in [name for word in RUN for name in rows.names if key(name) == word] + [FOLDER, FILE]:
        if name in taken or name == seed or name not in rows.names:
            continue
        values = [str(value) for value in _short(rows.values(name))]
        split = [SEEDED.fullmatch(value) for value in values]
        if all(split) and not seed:
            pairs = [(found[1], found[2]) for found in split if found]
            if len({arm for arm, _ in pairs}) > 1 or len(set(pairs)) > 1:
                columns = {SPLIT_ARM: [arm for arm, _ in pairs], SPLIT_SEED: [number for _, number in pairs]}
                return _with(rows, columns), SPLIT_ARM, SPLIT_SEED
        if len(set(values)) > 1 and not single:
            return _with(rows, {name: values}), name, seed or _found(rows, SEED, taken | {name})
    if single:
        return rows, single, seed or _found(rows, SEED, taken | {single})
    raise UsageError(f"no column says which arm a row is of; name it with --arm (columns: {', '.join(rows.names)})")


def _short(values: Sequence[Any]) -> list[str]:
    """Names of folders without what they all begin with."""
    words = [str(value) for value in values]
    parts = [value.split(os.sep) for value in words]
    common = 0
    while len(set(words)) > 1 and len({tuple(part[: common + 1]) for part in parts}) == 1:
        common += 1
    return [os.sep.join(part[common:]) or part[-1] for part in parts]


def _scores(rows: Rows, taken: set[str]) -> list[str]:
    """The one column that could be the score."""
    numbers = []
    for name in (name for name in rows.names if name not in taken):
        values = [(value, place) for value, place in zip(rows.values(name), rows.places) if value is not None]
        words = [(value, place) for value, place in values if not isinstance(value, int | float)]
        if values and not words:
            numbers.append(name)
        elif len(values) > len(words) and direction(name):
            raise UsageError(f"{words[0][1]}: {name} {brief(repr(words[0][0]))} is no number")
    known = [name for name in numbers if direction(name)] or [name for name in numbers if "score" in tokens(name)]
    for split in ({"test"}, {"val", "valid", "validation", "eval", "dev"}):
        chosen = [name for name in known if tokens(name) & split]
        if len(known) > 1 and len(chosen) == 1:
            return chosen
    if len(known) == 1 or (not known and len(numbers) == 1):
        return known or numbers
    if not numbers:
        raise UsageError(f"no column of numbers is left to be the score (columns: {', '.join(rows.names)})")
    some = ", ".join((known or numbers)[:8])
    raise UsageError(f"several columns could be the score: {some}; name one, or several with commas, with --score")
