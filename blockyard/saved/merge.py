"""Several trained models of one spec become one, in a folder of its own."""

from collections.abc import Sequence
from pathlib import Path

from blockyard.blend import make_blend, merge
from blockyard.core.errors import UsageError
from blockyard.interop import load
from blockyard.interop.tokenizer import JSON, MODEL, usable_files
from blockyard.model.find import find_model


def merge_folders(folders: Sequence[str], how: str, out: str, base: str | None = None) -> str:
    """Write the model that a blend makes of several to `out`, with the tokeniser that all have; that folder.

    how    a blend, as "ties:density=0.2"        base   the model that all were trained from, where it needs one
    """
    make_blend(how)
    paths = [find_model(folder) for folder in folders]
    models, before = [load(path) for path in paths], None if base is None else find_model(base)
    first = _words(paths[0])
    for path in (*paths[1:], *([] if before is None else [before])):
        for name, content in _words(path).items():
            if content != first[name]:
                raise UsageError(f"{path / name} is not that of {paths[0]}: their ids mean other words")
    made = merge(models, how, None if before is None else load(before))
    made.save(out, beside=usable_files(paths[0]))
    return out


def _words(folder: Path) -> dict[str, bytes | None]:
    """What says which words the ids of a model mean, where that is there."""
    return {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in (JSON, MODEL)}
