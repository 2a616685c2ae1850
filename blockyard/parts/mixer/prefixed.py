"""A mixer whose queries also read a few learned keys and values, which stand before every token, behind a gate.

    context = F's + g softmax_p(q_t . k_p / sqrt K) v_p        k_p, v_p (P) learned        g a number a head, 0 at first

F is any mixer with queries by head, softmax or not. It runs as it did; what the prefix says is added to what its heads
have read, before they are projected to the stream.

Shapes   x, y (B,T,D)   q (B,T,H,K)   k_p (P,G,K)   v_p (P,G,V)   g (G,H/G)
Source   arXiv 2101.00190; 2303.16199 (a softmax of its own, behind a gate that starts at 0)    Family  adapters
Tags     memory=of its mixer, decay=of its mixer
Differs  keys and values are learned as they are (2101.00190: by a network that is thrown away after training), and
         share no softmax with those of the tokens, so that nothing changes at first
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer, UsageError, constant, normal
from blockyard.core.claims import together
from blockyard.core.settings import Count, MixerSpec

READ, WRITTEN = "q", "context"  # hook points of the mixer that it needs
KINDS = ((("kv", "group"), "head_dim", "head_dim"), (("heads",), "key_dim", "value_dim"))  # of heads, keys and values


class Prefixed(Sublayer):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True,
        time_exponent=2.0,
    )  # fmt: skip
    points = ("added",)
    attached_to = "base"
    variants = ({}, dict(length=3))
    unrecorded = "attention to learned keys beside the past is no instruction yet"

    def __init__(
        self, site: Site, *, length: Annotated[Count, "keys and values before the tokens"] = 16,
        base: Annotated[MixerSpec, "what it is attached to"] = Spec("mixer", "attention"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.base: Any = site.build("base", base)
        inside = f"{site.child('base')}."
        axes = {path.removeprefix(inside): axis for path, axis in site.context.axes.items() if path.startswith(inside)}
        kind = next((kind for kind in KINDS if {*kind[0], *kind[1:]} <= axes.keys()), None)
        if not {READ, WRITTEN} <= set(self.base.points) or kind is None:
            raise UsageError(f"{site.path}: mixer:{base.name} has no queries by head that a prefix could be read by")
        each, key, value = [axes[name] for name in kind[0]], axes[kind[1]], axes[kind[2]]
        places, group = site.axis("prefix", length), each[0]
        self.keys = site.param("keys", (places, group, key), normal(1.0))
        self.values = site.param("values", (places, group, value), normal(1.0))
        self.gate = site.param("gate", tuple(each), constant(0.0))
        self.claims = {name: held for name, held in together((self.base,)).items() if name in type(self).claims}
        self.ports = self.base.ports

    def added(self, q: Tensor) -> Tensor:
        """(B,T,H,V) what the prefix says to queries (B,T,H,K)."""
        times = q.shape[2] // self.keys.shape[1]
        keys, values = (each.repeat_interleave(times, 1).to(q.dtype) for each in (self.keys, self.values))
        weights = torch.softmax(torch.einsum("bthk,phk->bthp", q, keys) * keys.shape[-1] ** -0.5, -1)
        return self.gate.flatten()[:, None].to(q.dtype) * torch.einsum("bthp,phv->bthv", weights, values)

    def forward(self, x: Any, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        asked, queries = call.points or {}, list[Tensor]()

        def read(q: Tensor) -> Tensor:
            q = self._as_asked(READ, q, asked, call)
            queries.append(q)
            return q

        def written(context: Tensor) -> Tensor:
            said = self.added(queries[-1]).flatten(2)
            context = context + self.point("added", said, call._replace(points=asked or None))
            return self._as_asked(WRITTEN, context, asked, call)

        own: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
            (self.base.path, READ): read, (self.base.path, WRITTEN): written,
        }  # fmt: skip
        return self.base(x, call._replace(points={**asked, **own}), state)

    def _as_asked(self, name: str, value: Tensor, asked: Any, call: Call) -> Tensor:
        """What the forward itself asks of the mixer's hook point."""
        action = asked.get((self.base.path, name))
        if action is None:
            return value
        if action == "read":
            call.capture(self.base.path, name, value)
            return value
        return action(value)
