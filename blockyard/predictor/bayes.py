"""What is known of a function after some examples, exactly, where its family allows: evidences and means.

    of features     y = phi(x).(m + w) + noise e, w ~ N(0, scale^2 I), e ~ N(0,I)
                    y ~ N(phi m, K + noise^2 I), K = scale^2 phi phi'
                    mean at q: phi_q m + K_q (K + noise^2 I)^-1 (y - phi m)
    of a kernel     the same of any K; without a prior that is Gaussian it is the best that is linear in y
    of a pool       one of some functions, each as likely: weights prop. to exp(-|y - f|^2 / 2 noise^2)
    of a mixture    p(D) = sum_j p_j p(D | j)        mean = sum_j p(j | D) mean_j        p(j | D) prop. to p_j p(D | j)

Shapes   phi (...,n,k)   K (...,n,n)   y (...,n)   evidence (...)   means (...,q)   of a pool f (...,n,M)
Source   arXiv 2306.04891, 2306.15063, 2311.00871    Slug  icl-bayesian-prism

Evidences are logarithms; all of it is in double precision.
"""

from collections.abc import Sequence

import numpy as np

Found = tuple[np.ndarray, np.ndarray]  # log evidence, means


def of_features(
    phi: np.ndarray, y: np.ndarray, asked: np.ndarray, noise: float, scale: float = 1.0, mean: np.ndarray | None = None
) -> Found:
    """Of weights with a Gaussian prior; `asked` (...,q,k): the features of the queries."""
    if mean is not None:
        evidence, said = of_features(phi, y - phi @ mean, asked, noise, scale)
        return evidence, said + asked @ mean
    across = scale**2 * asked @ phi.swapaxes(-1, -2)
    return of_kernel(scale**2 * phi @ phi.swapaxes(-1, -2), y, across, noise)


def of_kernel(among: np.ndarray, y: np.ndarray, across: np.ndarray, noise: float) -> Found:
    """Of values with covariances `among` (...,n,n) themselves and `across` (...,q,n) to the queries."""
    n = y.shape[-1]
    lower = np.linalg.cholesky(among + noise**2 * np.eye(n))
    white = np.linalg.solve(lower, y[..., None])
    size = np.square(white).sum((-2, -1)) + n * np.log(2 * np.pi)
    evidence = -0.5 * size - np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(-1)
    said = across @ np.linalg.solve(lower.swapaxes(-1, -2), white)
    return evidence, said[..., 0]


def of_pool(values: np.ndarray, y: np.ndarray, asked: np.ndarray, noise: float) -> Found:
    """Of one of M functions: their values (...,n,M) at the examples, and `asked` (...,q,M) at the queries."""
    size = np.square(y[..., None] - values).sum(-2) / noise**2 + y.shape[-1] * np.log(2 * np.pi * noise**2)
    total, shares = _normalised(-0.5 * size - np.log(values.shape[-1]))
    return total, (asked @ shares[..., None])[..., 0]


def of_mixture(shares: Sequence[float], members: Sequence[Found]) -> Found:
    """Of functions of one of several families, which has its share of all."""
    evidences = np.stack([evidence for evidence, _ in members], -1)
    total, weights = _normalised(evidences + np.log(np.asarray(shares)))
    return total, (np.stack([said for _, said in members], -1) * weights[..., None, :]).sum(-1)


def posterior_shares(shares: Sequence[float], members: Sequence[Found]) -> np.ndarray:
    """(...,J) how likely each family is after the examples."""
    return _normalised(np.stack([evidence for evidence, _ in members], -1) + np.log(np.asarray(shares)))[1]


def _normalised(logs: np.ndarray) -> Found:
    """The logarithm of the sum of exponentials over the last axis, and their shares of it."""
    top = logs.max(-1, keepdims=True)
    parts = np.exp(logs - top)
    sums = parts.sum(-1, keepdims=True)
    return (top + np.log(sums))[..., 0], parts / sums
