"""What an op's emit.py is given, and may refuse.

    def some_op(e: Emission, *the op's own arguments) -> Vector          writes instructions; where the result will be

Of a recorded token each tensor is a constant, or depends on the position only, or is another at every token. A state is
an address, written in place.
"""

from typing import Any, Protocol

from torch import Tensor

from .builder import Builder, Unrecordable, Vector
from .codes import LANES


def whole(*sizes: int) -> None:
    """Refuse widths that loops over whole vectors do not take."""
    if any(size % LANES for size in sizes):
        raise Unrecordable(f"widths {sizes} are no whole vectors of {LANES}")


class Emission(Protocol):
    """The operands of a recorded token as vectors of a program."""

    w: Builder

    def vector(self, x: Tensor) -> Vector:
        """Where x of a token lies, or the one line there is for all."""
        ...

    def constant(self, x: Tensor, shape: Any = None) -> Vector:
        """One line, the same for every token."""
        ...

    def table(self, x: Tensor) -> Vector:
        """What depends on the position only, for all positions."""
        ...

    def computed(self, x: Tensor) -> Tensor:
        """A constant, from today's weights."""
        ...

    def memory(self, leaf: Tensor, *shape: int, turned: bool = False) -> int:
        """The address of a recurrent leaf, written in place; turned: it is kept as (n,m), the leaf is (m,n)."""
        ...

    def cache_of(self, state: Any) -> tuple[Any, ...]:
        """Where in a model's state the cache lies that these leaves are of."""
        ...

    def of_the_token(self, x: Tensor) -> None:
        """Refuse to look up anything but the token itself."""
        ...
