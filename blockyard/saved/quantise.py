"""The model of a folder once more, with its matrices in few bits."""

import warnings
from collections.abc import Sequence
from typing import Literal

from blockyard.core.errors import UsageError
from blockyard.data.tokens import load_codec
from blockyard.interop import load
from blockyard.model.find import find_model
from blockyard.transform.quantise import Coverage, quantise


def quantise_folder(
    folder: str,
    out: str,
    bits: Literal[8, 4],
    group: Literal[32, 64],
    keep: Sequence[str] = (),
    int8: Sequence[str] = (),
) -> Coverage:
    """Write the small model to `out`, with the folder's codec; how much of it has become small."""
    path = find_model(folder)
    small, coverage = quantise(load(path), bits, group=group, keep=tuple(keep), int8=tuple(int8))
    words = path / "tokenizer.json"
    if words.exists():
        try:
            load_codec(words)
        except UsageError as error:
            warnings.warn(f"the copy of tokenizer.json is for other libraries: {error}", stacklevel=2)
    small.save(out, tokenizer=words.read_bytes() if words.exists() else None)
    return coverage
