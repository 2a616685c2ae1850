"""Which folder holds the model that somebody names: its own, that of a run, or OUT:ARM, an arm of a comparison.

A comparison's result.json says for every arm which of its runs scored best and where that model lies.
"""

import os
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError, missing, unknown
from blockyard.core.files import is_missing, read_document

FORMAT = 2  # of a comparison's result.json; 1 had no checksum


def find_model(where: str | Path) -> Path:
    """The folder of a model: `where` itself, the model of a run's folder, or the best run of OUT:ARM.

    OUT alone will do where the comparison has one arm. What names none of these comes back as it is, to be refused by
    whoever reads it.
    """
    text, arm = str(where), None
    if not os.path.exists(text) and ":" in text:
        ends = [i for i, letter in enumerate(text) if letter == ":" and os.path.isdir(text[:i])]
        if not ends:  # the name of an arm may have a colon too
            return Path(where)
        text, arm = text[: ends[-1]], text[ends[-1] + 1 :]
    path = Path(text)
    if arm is None:
        for folder in (path, path / "model"):
            if any(os.path.exists(folder / name) for name in ("config.json", "attachment.json", "adapter_config.json")):
                return folder
    if os.path.exists(path / "sizes.json"):
        sizes = [f"{each.parent}:{arm or 'ARM'}" for each in sorted(path.glob("*/plan.json"))]
        raise UsageError(f"{path} holds several sizes; name one: {', '.join(sizes)}")
    if not os.path.exists(path / "plan.json") and not os.path.exists(path / "result.json"):
        if arm is None:
            return path
        raise UsageError(f"{path} holds no comparison, so no arm {arm!r}: plan.json is missing")
    return _best(path, arm)


def no_model(where: str | Path) -> UsageError:
    """Why there is no model in a folder, or at OUT:ARM of a comparison that is not there."""
    if not is_missing(Path(where)):
        return UsageError(f"{where} holds no model: config.json is missing")
    folder, colon, arm = str(where).partition(":")
    return missing(Path(folder), colon + arm)


def flattered(model: Path) -> list[str]:
    """What must be said of the figures of a model in such a folder: the best of several runs was chosen by its test."""
    found = model.resolve().parent.parent.parent / "result.json"
    if not found.exists() or not model.is_dir():
        return []
    notes = list[str]()
    for each in read_document(found, FORMAT, sealed_since=2).get("arms", ()):
        scores = [score for score in each.get("score", {}).get("per_seed", ()) if score is not None]
        if (
            len(scores) > 1
            and each.get("model")
            and (found.parent / each["model"]["folder"]).resolve() == model.resolve()
        ):
            notes.append(
                f"{each['name']} was chosen from {len(scores)} runs by the test itself, so that its figures there "
                f"flatter: over all of them the score is {sum(scores) / len(scores):.4g} on average"
            )
    return notes


def _best(path: Path, arm: str | None) -> Path:
    """The model of the best run of an arm, or of the only arm."""
    found = path / "result.json"
    if not found.exists():
        raise UsageError(f"{path} holds a comparison that has not ended; the command that began it goes on with it")
    document = read_document(found, FORMAT, sealed_since=2)
    try:
        arms = {each["name"]: each for each in document["arms"]}
        models: dict[str, Any] = {name: each["model"] for name, each in arms.items()}
    except (ValueError, TypeError):
        raise UsageError(f"{found} is damaged: it is not the result of a comparison") from None
    except KeyError:
        raise UsageError(f"{found} names no models; the command that made it, given again, writes it anew") from None
    if arm is None and len(models) > 1:
        raise UsageError(
            f"{path} holds {len(models)} models; name one: {', '.join(f'{path}:{name}' for name in models)}"
        )
    name = next(iter(models), "") if arm is None else arm
    if name not in models:
        raise unknown(f"arm of {path}", name, models)
    if models[name] is None:
        raise UsageError(f"no run of {name} in {path} has finished, so there is no model of it")
    folder = path / models[name]["folder"]
    if not folder.is_dir():
        raise UsageError(f"the best run of {name} is not there any more: {folder} is missing")
    return folder
