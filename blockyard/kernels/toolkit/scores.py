"""What queries find in keys that fade channel by channel, in pieces of a power of two."""

import torch
import torch.nn.functional as F
from torch import Tensor


def power_of_two(T: int) -> int:
    """Halving needs a power of two; smaller pieces cost less where rows are short (measured on one thread)."""
    size = 1
    while size < min(T, 16 if T <= 256 else 32):
        size *= 2
    return size


def decayed_scores(q: Tensor, k: Tensor, log2_decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A_trsu = sum_d q_trd k_sud 2^(decays after s, up to t), s <= t, of q (M,C,R,K), k (M,C,U,K), decays (M,C,K), by
    halves; 0 where s > t.

    Of a block, the later half reads the earlier half through the border between them: (q 2^(decays from the border up
    to t)) (k 2^(decays after s, up to the border))^T, with one exponential per token and level; then blocks of two
    blocks, from single tokens up. Also gives the decays up to t and those after s: sums of their own (see `Spans`).
    """
    C, R, K = q.shape[1:]
    U = k.shape[2]
    own = (q.unsqueeze(3) * k.unsqueeze(2)).sum(-1) if R * U > 1 else (q * k).sum(-1)
    scores, into, after = own.view(-1, 1, R, 1, U), log2_decay, torch.zeros_like(log2_decay)
    size = 1
    while size < C:
        late_q, early_k = q.reshape(-1, 2, size, R, K)[:, 1], k.reshape(-1, 2, size, U, K)[:, 0]
        ahead, behind = (t.view(-1, 2, size, K).unbind(1) for t in (into, after))
        late_q = (late_q * ahead[1].exp2().unsqueeze(2)).flatten(1, 2)
        early_k = (early_k * behind[0].exp2().unsqueeze(2)).flatten(1, 2)
        if size < 4:
            across = (late_q.unsqueeze(2) * early_k.unsqueeze(1)).sum(-1)  # quicker than many tiny matmuls
        else:
            across = torch.bmm(late_q, early_k.transpose(1, 2))
        first, second = scores.view(-1, 2, size, R, size, U).unbind(1)
        below = torch.cat([across.view_as(second), second], 3)
        scores = torch.cat([F.pad(first, (0, 0, 0, size)), below], 1)
        into = torch.cat([ahead[0], ahead[1] + ahead[0][:, -1:]], 1)
        after = torch.cat([behind[0] + ahead[1][:, -1:], behind[1]], 1)
        size *= 2
    return scores, into, after
