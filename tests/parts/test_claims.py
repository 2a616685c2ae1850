"""Every part is held to what it claims, by the public suite; and every check catches a part that lies."""

import inspect

import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.claims import SHARED
from blockyard.core.part import Part, Sublayer
from blockyard.core.spec import Spec, block, depth, head, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.model.claims import CHECKS, host, makers, verify, verify_model, verify_part
from blockyard.model.count import count_flops, on_meta
from blockyard.model.model import make
from blockyard.transform.take import take

KINDS = ("mixer", "channel", "norm", "activation", "position")
NAMES = [f"{kind}:{name}" for kind in KINDS for name, e in registry.entries(kind).items() if not e.load_named().around]
PLACED = [f"{kind}:{name}" for kind in KINDS for name, e in registry.entries(kind).items() if e.load_named().around]
INSIDE = (  # checked in a small model
    "stem", "head", "linear", "store", "residual", "depth", "junction", "router", "pattern", "weigh"
)  # fmt: skip
HOSTED = [*PLACED, *(f"{kind}:{name}" for kind in INSIDE for name in registry.entries(kind))]
CLASSES = {name: registry.find(*name.split(":")).load_named() for name in NAMES + HOSTED}


def shaken(part):
    """The part with other numbers: a norm whose gain is one, a bias of zero, prove little."""
    draw = torch.Generator().manual_seed(5)
    for p in part.parameters():
        if p.device.type != "meta":
            p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return part


def maker(name, **settings):
    return lambda: shaken(make(name, dim=24, **(dict(CLASSES[name].variants[0]) | settings)).double())


@pytest.mark.parametrize("name,settings", [(n, each) for n in CLASSES for each in CLASSES[n].variants], ids=str)
def test_every_claim_holds(name, settings):
    bad = []
    for how, fresh in makers(name, 24, settings):
        bad += [(how, v) for v in verify(lambda fresh=fresh: shaken(fresh())) if not v.ok]
    if name.startswith("position:"):  # what it promises beside what is seen in attention
        alone = verify(lambda: shaken(make(name, dim=24, **settings).double()), SHARED)
        bad += [(" alone", v) for v in alone if not v.ok]
    assert not bad


@pytest.mark.parametrize("name,settings", [(n, each) for n in CLASSES for each in CLASSES[n].variants], ids=str)
def test_a_model_around_it_is_counted_before_anything_is_made(name, settings):
    """A plan counts every model on the meta device; what it is told there must be so on a device."""
    kind, _, part = name.partition(":")
    if kind in ("norm", "activation"):
        return  # they stand in every model
    claims = CLASSES[name].claims
    causal = not claims.get("bidirectional") or bool(claims.get("causal"))
    spec = host(Spec.of(kind, registry.find(kind, part).name, dict(settings)), claims, 24, causal=causal)
    outline, made = on_meta(spec), by.build(spec)
    assert count_flops(outline, 8) > 0
    told = {name: (t.shape, t.dtype) for name, t in outline.state_dict().items()}
    assert told == {name: (t.shape, t.dtype) for name, t in made.state_dict().items()}


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("mixer", "channel"))])
def test_gradients_are_right(name):
    part = maker(name)()
    x = torch.randn(1, 5, 24, dtype=torch.float64, requires_grad=True)
    params = list(part.parameters())

    def outputs(x, *_):
        return part(x, None, None)[0]

    assert torch.autograd.gradcheck(outputs, (x, *params), fast_mode=True, atol=1e-7)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("mixer", "channel"))])
def test_bfloat16_stays_near(name):
    part = maker(name)().float()
    x = torch.randn(2, 40, 24)
    exact = part(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rough = part(x)[0]
    assert rough.isfinite().all()
    assert (rough.float() - exact).abs().max() < 0.06 * exact.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_numbers_other_seed_others(name):
    a, b, c = (make(name, dim=24, seed=s, **CLASSES[name].variants[0]) for s in (1, 1, 2))
    random = [n for n, p in a.named_parameters() if p.numel() > 1 and p.std() > 1e-6 and "A_log" not in n]
    for (n, p), q, r in zip(a.named_parameters(), b.parameters(), c.parameters()):
        assert torch.equal(p, q)
        if n in random and p.numel() > 8:
            assert not torch.equal(p, r)


@torch.no_grad()
@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("mixer", "channel", "position"))])
def test_an_axis_without_an_order_may_be_permuted(name):
    """In a model of two layers; every other axis says that it has an order, or why it is fixed."""
    kind, short = name.split(":")
    heads = {key: 4 for key in ("heads", "kv_heads") if key in registry.find(kind, short).schema}
    part, at_input = Spec.of(kind, short, heads | dict(CLASSES[name].variants[0])), None
    if "at_input" in vars(CLASSES[name]):
        part, at_input = Spec.of("mixer", "attention", dict(heads=4, position=None)), part
    elif kind == "position":
        part = Spec.of("mixer", "attention", dict(heads=4, kv_heads=2, position=part))
    spec = model_spec(
        dim=16, stem=stem("tokens", vocab=32, position=at_input), blocks=(block("layer", part),),
        depth=depth("stack", layers=2), residual=residual("prenorm"), head=head("lm"),
    )  # fmt: skip
    model, x = shaken(by.build(spec).double()), torch.arange(24).view(2, 12) * 7 % 32
    before = model(x).logits
    for axis, known in model.axes.items():
        if not known.ordered and not known.fixed:
            turned, _ = take(model, axis, torch.arange(known.size).flip(0))
            assert (turned(x).logits - before).abs().max() < 1e-9, axis


