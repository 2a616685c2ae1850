"""Several trained models of one spec become one, in a folder of its own."""

from collections.abc import Sequence

from blockyard.blend import make_blend, merge
from blockyard.core.errors import UsageError
from blockyard.interop import load
from blockyard.model.find import find_model


def merge_folders(folders: Sequence[str], how: str, out: str, base: str | None = None) -> str:
    """Write the model that a blend makes of several to `out`, with the tokeniser that all of them have; that folder.

    how    a blend, as "ties:density=0.2"        base   the model that all were trained from, where it needs one
    """
    make_blend(how)
    paths = [find_model(folder) for folder in folders]
    models = [load(path) for path in paths]
    words = [path / "tokenizer.json" for path in paths]
    held = [each.read_bytes() if each.exists() else None for each in words]
    for path, each in zip(words[1:], held[1:]):
        if each != held[0]:
            raise UsageError(f"{path} is not that of {paths[0]}: their ids mean other words")
    made = merge(models, how, None if base is None else load(find_model(base)))
    made.save(out, tokenizer=held[0])
    return out
