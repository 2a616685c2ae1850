"""Every system of systems.csv with the parts, recipe, tests and status that are found for it."""

import csv
import re
from collections.abc import Iterator
from typing import Any

from blockyard.catalogue.records import HERE, read_records, verdicts
from blockyard.core import registry
from blockyard.core.registry import Entry
from blockyard.core.spec import Spec

STATUSES = ("planned", "draft", "checked", "matched", "raced")
_SLOT = re.compile(r"Spec\('(\w+)', '(\w+)'\)")


def catalogue() -> list[dict[str, Any]]:
    """One row a system: slug, title, year, family, kind, parts, recipe, study, its verdict, tests, status."""
    parts, recipes = _carriers()
    records = read_records()
    return [_row(line, parts.get(line["slug"], []), recipes.get(line["slug"], []), records) for line in systems()]


def systems() -> list[dict[str, str]]:
    """The lines of systems.csv: slug, family, kind, year, title."""
    with open(HERE / "systems.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(line: dict[str, str], parts: list[Entry], recipes: list[Entry], records: dict[str, Any]) -> dict[str, Any]:
    tests = verdicts(line["slug"], records)
    used = {f"{entry.kind}:{entry.name}" for entry in parts}
    for entry in recipes:
        used |= set(parts_of(entry))
    study = records.get(line["slug"], {}).get("study")
    return {
        "slug": line["slug"], "title": line["title"], "year": int(line["year"]), "family": line["family"],
        "kind": line["kind"], "parts": sorted(used), "recipe": recipes[0].name if recipes else None,
        "study": study["name"] if study else None, "study_verdict": study["verdict"] if study else None, "tests": tests,
        "status": _status(bool(parts or recipes), tests, study),
    }  # fmt: skip


def _status(carried: bool, tests: dict[str, Any] | None, study: dict[str, Any] | None) -> str:
    if tests is None or tests["stale"] or not _all_passed(tests["must_hold"]):
        return "draft" if carried or tests is not None else "planned"
    if study and study["verdict"]:
        return "raced"
    return "matched" if tests["oracle"] and _all_passed(tests["oracle"]) else "checked"


def _all_passed(counts: dict[str, int]) -> bool:
    """Nothing failed and nothing was left out."""
    return counts["passed"] > 0 and counts["failed"] == counts["skipped"] == 0


def _carriers() -> tuple[dict[str, list[Entry]], dict[str, list[Entry]]]:
    """Our own parts and recipes by slug; of several recipes, the one that has the slug's name comes first."""
    parts: dict[str, list[Entry]] = {}
    recipes: dict[str, list[Entry]] = {}
    for kind in (*registry.KINDS, *registry.ROOMS):
        for entry in registry.entries(kind).values():
            named = entry.name.replace("_", "-")
            slug = entry.header.get("Slug", named if kind == "recipe" else "")
            if slug and entry.module.startswith("blockyard."):
                found = (recipes if kind == "recipe" else parts).setdefault(slug, [])
                found.insert(0 if named == slug else len(found), entry)
    return parts, recipes


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
