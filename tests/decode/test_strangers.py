"""Parts that nobody here knows decode at speed where their ops are known, and are refused in words where not."""

import gc
import logging
import math
import weakref
from itertools import pairwise

import pytest
import torch
from decode_cases import wide
from torch.nn.functional import silu

import blockyard as by
from blockyard.core import Part, Sublayer, sub
from blockyard.core.spec import block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.decode import graph
from blockyard.decode import program as programs
from blockyard.decode.program import Program
from blockyard.decode.ragged import padded, prefill
from blockyard.decode.record import Unrecordable, record


def small(part="attention"):
    return by.build(model_spec(
        dim=64, stem=stem("tokens", vocab=96), blocks=(block("a", mixer(part, heads=2), channel("mlp", inner=96)),),
        residual=residual("prenorm"), depth=depth("stack", layers=2), head=head("lm"),
    ))  # fmt: skip


def agree(model, steps=80, lengths=(9, 4)):
    """Every token, past a block of slots."""
    rows = [torch.randint(96, (n,)) for n in lengths]
    logits, state = prefill(model, padded(rows))
    program = Program(model, len(rows), 32)
    program.load(state)
    for _ in range(steps):
        tokens = logits.argmax(-1)
        logits, state = prefill(model, tokens[:, None], state)
        assert (program.step(tokens) - logits).abs().max() < 1e-4 * max(1, float(logits.abs().max()))


class QuickGelu(Part):
    def forward(self, x, call=None):
        return x * (1.702 * x).sigmoid()


class ByHand(Part):
    """A norm in plain operations."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.linspace(0.5, 1.5, 64))

    def forward(self, x, call=None):
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * self.gain


class Both(Sublayer):
    """Two mixers side by side, each with its own state."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x, call, state=None):
        a, one = self.first(x, call, sub(state, "first"))
        b, two = self.second(x, call, sub(state, "second"))
        return a + b, None if state is None else {"first": one, "second": two}


class Average(Sublayer):
    """A fading mean of every channel: a state in plain operations."""

    def __init__(self):
        super().__init__()
        self.pace, self.gate = torch.nn.Parameter(torch.linspace(-1, 2, 64)), torch.nn.Linear(64, 64)

    def forward(self, x, call, state=None):
        kept, out = self.pace.sigmoid(), []
        h = x.new_zeros(x.shape[0], x.shape[2]) if not state else state["memory"]
        for t in range(x.shape[1]):
            new = kept * h + (1 - kept) * x[:, t]
            h = new if call.valid is None else torch.where(call.valid[:, t, None], new, h)
            out.append(h)
        return torch.stack(out, 1) * silu(self.gate(x)), None if state is None else {"memory": h}


