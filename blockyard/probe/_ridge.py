"""What is read off linearly, in double precision: numbers made standard, and the readout that a light ridge solves for.

z = (x - mean) / std        W = (Z'Z + n r I)^-1 Z'Y
"""

import torch
from torch import Tensor

RIDGE = 1e-2  # a row, on standard numbers


def standard(x: Tensor, known: Tensor) -> Tensor:
    """x (...,D) by the mean and the spread of what is known (n,D)."""
    return (x - known.mean(0)) / known.std(0).clamp(min=1e-9)


def solved(z: Tensor, goal: Tensor, ridge: float = RIDGE) -> Tensor:
    """(D,K) the readout of z (n,D), standard numbers, that says the goal (n,K) best."""
    curve = z.T @ z + ridge * len(z) * torch.eye(z.shape[1], dtype=z.dtype)
    return torch.linalg.solve(curve, z.T @ goal)


def share_explained(said: Tensor, goal: Tensor) -> float:
    """R^2 of what is said of a goal (n,K) that has the mean 0."""
    return float(1 - (said - goal).square().sum() / goal.square().sum())
