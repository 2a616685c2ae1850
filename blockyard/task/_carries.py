"""What a written multiplication consists of, digit by digit; digits are the least significant first.

    rows      p_ij = a_j b_i + r_i,j-1               d_ij = p_ij mod 10    r_ij = floor(p_ij / 10)    one a digit of b
    columns   s_k = sum_{i+j=k} a_j b_i + r_k-1      c_k = s_k mod 10      r_k = floor(s_k / 10)      c = a b

A place has no carry where r_k-1 = 0; a chained one where its own products mod 10 and the carry make more than 9: the
carry goes on because of one before it; else a plain one.

Shapes   a (n,A), b (n,B)   rows (n,B,A), the last carry as digit A: (n,B,A+1)   columns (n,A+B)
Source   arXiv 2407.15360    Slug  multiplication
"""

from typing import NamedTuple

import numpy as np

NONE, PLAIN, CHAINED = range(3)
CLASSES = ("none", "plain", "chained")


class Work(NamedTuple):
    """All labels of a multiplication.

    product, row_in, row_out, row_chained   (n,B,A) of each pair of digits: its product, carries, whether one is chained
    row           (n,B,A+1) the digits of each row
    sums          (n,A+B) the products of every column, without the carry
    carry_in, carry_out, kind, digits       (n,A+B) of every column: the carries, none, plain or chained; the answer
    """

    product: np.ndarray
    row_in: np.ndarray
    row_out: np.ndarray
    row_chained: np.ndarray
    row: np.ndarray
    sums: np.ndarray
    carry_in: np.ndarray
    carry_out: np.ndarray
    kind: np.ndarray
    digits: np.ndarray


def worked(a: np.ndarray, b: np.ndarray) -> Work:
    """The work of every pair of digits (n,A), (n,B)."""
    product = b[:, :, None] * a[:, None, :]
    row_in, row_out, row = carried(product)
    sums = np.zeros((len(a), a.shape[1] + b.shape[1]), np.int64)
    for i in range(b.shape[1]):
        sums[:, i : i + a.shape[1]] += product[:, i]
    carry_in, carry_out, digits = carried(sums)
    chained = product % 10 + row_in > 9
    kind = np.where(carry_in == 0, NONE, np.where(sums % 10 + carry_in > 9, CHAINED, PLAIN))
    row = np.concatenate([row, row_out[..., -1:]], -1)
    return Work(product, row_in, row_out, chained, row, sums, carry_in, carry_out, kind, digits)


def carried(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Carries in and out and the digits of columns (...,K), the least significant first."""
    came, went, digits = (np.zeros_like(sums) for _ in range(3))
    carry = np.zeros_like(sums[..., 0])
    for k in range(sums.shape[-1]):
        came[..., k] = carry
        carry, digits[..., k] = np.divmod(sums[..., k] + carry, 10)
        went[..., k] = carry
    return came, went, digits
