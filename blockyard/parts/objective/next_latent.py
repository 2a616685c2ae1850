"""Say, beside another objective, the next state of the model from this one and the token that comes.

    s_0 = h_t        s_i = s_{i-1} + M(N[s_{i-1} ; e_{t+i}])        M: three layers, 2D -> D -> D -> D
    loss = L + states * mean_{t,i} |s_i - sg(h_{t+i})|_smooth + scores * mean_{t,i} KL(p(sg(h_{t+i})) || p(s_i))

h: what the head's table reads, behind its norm; e: what the stem looks up, before positions and without a gradient; p:
the softmax of the head, whose numbers are fixed in this term; i up to the horizon. |.|_smooth is the mean over channels
of the squared error / 2 up to 1 and of the error - 1/2 beyond. States are said everywhere in a segment, scores where
the next token is asked for. M is the objective's own, and is gone with it.

Shapes   h, e, s (B,T,D)   logits (B,T,V)
Source   arXiv 2511.05963    Slug  next-latent    Family  objective
Differs  M begins at zero, so that states are at first said to stay as they are
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import smooth_l1_loss

from blockyard.core import Batch, Cat, Objective, Site, Spec, UsageError, upcast
from blockyard.core.part import Draws
from blockyard.core.settings import ActivationSpec, Count, NonNegative, NormSpec, ObjectiveSpec
from blockyard.parts.objective._next import followed

STEM, HEAD = "stem:embedded", "head:normed"


class NextLatent(Objective):
    needs = ("causal",)
    forwards = 0.5  # three small matrices, there and back, are one to two sixths of a model of few layers
    variants = ({}, dict(horizon=3, states=2.0, scores=0.5))

    def __init__(
        self, site: Site, *, objective: ObjectiveSpec = Spec("objective", "next_token"),
        horizon: Annotated[Count, "how many states are said from each, one after the other"] = 1,
        states: Annotated[NonNegative, "what the distance of states is multiplied by"] = 1.0,
        scores: Annotated[NonNegative, "what the divergence of their predictions is multiplied by"] = 1.0,
        gain: Annotated[NonNegative, "how large a change of state is at first, in units of a usual matrix"] = 0.0,
        norm: NormSpec = Spec("norm", "rms"), activation: ActivationSpec = Spec("activation", "gelu"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.inner, self.horizon, self.states, self.scores = site.build("objective", objective), horizon, states, scores
        both = Cat(site.stream, site.stream)
        self.norm = site.slot("norm", norm, on=both)
        self.join = site.linear("join", both, site.stream, bias=True)
        self.mid = site.linear("mid", site.stream, site.stream, bias=True)
        self.out = site.linear("out", site.stream, site.stream, bias=True, gain=gain)
        self.activation = site.slot("activation", activation)

    @classmethod
    def speaks(cls, settings: dict[str, Any]) -> int:
        return settings.get("horizon", 1) if settings.get("scores", 1.0) else 0

    def adopt(self, model: Any, before: Any) -> None:
        """Refuse a model whose embeddings or states cannot be read."""
        for part, point in ((model.stem, "embedded"), (model.head, "normed")):
            if point not in part.points:
                name = f"{part.spec.kind}:{part.spec.name}"
                raise UsageError(f"objective:next_latent reads the hook point {point} of {part.path}; {name} has none")
        for claim in self.inner.needs:
            model.require(claim, f"objective:{self.inner.spec.name}")
        self.inner.adopt(model, before)

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        return self.inner.prepare(batch, draw)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        found = self.inner.counts(batch)
        places = self.places(batch)
        if self.states:
            found |= {"states": torch.stack([follows.sum() for follows, _ in places]).sum()}
        if self.scores:
            found |= {"scores": torch.stack([asked.sum() for _, asked in places]).sum()}
        return found

    def after(self, model: Any) -> None:
        self.inner.after(model)

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        return self.inner.example(model, rows, length, draw)

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        if not self.states and not self.scores:
            return self.inner(model, batch)
        flow = model.run(model.start(batch, points={STEM: "read", HEAD: "read"}))
        out = model.finish(flow)
        read = {key[2:]: value for key, value in out.captures.items()}
        h, e = read["head", "normed"], read["stem", "embedded"].detach()
        counts, found = self.counts(batch), self.inner(_Read(model, out), batch)
        off, apart, said = [], [], h
        for i, (follows, asked) in enumerate(self.places(batch), 1):
            said = self.change(said, e.roll(-i, 1))
            if self.states:
                each = smooth_l1_loss(upcast(said), upcast(h.detach().roll(-i, 1)), reduction="none").mean(-1)
                off.append(each.masked_fill(~follows, 0).sum())
            if self.scores:
                goal = upcast(out.logits.detach().roll(-i, 1)).log_softmax(-1)
                log_p = upcast(self.read(model, flow, said)).log_softmax(-1)
                apart.append((goal.exp() * (goal - log_p)).sum(-1).masked_fill(~asked, 0).sum())
        for name, sums, weight in (("states", off, self.states), ("scores", apart, self.scores)):
            if sums:
                found[name] = torch.stack(sums).sum(), counts[name], weight
        return found

    def change(self, h: Tensor, e: Tensor) -> Tensor:
        """(B,T,D) the states that follow h (B,T,D) when tokens of embeddings e (B,T,D) come."""
        x = self.norm(torch.cat([h, e], -1), None)
        x = self.activation(self.join(x, None), None)
        return h + self.out(self.activation(self.mid(x, None), None), None)

    def read(self, model: Any, flow: Any, h: Tensor) -> Tensor:
        """(B,T,V) what the head says of states h, in place of its own; no gradient reaches its numbers."""
        points = {(model.head.path, "normed"): lambda _: h}
        call = flow.call._replace(step=len(model.steps), points=points, captures=None)
        fixed = {name: p.detach() for name, p in model.head.named_parameters()}
        said, *_ = functional_call(model.head, fixed, (flow.x.detach(), call, None))
        return said["logits"]

    def places(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """(B,T) for each step ahead: whether so many tokens follow in the segment, and whether the last of them is
        asked what comes next."""
        asked = torch.ones_like(batch.tokens, dtype=torch.bool) if batch.targets is None else batch.targets >= 0
        every = enumerate(followed(batch, self.horizon), 1)
        return [(follows, follows & asked.roll(-i, 1)) for i, follows in every]


class _Read:
    """A model as an objective sees it whose forward was made already."""

    def __init__(self, model: Any, out: Any) -> None:
        self.model, self.out = model, out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, batch: Batch, **request: Any) -> Any:
        return self.out
