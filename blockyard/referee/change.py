"""What somebody types as a change becomes an arm as a comparison takes it.

    mixer.window=64,mixer.heads=2    settings of the baseline        mixer=gla    every part of a kind becomes another
    @muon                            another optimiser               gla:mixer.heads=2@muon    a whole arm
    mixer=my_idea.py                 a part from a file              my_recipe.py:heads=2      a whole arm from a file

A file is copied into the folder of the referee under a name that ends with the hash of its content, so that an edited
file is another change, and registered there as any package registers its parts: by an entry point (core/registry.py).
It is code that runs with the rights of whoever tries it, in this process and in the workers; nothing in it is checked.
"""

import hashlib
import os
import re
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

from blockyard.core import registry
from blockyard.core.errors import UsageError, brief
from blockyard.core.files import write_whole
from blockyard.core.spec import write_value
from blockyard.systems import Target, parse_arm, split_words

FILE = re.compile(r"(?:(?P<kind>\w+)=)?(?P<path>[^=:@|,]+\.py)(?=[:@|,]|$)")


def arm_of(change: str, baseline: str, folder: Path) -> str:
    """The text of the arm that a change makes of a baseline, with files under the names that they are registered by."""
    text = with_files(change, folder)
    if not text:
        raise UsageError("a change is missing; for example mixer.window=64, mixer=gla or llama@muon")
    base = parse_arm(baseline)
    if text.startswith("@"):
        target = parse_arm(f"{base.name}{text}")._replace(overrides=base.overrides)
    elif _is_override(text, base.name):
        settings, at, trainer = text.partition("@")
        made = parse_arm(f"{base.name}:{settings}{at}{trainer}")
        target = made._replace(overrides=_over(base.overrides, made.overrides))
        if not at:
            target = target._replace(optimiser=base.optimiser, schedule=base.schedule)
    else:
        target = parse_arm(text)
        if target.label != target.name and target.name not in registry.entries("recipe"):
            raise UsageError(
                f"change {brief(repr(change))}: {target.label} is no setting of {base.name} and no kind of part, and "
                f"{target.name} is no recipe"
            )
    if target.then:
        raise UsageError(f"change {brief(repr(change))}: what a trained model becomes (|) is no change to train again")
    return written(target)


def _over(held: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """New settings over those of a baseline; a slot that is emptied takes its own settings with it."""
    empty = tuple(f"{slot}." for slot, value in new.items() if value is None)
    return {key: value for key, value in held.items() if not key.startswith(empty)} | new


def with_files(text: str, folder: Path) -> str:
    """What was typed with the names that files are registered under in the place of the files."""
    return FILE.sub(lambda found: _given(found, folder), text.strip())


def _is_override(text: str, recipe: str) -> bool:
    """Whether this begins with a setting, not with the label or the name of an arm."""
    key, equals, _ = split_words(text)[0].partition("@")[0].partition("=")
    known = registry.find("recipe", recipe).arguments
    return bool(equals) and ":" not in key and ("." in key or key in known or key in registry.KINDS)


def written(target: Target) -> str:
    """An arm as `parse_arm` reads it."""
    settings = ",".join(f"{key}={write_value(value)}" for key, value in target.overrides.items())
    text = f"{target.name}:{settings}" if settings else target.name
    if target.optimiser is None:
        return text
    own = dict(target.optimiser.settings) | ({} if target.schedule is None else {"schedule": target.schedule})
    given = ",".join(f"{key}={write_value(value)}" for key, value in own.items())
    return f"{text}@{target.optimiser.name}:{given}" if given else f"{text}@{target.optimiser.name}"


def _given(found: re.Match[str], folder: Path) -> str:
    """The words that name what a file registers; the file is kept and registered."""
    path, kind = Path(found["path"]), found["kind"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if not path.stem.isidentifier():
        raise UsageError(f"{path}: the name of a file that registers something is a word of letters, digits and _")
    if kind is not None and kind not in registry.KINDS:
        raise UsageError(f"{found[0]}: {kind} is no kind of part; write KIND=FILE.py, as mixer=my_idea.py")
    name = f"{path.stem}_{hashlib.sha256(content).hexdigest()[:8]}"
    room = folder / ".given" / name
    entry = registry.Entry(kind or "recipe", name, name, path)
    try:
        node = entry.node
    except SyntaxError as error:
        raise UsageError(f"{path} is no Python: line {error.lineno}: {error.msg}") from None
    except UsageError as error:
        mend = "" if kind else "; of a part say its kind, as mixer=my_idea.py"
        raise UsageError(f"{error}{mend}") from None
    if kind is None and node.name == name:
        raise UsageError(f"{path} holds no function recipe")
    write_whole(room / f"{name}.py", content)
    about = room / f"{name}-0.dist-info"
    write_whole(about / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n".encode())
    write_whole(about / "entry_points.txt", f"[blockyard.{kind or 'recipe'}]\n{name} = {name}\n".encode())
    register(folder)
    return f"{kind}={name}" if kind else name


def register(folder: Path) -> None:
    """Let this process, and those that it starts, find what files of this referee register."""
    rooms = sorted(str(room.resolve()) for room in (folder / ".given").glob("*") if room.is_dir())
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if new := [room for room in rooms if room not in known]:
        os.environ["PYTHONPATH"] = os.pathsep.join([*new, *filter(None, known)])
    if new := [room for room in rooms if room not in sys.path]:
        sys.path[:0] = new
        invalidate_caches()
        registry.entries.cache_clear()
