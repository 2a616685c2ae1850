"""A matrix in few bits.

    W[n,k] = s[n, k // group] q[n,k]        q of 4 bits: -8..7, of 8 bits: -127..127

Shapes   W (N,K)   packed (tiles, bytes) uint8
Source   codes in blocks of columns as in GGML; the layout is our own

A tile holds 16 rows of W, the last one padded with zeros: first the scales in half precision, 16 a block of `group`
columns; then the codes, counted from the lowest, in 32-bit words of one row each. A word's four bytes are four columns,
or eight: the next four are in the high halves. Columns are padded to whole blocks. A product reads a tile from one end
to the other.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from blockyard.core.errors import UsageError

from ..dispatch import emitted, one_op

ROWS = 16  # of a tile
UNIT = 32  # columns: blocks are whole multiples
RANGE = {4: (-8, 7), 8: (-127, 127)}
PIECE = 1 << 22  # numbers quantised at a time


def check(bits: int, group: int) -> None:
    """Refuse what no product is written for."""
    if bits not in RANGE or group not in (UNIT, 2 * UNIT):
        raise UsageError(f"bits={bits} must be 4 or 8, and group={group} must be {UNIT} or {2 * UNIT}")


def columns(K: int, group: int) -> int:
    """K padded to whole blocks."""
    return K + -K % group


def tiles_shape(N: int, K: int, bits: int, group: int) -> tuple[int, int]:
    """Tiles, and bytes of each."""
    wide = columns(K, group)
    return -(-N // ROWS), wide * bits * ROWS // 8 + wide // group * 2 * ROWS


def pack(weight: Tensor, bits: int, group: int) -> Tensor:
    """W (N,K) as (tiles, bytes)."""
    N, K = weight.shape
    full = pad(weight.detach().float(), (0, columns(K, group) - K, 0, -N % ROWS))
    many = max(1, PIECE // (ROWS * full.shape[1])) * ROWS
    return torch.cat([_pack(piece, bits, group) for piece in full.split(many)])


def pack_codes(codes: Tensor, scales: Tensor, bits: int, group: int) -> Tensor:
    """Codes (N,K) of known scales (N, blocks) as (tiles, bytes)."""
    N, K = codes.shape
    more = columns(K, group) - K, -N % ROWS
    codes, scales = pad(codes, (0, more[0], 0, more[1])), pad(scales, (0, 0, 0, more[1]))
    return _laid(codes.view(codes.shape[0], -1, group).to(torch.int8), scales.half(), bits)


def _pack(weight: Tensor, bits: int, group: int) -> Tensor:
    return _laid(*quantised(weight.view(weight.shape[0], -1, group), bits), bits)


def _laid(codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Codes (rows, blocks, group) and scales (rows, blocks) of whole tiles as these keep them."""
    tiles, K = codes.shape[0] // ROWS, codes.shape[1] * codes.shape[2]
    scales = scales.view(tiles, ROWS, -1).transpose(1, 2).contiguous().view(torch.uint8).view(tiles, -1)
    if bits == 8:
        n = (codes.contiguous().view(torch.uint8) ^ 128).view(tiles, ROWS, K // 4, 4)
    else:
        low, high = (codes + 8).view(torch.uint8).view(tiles, ROWS, K // 8, 2, 4).unbind(3)
        n = low | high << 4
    return torch.cat([scales, n.transpose(1, 2).reshape(tiles, -1)], 1)


def quantised(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Blocks (..., group) as codes and the scales (...) in half precision that leave the least square error.

    Candidates give the number of the largest size a code near the end of the range; each is then fitted to its codes.
    """
    low, high = RANGE[bits]
    peak = weight.gather(-1, weight.abs().argmax(-1, keepdim=True))
    best_scale, best_error = torch.zeros_like(peak), torch.full_like(peak, float("inf"))
    for end in (8.0, 8.5, 7.5, 7.0, 6.5, -7.5, -7.0) if bits == 4 else (127.0,):
        scale = (peak / (-end if bits == 4 else end)).nan_to_num()
        codes = _codes(weight, scale, low, high)
        if bits == 4:
            power = (codes * codes).sum(-1, keepdim=True)
            scale = torch.where(power > 0, (weight * codes).sum(-1, keepdim=True) / power, scale)
        scale = scale.clamp(-65504, 65504).half().float()
        codes = _codes(weight, scale, low, high)
        error = (weight - scale * codes).square().sum(-1, keepdim=True)
        better = error < best_error
        best_scale, best_error = torch.where(better, scale, best_scale), torch.where(better, error, best_error)
    return _codes(weight, best_scale, low, high).to(torch.int8), best_scale[..., 0].half()


def _codes(weight: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    return torch.where(scale == 0, 0.0, weight / scale).round().clamp(low, high)


@one_op(emitted(__name__, "dense"))
def dense(packed: Tensor, bits: int, group: int, K: int, rows: Tensor | None = None) -> Tensor:
    """The numbers of all rows (16 tiles, K), or of some: rows (M,) -> (M,K). float32."""
    tiles = packed if rows is None else packed[rows // ROWS]
    count, wide = tiles.shape[0], columns(K, group)
    blocks = wide // group
    scales, codes = tiles.split([blocks * 2 * ROWS, wide * bits * ROWS // 8], 1)
    scales = _placed(scales.contiguous().view(torch.float16).view(count, blocks, ROWS, 1).transpose(1, 2), rows)
    codes = _placed(codes.reshape(count, wide * bits // 32, ROWS, 4).transpose(1, 2), rows)
    if bits == 4:
        fours = codes.view(-1, wide // 8, 1, 4)
        codes = torch.cat([fours & 15, fours >> 4], 2)
    codes = codes.reshape(-1, blocks, group).float() - (1 << bits - 1)
    return (codes * scales.float()[..., None]).flatten(1)[:, :K]


def _placed(tiles: Tensor, rows: Tensor | None) -> Tensor:
    """(tiles, 16, ...) as one line a row of W, of all rows or of one a tile."""
    if rows is None:
        return tiles.flatten(0, 1).flatten(1)
    return tiles[torch.arange(len(rows), device=rows.device), rows % ROWS].flatten(1)
