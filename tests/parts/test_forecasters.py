"""Forecasters of dense layers, by the equations of N-BEATS and TiDE; and the parts that Informer is known for."""

from math import ceil, log1p, pi

import pytest
import torch

import blockyard as by
from blockyard.core import Batch, Call, Spec
from blockyard.core.spec import block, depth, head, model, residual, stem
from blockyard.parts.linear.fourier import waves
from blockyard.parts.linear.polynomial import powers

F64 = torch.float64
L, H = 24, 12


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def shaken(made, seed=1):
    """In double precision, every parameter away from its start."""
    draw = torch.Generator().manual_seed(seed)
    made = made.double()
    for p in made.parameters():
        p.data = torch.randn(p.shape, generator=draw, dtype=F64) * (p[0].numel() ** -0.5 if p.dim() > 1 else 0.3)
    return made


def built(name, **settings):
    own = dict(length=L, horizon=H, channels=2, outputs=2)
    return shaken(by.build(name, size="tiny", **own | settings))


def forecast(made, x, **request):
    return made(Batch(x), **request).prediction["forecast"]


def rows(x):
    """(B*K,L) variables as rows of their own."""
    return x.transpose(1, 2).flatten(0, 1)


def curves(made, z):
    """What every block reads of windows z, its backcast and its forecast, as the paper's equations have them."""
    found = []
    for (step,), (_, loops) in zip(made.depth.blocks, made.depth.plan()):
        part = made.steps[step].part
        sizes = [axis.size for axis in part.curves.parts]
        for _ in range(loops):
            h = z
            for layer in part.layers:
                h = (h @ layer.weight.T + layer.bias).clamp(min=0)
            u, v = (h @ part.out.weight.T).split(sizes, -1)
            back, ahead = (_curve(each, end) for each, end in ((u, part.back), (v, part.ahead)))
            found.append((z, back, ahead))
            z = z - back
    return found


def _curve(coefficients, basis):
    if basis.spec.name == "dense":
        return coefficients @ basis.weight.T + basis.bias
    return coefficients @ basis.basis.T


@torch.no_grad()
@pytest.mark.parametrize("name", ["nbeats", "nbeats_interpretable"])
def test_a_forecast_is_the_sum_of_the_blocks_forecasts_and_each_reads_what_is_left(name):
    """y = sum f_l, z_{l+1} = z_l - b_l, to rounding; shared weights of a stack run on."""
    made, x = built(name, layers=3), normal(3, L, 2)
    found = curves(made, rows(x))
    assert len(found) == (3 if name == "nbeats" else 6)
    wanted = sum(ahead for _, _, ahead in found).view(3, 2, H).transpose(1, 2)
    assert (forecast(made, x) - wanted).abs().max() < 1e-12
    last, back, _ = found[-1]
    out = made(Batch(x))
    assert (out.hidden[:, 0, :L] - (last - back)).abs().max() < 1e-12
    assert (rows(x) - sum(each for _, each, _ in found) - out.hidden[:, 0, :L]).abs().max() < 1e-12
    assert (wanted - found[0][2].view(3, 2, H).transpose(1, 2)).abs().max() > 1e-2  # one block alone is not it


@torch.no_grad()
def test_no_block_sees_what_was_foretold():
    """What stands behind the window changes nothing that a sublayer reads, and is added to."""
    made, x = built("nbeats"), normal(2, L, 2)
    flow = made.start(Batch(x))
    wrong = flow._replace(carry=flow.carry + torch.cat([torch.zeros(L, dtype=F64), torch.ones(H, dtype=F64)]))
    said, other = (made.finish(made.run(each)).prediction["forecast"] for each in (flow, wrong))
    assert (other - said - 1).abs().max() < 1e-12


@torch.no_grad()
def test_the_trend_is_a_polynomial_of_its_degree():
    """The basis by its formula; what the trend's blocks foretell has no difference of a higher order."""
    t = torch.arange(H, dtype=F64) / H
    assert (powers(H, 4) - torch.stack([t**0, t, t * t, t * t * t], 1)).abs().max() < 1e-15
    for degree in (1, 3):
        made, x = built("nbeats_interpretable", degree=degree), normal(2, L, 2)
        out = made(Batch(x), points={"steps.0.part:forecast": "read", "steps.0.part:backcast": "read"})
        for value in out.captures.values():
            curve = value.flatten(0, 1)
            assert curve.diff(n=degree, dim=-1).abs().max() > 1e-4
            assert curve.diff(n=degree + 1, dim=-1).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("steps,terms", [(12, 12), (13, 13), (12, 4), (5, 1)])
