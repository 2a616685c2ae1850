"""Functions to be made small, of many points at once; the least value is 0, at the shift s.

    z = x - s        sphere  sum z_i^2        ellipsoid  sum 10^(6 i / (D-1)) z_i^2
    rastrigin  sum 10 + z_i^2 - 10 cos(2 pi z_i)
    rosenbrock  sum 100 (u_i^2 - u_{i+1})^2 + (1 - u_i)^2,  u = z + 1

Shapes   x (n,...,D), s (n,D) -> (n,...)    usual box [-5, 5]^D
"""

from collections.abc import Callable

import numpy as np

from blockyard.core.errors import UsageError, unknown


def sphere(z: np.ndarray) -> np.ndarray:
    """The squared distance."""
    return np.square(z).sum(-1)


def ellipsoid(z: np.ndarray) -> np.ndarray:
    """The squared distance with axes of very different length."""
    return (10 ** (6 * np.arange(z.shape[-1]) / max(1, z.shape[-1] - 1)) * np.square(z)).sum(-1)


def rastrigin(z: np.ndarray) -> np.ndarray:
    """A bowl with a hollow at every point of whole numbers."""
    return (10 + np.square(z) - 10 * np.cos(2 * np.pi * z)).sum(-1)


def rosenbrock(z: np.ndarray) -> np.ndarray:
    """A bent valley; of at least two numbers."""
    if z.shape[-1] < 2:
        raise UsageError("rosenbrock is a function of 2 numbers or more; set dim=2")
    u = z + 1
    return (100 * np.square(np.square(u[..., :-1]) - u[..., 1:]) + np.square(1 - u[..., :-1])).sum(-1)


LANDSCAPES = {each.__name__: each for each in (sphere, ellipsoid, rastrigin, rosenbrock)}


def landscape(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function of z of this name."""
    if name not in LANDSCAPES:
        raise unknown("landscape", name, LANDSCAPES)
    return LANDSCAPES[name]