class Warming(Sublayer):
    """A factor of the position."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, call, state=None):
        y, state = self.inner(x, call, state)
        return y * (call.positions + 2).to(x.dtype).log()[..., None], state


def with_activation(model):
    model.steps[1].part.activation = QuickGelu()


def with_norm(model):
    model.steps[0].rule.norm = ByHand()


def with_both(model):
    model.steps[0].part = Both(model.steps[0].part, small("gla").steps[0].part)


def with_average(model):
    model.steps[2].part = Average()


def with_warming(model):
    model.steps[3].part = Warming(model.steps[3].part)


@pytest.mark.parametrize("change", [with_activation, with_norm, with_both, with_average, with_warming])
def test_a_part_of_known_ops_decodes_at_speed(change):
    model = small()
    change(model)
    agree(model)


class Looking(Sublayer):
    """Who lets a number decide."""

    def __init__(self, how):
        super().__init__()
        self.how, self.count = how, 0

    def forward(self, x, call, state=None):
        if self.how == "a branch":
            return (2 * x if x[0, 0, 0] > 0 else x), state
        if self.how == "the past":
            return x * math.log(1 + (x.shape[1] if call.past is None else call.past.positions.shape[1])), state
        if self.how == "changes along a text":
            self.count += 1
            return x * self.count, state
        if self.how == "where it stands":
            return (2 * x if int(call.positions[0, 0]) > 90 else x), state
        if self.how == "whole numbers":
            return x + (4 * x).to(torch.int32), state
        if self.how == "in place":
            y = torch.empty_like(x)
            torch.mul(x, 2, out=y)
            return y, state
        if self.how == "a constant in place":
            return x * torch.ones(64).exp().mul_(0.1), state
        if self.how == "not neighbours":
            heads = x.view(*x.shape[:2], 2, 4, 8)
            return (heads * heads[:, :, :1, :, :1]).flatten(2), state
        if self.how == "rows":
            return x - x.mean(0, keepdim=True), state
        return x.cumsum(-1), state


@pytest.mark.parametrize("how,why", [
    ("a branch", "a branch on what a token says"), ("the past", "looks at the past's positions"),
    ("changes along a text", "a number that changes along a text"), ("an op", "aten.cumsum.default"),
    ("where it stands", "a branch on where a token stands"), ("whole numbers", "whole numbers"),
    ("in place", "writes into a tensor"), ("a constant in place", "a constant that is written into"),
    ("not neighbours", "shapes"), ("rows", "more than the last dimension"),
])  # fmt: skip
def test_what_cannot_be_recorded_says_why_and_decodes_as_it_trains(how, why, caplog, monkeypatch):
    monkeypatch.setattr("blockyard.decode.generate.WORTH", (0, 0))
    model = small()
    model.steps[1].part = Looking(how)
    with pytest.raises(Unrecordable, match=why):
        Program(model, 1, 32)
    programs._told.cache_clear()
    with caplog.at_level(logging.WARNING, "blockyard"):
        for _ in range(2):
            assert len(list(by.generate(model, torch.randint(96, (1, 5)), 20, by.SamplingParams(temperature=0)))) == 20
    assert [why in record.message for record in caplog.records] == [True]


def test_a_refusal_is_remembered_until_the_model_changes(monkeypatch):
    runs = []
    monkeypatch.setattr(graph, "record", lambda *given: runs.append(1) or record(*given))
    model = small()
    for how, often in (("a branch", 1), ("where it stands", 2)):
        model.steps[1].part = Looking(how)
        for rows in (1, 2):
            with pytest.raises(Unrecordable, match="a branch on"):
                Program(model, rows, 8)
            assert len(runs) == often
    model.steps[1].part = small().steps[1].part
    assert Program.of(model, 1, 8) is not None and len(runs) == 4  # two tokens of the last
    refused = small()
    refused.steps[1].part = Looking("a branch")
    assert Program.of(refused, 1, 8) is None
    kept = weakref.ref(refused)
    del refused
    gc.collect()
    assert kept() is None


def test_a_model_that_changes_is_recorded_anew():
    """In its weights by any way, in its settings, in its parts."""
    model = wide("mamba2")

    def told():
        state = prefill(model, torch.arange(9)[None])[1]
        program = Program(model, 1, 32)
        program.load(state)
        found = program.step(torch.tensor([3])).clone()
        assert (found - prefill(model, torch.tensor([[3]]), state)[0]).abs().max() < 1e-4 * float(found.abs().max())
        return found

    seen = [told()]
    model.steps[0].part.A_log.data.mul_(0.5)  # no version of a tensor counts this
    seen.append(told())
    model.load_state_dict({name: 1.1 * value for name, value in model.state_dict().items()})
    seen.append(told())
    model.head.norm.eps = 0.5
    seen.append(told())
    model.steps[1].part = torch.nn.ModuleList([model.steps[3].part])[0]
    seen.append(told())
    assert not any(torch.equal(a, b) for a, b in pairwise(seen))


def test_what_is_kept_of_a_model_does_not_keep_the_model():
    model = small()
    assert Program.of(model, 1, 8) is not None
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None