def test_the_season_is_a_fourier_series(steps, terms):
    """sum x_i cos(2 pi i t) + x'_i sin(2 pi i t), term by term, and of a whole period all of them orthogonal."""
    basis = waves(steps, terms)
    assert basis.dtype == F64 and basis.shape == (steps, terms)
    cosines = terms - terms // 2
    for t in range(steps):
        for i in range(terms):
            turn = torch.tensor(2 * pi * (i if i < cosines else i - cosines) * t / steps, dtype=F64)
            assert (basis[t, i] - (turn.cos() if i < cosines else turn.sin())).abs() < 1e-12
    gram = basis.T @ basis
    assert (gram - gram.diagonal().diag()).abs().max() < 1e-10


@torch.no_grad()
def test_fixed_bases_hold_no_parameter_and_are_those_of_their_formula():
    made = built("nbeats_interpretable", waves=6, degree=2)
    for step, formula, terms in ((0, powers, 3), (1, waves, 6)):
        part = made.steps[step].part
        for basis, size in ((part.back, L), (part.ahead, H)):
            assert not list(basis.parameters())
            assert (basis.basis - formula(size, terms)).abs().max() < 1e-7  # kept in single precision


@pytest.mark.parametrize("width,terms,inside,blocks", [(16, 5, 4, 2), (8, None, 2, 3)])
def test_parameters_of_nbeats(width, terms, inside, blocks):
    """A block: its net, the coefficients without a bias, two bases with one."""
    back, ahead = terms or L, terms or H
    net = (L + 1) * width + (inside - 1) * (width + 1) * width
    wanted = blocks * (net + width * (back + ahead) + (back + 1) * L + (ahead + 1) * H)
    spec = by.spec("nbeats", length=L, horizon=H, dim=width, terms=terms, inside=inside, layers=blocks)
    assert by.count(spec, length=L).params == wanted
    read = by.spec("nbeats_interpretable", length=L, horizon=H, dim=width, degree=2, inside=inside, layers=blocks)
    assert by.count(read, length=L).params == 2 * net + width * (3 + 3 + L + H)  # shared in a stack


@torch.no_grad()
def test_tide_by_its_equations():
    made, x = built("tide", layers=2, **{"stem.scaling": None}), normal(3, L, 2)
    z = rows(x)
    h = z
    for step in made.steps:
        part = step.part
        y = (h @ part.up.weight.T + part.up.bias).clamp(min=0) @ part.down.weight.T + part.down.bias
        h = torch.nn.functional.layer_norm(
            y + h @ part.skip.weight.T, (y.shape[-1],), part.norm.gain, part.norm.bias, part.norm.eps
        )
    inner = made.head.head
    d = h.view(len(h), H, -1)
    y = (d @ inner.up.weight.T + inner.up.bias).clamp(min=0) @ inner.down.weight.T + inner.down.bias
    y = (y + d @ inner.skip.weight.T)[..., 0] + z @ made.head.proj.weight.T + made.head.proj.bias
    assert len(made.steps) == 4 and made.steps[-1].part.out.size == H * d.shape[-1]
    assert (forecast(made, x) - y.view(3, 2, H).transpose(1, 2)).abs().max() < 1e-12


@torch.no_grad()
def test_without_its_net_tide_is_a_linear_map():
    """With what its net writes zeroed; with it, it is none. The scaling of windows leaves that so, where b = 0."""
    made, x, y = built("tide"), normal(2, L, 2), normal(2, L, 2, seed=1)
    made.head.proj.bias.zero_()

    def linear():
        return (forecast(made, 2 * x - 3 * y) - 2 * forecast(made, x) + 3 * forecast(made, y)).abs().max() < 1e-9

    assert not linear()
    for end in (made.head.head.down, made.head.head.skip):
        for p in end.parameters():
            p.zero_()
    assert linear()
    mean, weight = rows(x).mean(-1, keepdim=True), made.head.proj.weight
    wanted = ((rows(x) - mean) @ weight.T + mean).view(2, 2, H).transpose(1, 2)
    assert (forecast(made, x) - wanted).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("name", ["nbeats", "nbeats_interpretable", "tide"])