def properties():
    for kind in KINDS:
        for name, entry in registry.entries(kind).items():
            for key, fn in inspect.getmembers(entry.load(), inspect.isfunction):
                if key.startswith("prop_"):
                    yield pytest.param(f"{kind}:{name}", fn, id=f"{name}-{key}")


@pytest.mark.parametrize("name,prop", list(properties()))
def test_properties_beside_parts(name, prop):
    prop(lambda **settings: make(name, dim=24, **settings).double(), torch.randn(2, 9, 24, dtype=torch.float64))


class Liar(Sublayer):
    """A part that is wrong in one named way."""

    def __init__(self, how, causal=True):
        super().__init__()
        self.how, self.spec, self.causal = how, Spec("mixer", "liar"), causal
        self.stream = by.make("norm:none", dim=24).stream

    def forward(self, x, call, state=None):
        if self.how == "future":
            return x.flip(1), state
        if self.how == "neighbours":
            return x - x.mean(0, keepdim=True), state
        if self.how == "forgets":
            return x.cumsum(1), state
        if self.how in ("padding", "left to right"):
            return x.cumsum(1), state
        if self.how == "nothing":  # keeps to the order of a batch by mixing only where nobody asks for one
            return (x.cumsum(1) if call.order is None else x), state
        return x * torch.arange(1, x.shape[1] + 1)[:, None], state


class WrongNorm(Part):
    def __init__(self, how):
        super().__init__()
        self.how, self.spec = how, Spec("norm", "liar")
        self.stream = by.make("norm:none", dim=24).stream

    def forward(self, x, call=None):
        return x - x.mean(1, keepdim=True) if self.how == "all tokens" else x + 1


class NoRotation(by.make("position:rope", dim=24).__class__):
    def __init__(self):
        Part.__init__(self)

    def at_qk(self, q, k, call):
        return q, k * 2

    def unrotate(self, k, call):
        return k

    @property
    def stream(self):
        return by.make("norm:none", dim=24).stream


def quadratic():
    return make("mixer:attention", dim=24)


@pytest.mark.parametrize(
    "claim,double",
    [
        ("causal", lambda: Liar("future")),
        ("streams", lambda: Liar("forgets")),
        ("packs", lambda: Liar("padding")),
        ("row_independent", lambda: Liar("neighbours")),
        ("per_token", lambda: Liar("place")),
        ("per_token", lambda: WrongNorm("all tokens")),
        ("bidirectional", lambda: Liar("left to right", causal=False)),
        ("any_order", lambda: Liar("forgets")),
        ("any_order", lambda: Liar("nothing")),
        ("scale_invariant", lambda: WrongNorm("plus")),
        ("identity_at_init", lambda: WrongNorm("plus")),
        ("fixed", NoRotation),
        ("time_exponent", quadratic),
    ],
)
def test_every_check_catches_its_broken_double(claim, double):
    with pytest.raises(AssertionError):
        CHECKS[claim](double, 1.0) if claim == "time_exponent" else CHECKS[claim](double)


def test_every_check_has_a_broken_double():
    marks = test_every_check_catches_its_broken_double.pytestmark[0]
    assert {claim for claim, _ in marks.args[1]} == set(CHECKS)


def test_a_whole_model_is_held_to_its_claims():
    spec = by.spec("hybrid_linear_attention", "tiny")
    found = {v.claim: v.ok for v in verify_model(spec)}
    assert all(found.values()) and {"causal", "streams", "packs", "row_independent"} == set(found)
    both = by.build("llama", size="tiny", **{"model.causal": False})
    assert "bidirectional" in both.claims and not {"causal", "streams"} & set(both.claims)
    assert all(v.ok for v in verify_model(both.spec))


def test_a_part_is_checked_in_each_direction():
    found = {v.claim for v in verify_part("mixer:attention", 24)}
    assert {"causal", "bidirectional (causal=False)", "packs (causal=False)", "any_order"} <= found
    assert "streams (causal=False)" not in found and "bidirectional" not in found
