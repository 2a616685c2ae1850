"""What would the model say if it had to answer at each depth, and how far is that from what it says in the end?

    p_k = softmax(head(x_k))        x_k: the stream in front of the first step (`stem`), and behind every step
    PATH:kl      mean over tokens of sum_v p ln(p / p_k)        p: what is said in the end; 0: decided here
    PATH:top     share of tokens whose likeliest answer is the one of the end
    PATH:rank    mean place of the last answer in the order here; 0: the first
    even:kl      the same for the mean of p over all tokens: what an answer is worth that knows no token

The head is used as it is, its norm included. Where the width of the stream is not the head's, nothing is said.

Source   none (nostalgebraist, Interpreting GPT: the logit lens, 2020); arXiv 2303.08112
Family   probes
Differs  no lens is fitted to each depth; read behind every step, not only behind blocks
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.flow import Flow
from blockyard.core.settings import Count
from blockyard.probe._inside import along, in_pieces
from blockyard.probe._read import Arrays, batch_of


@torch.no_grad()
def logit_lens_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """Of rows (n,L) of ids, or a batch of anything, (n,) the mean over each row's tokens: `steps.0.part:kl` in nats."""
    if not model.head.says.endswith(("tokens", "classes")):
        raise UsageError(f"a lens reads scores of tokens or of classes, and this head says {model.head.says}")
    given = batch_of(model, data)
    found: dict[str, list[Tensor]] = {}
    told, total, count = [], torch.zeros(()), 0
    for piece in in_pieces(given, batch):
        early = answers(model, piece)
        last = early.pop("")
        counts = _counts(piece, last)
        for path, log_p in early.items():
            for name, each in _apart(last, log_p).items():
                found.setdefault(f"{path}:{name}", []).append(_mean(each, counts))
        told.append((last, counts))
        total = (last.exp() * counts[..., None]).flatten(0, -2).sum(0) + total.to(last)
        count += int(counts.sum())
    even = (total / count).clamp(min=torch.finfo(total.dtype).tiny).log()
    found["even:kl"] = [_mean(_apart(last, even.expand_as(last))["kl"], counts) for last, counts in told]
    return {name: torch.cat(pieces).cpu().numpy() for name, pieces in found.items()}


def answers(model: Any, batch: Batch) -> dict[str, Tensor]:
    """The logarithm (B,T,V) of what is said at every depth, in double precision, and under an empty name in the end."""
    found: dict[str, Tensor] = {}

    def look(name: str, flow: Flow) -> Flow:
        if flow.x.shape[-1] == model.head.stream.size:
            found[name] = _log_p(model.finish(flow))
        return flow

    return {"": _log_p(along(model, batch, look))} | found


def _log_p(out: Any) -> Tensor:
    return next(iter(out.prediction.values())).double().log_softmax(-1)


def _counts(batch: Batch, last: Tensor) -> Tensor:
    """(B,T) 1 for every token that counts; of what is said of a whole row (B,)."""
    if batch.valid is None or last.shape[:-1] != batch.valid.shape:
        return torch.ones_like(last[..., 0])
    return batch.valid.to(last)


def _apart(last: Tensor, here: Tensor) -> dict[str, Tensor]:
    """How far what is said here is from what is said in the end, of each token."""
    best = last.argmax(-1, keepdim=True)
    return {
        "kl": (last.exp() * (last - here)).sum(-1),
        "top": (here.argmax(-1, keepdim=True) == best)[..., 0].to(last),
        "rank": (here > here.gather(-1, best)).sum(-1).to(last),
    }


def _mean(each: Tensor, counts: Tensor) -> Tensor:
    """(B,) the mean over the tokens of a row that count."""
    each, counts = (z.reshape(len(z), -1) for z in (each, counts))
    return (each * counts).sum(1) / counts.sum(1)
