"""The model of a folder once more, with its matrices in few bits."""

from collections.abc import Sequence
from typing import Literal

from blockyard.interop import load
from blockyard.interop.tokenizer import usable_files
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
    """Write the small model to `out`, with the folder's tokenizer and defaults; how much of it has become small."""
    path = find_model(folder)
    small, coverage = quantise(load(path), bits, group=group, keep=tuple(keep), int8=tuple(int8))
    small.save(out, beside=usable_files(path))
    return coverage