def test_variables_are_alike_and_apart(name):
    made, x = built(name), normal(2, L, 2)
    assert (forecast(made, x.flip(-1)) - forecast(made, x).flip(-1)).abs().max() < 1e-12
    one = built(name, outputs=1)
    other = torch.cat([x[..., :1], normal(2, L, 1, seed=4)], -1)
    assert forecast(one, x).shape == (2, H, 1) and torch.equal(forecast(one, x), forecast(one, other))


def test_parameters_of_tide():
    """Blocks (in+1) F + (F+1) out + in out + 2 out, the net of a step, the linear map; no bias twice."""
    dim, inner, each, decoder = 16, 10, 3, 7

    def residual_block(reads, writes):
        return (reads + 1) * inner + (inner + 1) * writes + reads * writes + 2 * writes

    wanted = residual_block(L, dim) + 2 * residual_block(dim, dim) + residual_block(dim, each * H)
    wanted += (each + 1) * decoder + decoder + 1 + each + (L + 1) * H
    spec = by.spec("tide", length=L, horizon=H, dim=dim, ffn=inner, layers=2, each=each, decoder=decoder)
    assert by.count(spec, length=L).params == wanted


@torch.no_grad()
@pytest.mark.parametrize("name,reads,settings", [
    ("variates", "variates", {}), ("series_patches", "steps_ahead", {}), ("time_points", "points_ahead", {}),
])  # fmt: skip
def test_a_line_is_added_to_any_forecast_in_its_own_scale(name, reads, settings):
    """By the window as its stem scaled it, of the variables that are asked; every quantile is moved by the same."""
    levels = dict(levels=(0.1, 0.5)) | ({} if name == "time_points" else dict(horizon=H))
    ahead = dict(horizon=H) if name == "time_points" else {}
    inner = Spec.of("head", reads, levels)
    ends = dict(dim=16, blocks=(), residual=residual("prenorm"), depth=depth("none"),
                stem=stem(name, length=L, channels=3, outputs=2, **ahead))  # fmt: skip
    alone, both = (by.build(model(head=end, **ends)) for end in (inner, head("plus_linear", head=inner)))
    both = shaken(both)
    alone = alone.double()
    alone.stem.load_state_dict(both.stem.state_dict())
    alone.head.load_state_dict(both.head.head.state_dict())
    x = 3 * normal(2, L, 3) + 5
    mean, size = x.mean(1, keepdim=True), (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    z = ((x - mean) / size)[..., :2].transpose(1, 2)
    line = (z @ both.head.proj.weight.T + both.head.proj.bias).transpose(1, 2) * size[..., :2]
    for said, more in (("forecast", line), ("quantiles", line[..., None])):
        wanted = alone(Batch(x)).prediction[said] + more
        assert (both(Batch(x)).prediction[said] - wanted).abs().max() < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("factor", [1, 2, 50])
def test_the_most_uneven_queries_weigh_and_the_others_read_the_mean(factor):
    scores = 3 * normal(2, 3, 17, 17)
    scores[0, :, :, 12:] = float("-inf")  # not seen
    weights = by.make("weigh:prob_sparse", dim=8, factor=factor)(scores)
    active = min(17, factor * ceil(log1p(17)))
    for b in range(2):
        count = 12 if b == 0 else 17
        for h in range(3):
            seen = scores[b, h, :, :count]
            uneven = seen.max(-1).values - seen.mean(-1)
            chosen = set(uneven.argsort(descending=True)[:active].tolist())
            for t in range(17):
                wanted = seen[t].softmax(-1) if t in chosen else torch.full((count,), 1 / count, dtype=F64)
                assert (weights[b, h, t, :count] - wanted).abs().max() < 1e-12
                assert not weights[b, h, t, count:].any()


@torch.no_grad()
def test_sparse_attention_and_its_distilling_are_those_of_transformers(monkeypatch):
    """The oracle, with its weights; its keys, which it draws, are made to be all of them."""
    informer = pytest.importorskip("transformers.models.informer.modeling_informer")
    theirs = informer.InformerProbSparseAttention(16, 2, sampling_factor=2).double().eval()
    settings = dict(heads=2, position=None, weigh=Spec.of("weigh", "prob_sparse", dict(factor=2)),)  # fmt: skip
    mine = by.make("mixer:attention", dim=16, causal=False, **settings).double()
    names = [f"{name}_proj" for name in "qkv"]
    mine.qkv.weight.copy_(torch.cat([getattr(theirs, name).weight for name in names]))
    mine.out.weight.copy_(theirs.out_proj.weight)
    for name in (*names, "out_proj"):
        getattr(theirs, name).bias.zero_()
    monkeypatch.setattr(torch, "randint", lambda low, high, shape: torch.arange(high))
    x = 3 * normal(2, 30, 16)
    said = mine(x, Call.plain(x, causal=False))[0]
    assert (said - theirs(x)[0]).abs().max() < 1e-10
    mine.weigh.factor = 1
    assert (mine(x, Call.plain(x, causal=False))[0] - said).abs().max() > 1e-3

    halving = informer.InformerConvLayer(16).double()
    ours = shaken(by.make("junction:distil_conv", dim=16))
    ours.weight.copy_(halving.downConv.weight)
    ours.bias.copy_(halving.downConv.bias)
    for mode in (halving.eval(), halving.train()):
        mode.norm.weight.copy_(ours.norm.gain)
        mode.norm.bias.copy_(ours.norm.bias)
        mode.norm.running_mean.copy_(ours.norm.mean)
        mode.norm.running_var.copy_(ours.norm.variance)
        for length in (30, 31):
            x = normal(2, length, 16)
            call = Call.plain(x, causal=False)._replace(tick=0 if mode.training else None)
            y, behind, _ = ours(x, call)
            assert (y - mode(x)).abs().max() < 1e-10
            assert y.shape[1] == behind.positions.shape[1] == -(-length // 2)


@torch.no_grad()
def test_an_encoder_of_both_halves_its_tokens_and_reads_on():
    """Attention, distilling, attention: what an encoder of long series is made of, in any recipe's body."""
    sparse = Spec.of("mixer", "attention", dict(heads=2, position=None, weigh="prob_sparse"))
    made = by.build(model(
        dim=16, stem=stem("frames", channels=3), head=head("pooled_classes", classes=4), residual=residual("postnorm"),
        blocks=(block("layer", sparse), block("halve", Spec("junction", "distil_conv"))),
        depth=depth("hybrid", pattern="layer + halve + layer"), causal=False,
    ))  # fmt: skip
    out = made(Batch(torch.randn(2, 20, 3)))
    assert out.hidden.shape == (2, 10, 16)


def test_what_does_not_fit_is_refused():
    bare = dict(residual=residual("prenorm"), depth=depth("none"), blocks=())
    windows = stem("history_ahead", length=L, horizon=H)
    for wrong, said in (
        (lambda: by.build("nbeats", "tiny", **{"model.dim": 40}), "length=24 and horizon=12 are 36, and .* dim=40"),
        (lambda: by.build("llama", "tiny", residual="backcast"), "a window as stem:history_ahead lays it"),
        (lambda: by.build("llama", "tiny", channel="expansion"), "a window as stem:history_ahead lays it"),
        (lambda: by.build(model(dim=L, stem=stem("history"), head=head("said_ahead"), **bare)), "horizon of the stem"),
        (lambda: by.build("tide", "tiny", **{"head.horizon": 7}), "horizon=7 does not divide"),
        (lambda: by.build("dlinear", "tiny", head="step_decoder"), "of one token, and this stem gives 2"),
        (lambda: by.build(model(dim=L + H, stem=windows, head=head("plus_linear", head=head("values")), **bare)),
         "says values, and a line is added to a forecast"),
    ):  # fmt: skip
        with pytest.raises(by.UsageError, match=said):
            wrong()
    halving = by.make("junction:distil_conv", dim=8)
    call = Call.plain(torch.zeros(1, 6, 8))._replace(valid=torch.ones(1, 6, dtype=torch.bool))
    with pytest.raises(by.UsageError, match="whole rows"):
        halving(torch.zeros(1, 6, 8), call)
