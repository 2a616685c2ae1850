"""What scans over chunks share: cut time into pieces, mask segments, carry a state from piece to piece.

Pieces are (N,B,H,C,D): N pieces of C tokens, the piece first so that one piece of all rows is contiguous.
Decays are powers of two: `exp` of a strong decay is up to twenty times slower than `exp2` on CPU (denormal results).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LOG2E = 1.4426950408889634


def state_dtype(x: Tensor) -> torch.dtype:
    """The precision a state is kept in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def split(x: Tensor, pieces: int, size: int) -> Tensor:
    """(B,T,H,D) -> (N,B,H,C,D), zeros after the end: a token that writes nothing and decays nothing."""
    B, T, H, D = x.shape
    if pieces * size != T:
        x = F.pad(x, (0, 0, 0, 0, 0, pieces * size - T))
    return x.reshape(B, pieces, size, H, D).permute(1, 0, 3, 2, 4).to(state_dtype(x)).contiguous()


def merge(y: Tensor, like: Tensor) -> Tensor:
    """(N,B,H,C,D) -> (B,T,H,D) without the padding, as `like`."""
    N, B, H, C, D = y.shape
    return y.permute(1, 0, 3, 2, 4).reshape(B, N * C, H, D)[:, : like.shape[1]].to(like.dtype)


def stacked(answers: list[Tensor], like: Tensor) -> Tensor:
    """The answers of a loop over tokens, (B,T,...) as `like`, which is the answer to no tokens."""
    return torch.stack(answers, 1).to(like.dtype) if answers else like


def future(size: int, like: Tensor) -> Tensor:
    """(C,C) to add to exponents: minus infinity where s > t. Adding is eight times faster than filling."""
    return torch.full((size, size), float("-inf"), dtype=like.dtype, device=like.device).triu(1)


class Spans(NamedTuple):
    """Sums of the log-decays (...,C,1) of a piece, each added up by itself.

    The difference of two sums from the beginning would have the rounding errors of both: after one strong decay they
    are larger than a weak one.
    """

    between: Tensor  # (...,C,C) from after token s up to token t, minus infinity where s > t
    into: Tensor  # (...,C,1) up to token t
    after: Tensor  # (...,C,1) from after token s to the end


def spans(log2_decay: Tensor) -> Spans:
    size = log2_decay.shape[-2]
    log2_decay = log2_decay.contiguous()  # strides that a tracer and the product agree on
    row, later = log2_decay.reshape(*log2_decay.shape[:-2], 1, size), log2_decay.new_ones(size, size).tril(-1)
    between = (row * log2_decay.new_ones(size, size).tril()) @ later
    return Spans(between + future(size, log2_decay), log2_decay.cumsum(-2), (row @ later).reshape(log2_decay.shape))


class Segments(NamedTuple):
    """Who is in whose segment, as factors: resets are masks because an infinite one gives nan in sums."""

    same: Tensor  # (N,B,1,C,C) token t and token s
    sees: Tensor  # (N,B,1,C,1) the token and what came before its piece
    stays: Tensor  # (N,B,1,C,1) the token and the end of its piece
    passes: Tensor  # (N,B,1,1,1) what came before the piece and its end


def segments(reset: Tensor, pieces: int, size: int) -> Segments:
    B, T = reset.shape
    number = F.pad(reset, (0, pieces * size - T)).cumsum(1)
    number = number.view(B, pieces, size).transpose(0, 1).unsqueeze(2)
    last = number[..., -1:]
    before = F.pad(last[:-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return Segments(
        number.unsqueeze(-1) == number.unsqueeze(-2),
        (number == before).unsqueeze(-1),
        (number == last).unsqueeze(-1),
        (last == before).unsqueeze(-1),
    )


def start_of(state: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if state is None else state.to(like.dtype)
