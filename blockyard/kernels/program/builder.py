"""Writing a program: its instructions (`codes`), and all that they point at."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .codes import JOIN, LANES, MAP, PLUS, PRODUCT, SAME, TIMES, WIDTH


class Unrecordable(Exception):
    """Why a model decodes as it trains: an op that no instruction does, or a branch on what it reads."""


@dataclass(frozen=True)
class Vector:
    """Some neighbours in every line of a float32 tensor (tokens, width), or in the only line there is for all."""

    held: Tensor
    size: int
    begin: int = 0

    @property
    def address(self) -> int:
        return self.held.data_ptr() + 4 * self.begin

    @property
    def operand(self) -> tuple[int, int]:
        """Its address, and how far apart its lines are."""
        return self.address, self.held.stride(0) if self.held.dim() == 2 else 0


class Builder:
    """Instructions as they are written, with all that they point at."""

    def __init__(
        self, rows: int, capacity: int, dtype: torch.dtype = torch.float32, int8_cache: bool = False, at_once: int = 1
    ) -> None:  # fmt: skip
        self.rows, self.capacity, self.at_once = rows, -(-capacity // 64) * 64, at_once
        self.dtype, self.int8_cache = dtype, int8_cache  # of what attention remembers
        self.instructions: list[list[int]] = []
        self.numbers: list[float] = []
        self.held: list[Tensor] = []  # whatever has its address in a line
        self.states: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        self.turned = set[tuple[Any, ...]]()  # states (rows,n,m) of leaves (rows,m,n)
        self.windows: dict[tuple[Any, ...], tuple[int, int]] = {}  # of caches that forget: window, sinks
        self.read = 0  # bytes of matrices

    def write(self, op: int, *given: int, tasks: int = 0) -> None:
        begun = [op, *given]
        self.instructions.append([*begun, *[0] * (WIDTH - 1 - len(begun)), tasks])

    def number(self, value: float) -> int:
        if value not in self.numbers:
            self.numbers.append(value)
        return self.numbers.index(value)

    def fresh(self, size: int) -> Vector:
        """Space for a result: lines of whole vectors, and one more line to read past the end."""
        self.held.append(torch.zeros(self.rows * self.at_once + 1, size + -size % LANES))
        return Vector(self.held[-1], size)

    def constant(self, value: Tensor) -> Vector:
        """One line for all rows."""
        self.held.append(pad(value.detach().float().flatten(), (0, -value.numel() % LANES + LANES)))
        return Vector(self.held[-1], value.numel())

    def reads(self, matrix: Tensor) -> int:
        """The address of what is read where it lies; it may have been made just now."""
        self.held.append(matrix.detach())
        return matrix.data_ptr()

    def state(self, path: tuple[Any, ...], name: str, *shape: int, dtype: torch.dtype = torch.float32) -> int:
        made = self.states.setdefault(path, {})[name] = torch.zeros(self.rows, *shape, dtype=dtype)
        return made.data_ptr()

    def map(self, code: int, x: Vector, scale: float = 1.0, shift: float = 0.0) -> Vector:
        y = self.fresh(x.size)
        self.write(MAP, *x.operand, *y.operand, x.size, code, self.number(scale), self.number(shift))
        return y

    def join(self, code: int, x: Vector, z: Vector, repeat: int = 1) -> Vector:
        y = self.fresh(x.size)
        self.write(JOIN, *x.operand, *z.operand, *y.operand, x.size, code, repeat)
        return y

    def times(self, x: Vector, z: Vector, repeat: int = 1) -> Vector:
        return self.join(TIMES, x, z, repeat)

    def plus(self, x: Vector, z: Vector) -> Vector:
        return self.join(PLUS, x, z)

    def table(self, matrix: Tensor) -> int:
        """The address of a matrix of which lines are read."""
        self._reads_in(matrix)
        return self.reads(matrix.contiguous())

    def matrix(self, weight: Tensor, x: Vector, bias: Tensor | None = None) -> Vector:
        """W x (+ b)."""
        self._reads_in(weight)
        N, K = weight.shape
        if K % LANES or not weight.is_contiguous():
            weight = pad(weight.detach(), (0, -K % LANES)).contiguous()
        self.read += weight.numel() * weight.element_size()
        y = self.fresh(N)
        bits, offset = 8 * weight.element_size(), 0 if bias is None else self.constant(bias).address
        sizes = (bits, N, weight.shape[1])
        self.write(PRODUCT, self.reads(weight), *sizes, *x.operand, *y.operand, offset, tasks=-(-N // LANES))
        return y

    def packed(self, store: Tensor, bits: int, group: int, N: int, x: Vector) -> Vector:
        """The same of a packed matrix; x reaches to whole blocks."""
        K = x.size + -x.size % group
        if x.size != K:
            if x.begin:
                raise Unrecordable(f"{x.size} columns in groups of {group}")
            wider = self.fresh(K)
            self.write(MAP, *x.operand, *wider.operand, x.size, SAME, self.number(1.0), self.number(0.0))
            x = wider
        self.read += store.numel()
        y = self.fresh(N)
        given = (self.reads(store), bits, N, K, *x.operand, *y.operand, 0, group)
        self.write(PRODUCT, *given, tasks=-(-N // LANES))
        return y

    def _reads_in(self, matrix: Tensor) -> None:
        if matrix.dtype not in (torch.float32, torch.bfloat16):
            raise Unrecordable(f"weights of {matrix.dtype}")
