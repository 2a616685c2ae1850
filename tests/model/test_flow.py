"""What moves through a model: notes of every part, carries of any shape, tokens taken out and put back."""

import pytest
import torch

import blockyard as by
from blockyard.core.call import Call, gather, scatter
from blockyard.core.errors import UsageError
from blockyard.core.flow import Flow
from blockyard.core.state import tree_map


def ids(rows=2, length=10):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(0))


def noting(monkeypatch, part, method):
    """Let this method of a part name the positions that it sees as a point."""
    kind, inner = type(part), getattr(type(part), method)

    def wrapped(self, *args, **kwargs):
        call = next(a.call if isinstance(a, Flow) else a for a in args if isinstance(a, (Call, Flow)))
        self.point(method, call.positions, call)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(kind, "points", (*kind.points, method))
    monkeypatch.setattr(kind, method, wrapped)


@pytest.mark.parametrize("recompute", [False, True])
def test_every_part_of_a_model_can_leave_a_note(monkeypatch, recompute):
    model, x = by.build("llama", "tiny"), ids()
    model.recompute = recompute
    last = len(model.steps)
    for part in (model.stem, model.head, model.depth):
        noting(monkeypatch, part, "forward")
    for method in ("start", "read", "write", "flush"):
        noting(monkeypatch, model.steps[0].rule, method)
    out = model(x, points={"*": "read"})
    found = set(out.captures)
    assert {(-1, 0, "stem", "forward"), (0, 0, "depth", "forward"), (last, 0, "head", "forward")} <= found
    assert {(0, 0, "steps.0.rule", "start"), (last, 0, f"steps.{last - 1}.rule", "flush")} <= found
    assert {(i, 0, f"steps.{i}.rule", name) for i in range(last) for name in ("read", "write")} <= found
    flow = model.start(x, points={"*": "read"})
    first = model.run(flow, [0])
    stem = {(-1, 0, "stem", name) for name in ("forward", "embedded")}
    assert set(flow.captures) == stem and (1, 0, "steps.1.rule", "read") not in first.captures
    rest = model.finish(model.run(first, range(1, last)))
    assert set(rest.captures) == found - {(0, 0, "depth", "forward")}
    assert model(x).captures == {}


def lanes(monkeypatch, model, write):
    """A rule that carries a tuple of streams."""
    kind = type(model.steps[0].rule)
    for name, method in {
        "start": lambda self, x, call: (x, {"first": x}),
        "read": lambda self, carry, ports, call: carry[0],
        "write": write,
        "flush": lambda self, carry, call: carry[0],
    }.items():
        monkeypatch.setattr(kind, name, method)


INDEX = torch.tensor([[0, 1, 2, -1], [10, 12, 14, 19]])


@torch.no_grad()
def test_a_carry_of_several_streams_is_written_for_some_tokens(monkeypatch):
    model = by.build("llama", "tiny")
    lanes(monkeypatch, model, lambda self, carry, y, call: (carry[0] + y, {"first": carry[0]}))
    flow = model.run(model.start(ids()), [0])
    whole, active = model.run(flow, [1]), torch.rand(2, 10) < 0.5
    some = model._run(flow, 1, active=active)
    assert torch.equal(some.x, torch.where(active[..., None], whole.x, flow.x))
    assert torch.equal(some.carry[1]["first"], torch.where(active[..., None], flow.x, flow.carry[1]["first"]))
    part = model._run(flow, 1, tokens=INDEX)
    held = INDEX[INDEX >= 0]
    assert (part.x.flatten(0, 1)[held] - whole.x.flatten(0, 1)[held]).abs().max() < 1e-5  # an MLP: token by token
    rest = [i for i in range(20) if i not in held]
    assert torch.equal(part.x.flatten(0, 1)[rest], flow.x.flatten(0, 1)[rest])


@torch.no_grad()
@pytest.mark.parametrize(
    "write",
    [
        lambda self, carry, y, call: (*carry, y),
        lambda self, carry, y, call: carry[:1],
        lambda self, carry, y, call: (carry[0], carry[1] | {"second": y}),
        lambda self, carry, y, call: (carry[0], {}),
        lambda self, carry, y, call: (carry[0], (y,)),
        lambda self, carry, y, call: (carry[0], {"first": torch.stack([y, y], 2)}),
        lambda self, carry, y, call: [*carry],
    ],
    ids=["more", "fewer", "a new key", "a lost key", "another kind", "another shape", "a list"],
)
def test_a_carry_that_changes_its_shape_is_not_cut(monkeypatch, write):
    model = by.build("llama", "tiny")
    lanes(monkeypatch, model, write)
    flow = model.start(ids()).under(model.steps[0].rule)
    model.run(flow, [0])  # all tokens: the rule's own matter
    for some in ({"active": torch.ones(2, 10, dtype=torch.bool)}, {"tokens": INDEX}):
        with pytest.raises(UsageError, match=r"steps\.0\.rule: residual:prenorm changes the shape"):
            model._run(flow, 0, **some)


def test_scatter_puts_back_what_gather_took():
    into = torch.randn(2, 10, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    out = scatter(y, INDEX, into)
    held = INDEX >= 0
    assert torch.equal(gather(out, INDEX)[held], y[held]) and out.shape == into.shape
    rest = torch.ones(20, dtype=torch.bool).index_fill(0, INDEX[held], False)
    assert torch.equal(out.flatten(0, 1)[rest], into.flatten(0, 1)[rest])
    assert torch.autograd.gradcheck(lambda y, into: scatter(y, INDEX, into), (y, into))
    assert torch.equal(scatter(y, torch.full_like(INDEX, -1), into), into)


def test_a_step_on_some_tokens_can_be_counted():
    with torch.device("meta"):
        model = by.build("llama", "tiny")
        flow = model.start(torch.empty(2, 10, dtype=torch.long))
        index = torch.empty(2, 4, dtype=torch.long)
        assert model._run(flow, 0, tokens=index).x.shape == (2, 10, model.stream.size)


def test_trees_are_mapped_together():
    tree = {"a": torch.ones(2), "b": (torch.ones(3), [torch.ones(1), 5])}
    twice = tree_map(lambda x, y: x + y, tree, tree)
    assert twice["b"][1][0].item() == 2 and twice["b"][1][1] == 5 and isinstance(twice["b"][1], list)
    with pytest.raises(ValueError, match="shapes"):
        tree_map(lambda x, y: x, (torch.ones(2),), torch.ones(1, 2))
