"""Every system of systems.csv with the parts, recipe, tests and status that are found for it."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from blockyard.catalogue.records import HERE, Record, read_records, record_of
from blockyard.core import registry
from blockyard.core.document import Document, Json
from blockyard.core.registry import Entry
from blockyard.core.spec import Spec

STATUSES = ("planned", "draft", "checked", "matched", "raced")
_SLOT = re.compile(r"Spec\('(\w+)', '(\w+)'\)")


@dataclass(frozen=True)
class Row(Document):
    """A system: what it is, what carries it here, and how far it is."""

    slug: str
    title: str
    year: int
    family: str
    kind: str
    parts: list[str]
    recipe: str | None
    study: str | None
    study_verdict: str | None
    tests: Record | None
    status: str

    def to_json(self) -> Json:
        """As other documents; of the tests what they said, and whether that is stale."""
        told = super().to_json()
        if self.tests is not None:
            kept = ("file", "date", "version", "must_hold", "oracle")
            told["tests"] = {name: told["tests"][name] for name in kept} | {"stale": self.tests.stale}
        return told


def catalogue() -> list[Row]:
    """One row a system."""
    carried, records = carriers(), read_records()
    return [_row(line, carried.get(line["slug"], []), records) for line in systems()]


def systems() -> list[dict[str, str]]:
    """The lines of systems.csv: slug, family, kind, year, title."""
    with open(HERE / "systems.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(line: dict[str, str], carriers: list[Entry], records: dict[str, Record]) -> Row:
    tests, recipes = record_of(line["slug"], records), [entry for entry in carriers if entry.kind == "recipe"]
    used = {f"{entry.kind}:{entry.name}" for entry in carriers if entry.kind not in ("recipe", "study")}
    for entry in recipes:
        used |= set(parts_of(entry))
    study = tests.study if tests else None
    return Row(
        line["slug"], line["title"], int(line["year"]), line["family"], line["kind"], sorted(used),
        recipes[0].name if recipes else None, study.name if study else None, study.verdict if study else None, tests,
        _status(bool(carriers), tests),
    )  # fmt: skip


def _status(carried: bool, tests: Record | None) -> str:
    if tests is None or tests.stale or not tests.must_hold.all_passed:
        return "draft" if carried or tests is not None else "planned"
    if tests.study and tests.study.verdict:
        return "raced"
    return "matched" if tests.oracle and tests.oracle.all_passed else "checked"


def carriers() -> dict[str, list[Entry]]:
    """Whatever of ours carries a slug, in its header or as the name of a recipe; the one that has its name first."""
    found: dict[str, list[Entry]] = {}
    for kind in (*registry.KINDS, *registry.ROOMS):
        for entry in registry.entries(kind).values():
            named = entry.name.replace("_", "-")
            slug = entry.header.get("Slug", named if kind == "recipe" else "")
            if slug and entry.module.startswith("blockyard."):
                known = found.setdefault(slug, [])
                known.insert(0 if named == slug else len(known), entry)
    return found


def parts_of(recipe: Entry) -> list[str]:
    """The parts of a recipe's system, those that stand in slots by default included, as kind:name."""
    module = recipe.load()
    found: set[str] = set()
    for spec in module.recipe(**module.sizes["tiny"]).walk():
        if spec.kind in registry.KINDS:
            found |= {f"{kind}:{name}" for kind, name in _filled(spec)}
    return sorted(found)


def _filled(spec: Spec) -> Iterator[tuple[str, str]]:
    yield spec.kind, spec.name
    given = dict(spec.settings)
    for setting, default in registry.find(spec.kind, spec.name).schema.items():
        slot = _SLOT.fullmatch(default) if isinstance(default, str) and setting not in given else None
        if slot:
            yield from _filled(Spec(slot[1], slot[2]))
