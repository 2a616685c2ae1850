"""What must hold of the linear forecasters: one matrix from a window to the steps ahead."""

import numpy as np
import pytest
import torch
from system_cases import F64, gap, model, normal

import blockyard as by
from blockyard.core import Batch
from blockyard.data.table import Table
from blockyard.task import make_task
from blockyard.train.loop import Settings, train

L, H = 48, 12
RECIPES = ("ltsf_linear", "nlinear", "dlinear")


def made(name, **settings):
    return model(name, **dict(length=L, horizon=H, channels=3, outputs=3) | settings)


def forecast(m, x):
    return m(Batch(x)).prediction["forecast"]


def average(length, width):
    """The moving average as a matrix: row i has 1/width for each step that it reads, ends read again beyond them."""
    found = torch.zeros(length, length, dtype=F64)
    for i in range(length):
        for j in range(i - width // 2, i + width // 2 + 1):
            found[i, min(max(j, 0), length - 1)] += 1 / width
    return found


def tokens(m, x):
    """(B*K,n,L) what the stem gives, by a head that reads nothing."""
    return m.start(Batch(x)).x


@torch.no_grad()
def test_trend_and_rest_add_up():
    """(1) s + t = x exactly."""
    x = normal(4, L, 3)
    both = tokens(made("dlinear"), x)
    assert both.shape == (12, 2, L) and gap(both.sum(1), x.transpose(1, 2).flatten(0, 1)) < 1e-14
    assert gap(both[:, 0], both[:, 1]) > 0.1


@torch.no_grad()
@pytest.mark.parametrize("width", [1, 5, 25])
def test_the_trend_is_a_linear_map_and_the_whole_one_matrix(width):
    """(2) t = A x; DLinear equals W_s + (W_t - W_s) A. It fails with another average."""
    m, x = made("dlinear", average=width), normal(4, L, 3)
    rows = x.transpose(1, 2).flatten(0, 1)
    assert gap(tokens(m, x)[:, 1], rows @ average(L, width).T) < 1e-12
    rest, trend = m.head.proj.weight.split(L, 1)
    for at, equal in ((width, True), (width + 2, False)):
        whole = rest + (trend - rest) @ average(L, at)
        expected = (rows @ whole.T + m.head.proj.bias).view(4, 3, H).transpose(1, 2)
        assert (gap(forecast(m, x), expected) < 1e-10) is equal


@torch.no_grad()
def test_counting_from_the_last_value_is_equivariant_to_shifts():
    """(3) NLinear shifts with its input, so the rows of its effective matrix sum to 1; the plain map does neither."""
    x = normal(2, L, 3)
    for name, holds in (("nlinear", True), ("ltsf_linear", False), ("dlinear", False)):
        m = made(name)
        assert (gap(forecast(m, x + 7), forecast(m, x) + 7) < 1e-10) is holds
    m = made("nlinear", channels=1, outputs=1)
    zero = forecast(m, torch.zeros(1, L, 1, dtype=F64))
    matrix = torch.stack([forecast(m, row.view(1, L, 1))[0, :, 0] for row in torch.eye(L, dtype=F64)], 1) - zero[0]
    assert gap(matrix.sum(1), torch.ones(H, dtype=F64)) < 1e-10


@torch.no_grad()
def test_a_ramp_passes_the_average_but_for_its_ends():
    """(4) a ramp of slope 1 is its own average; the first and last 12 points are off by 3.12 at most."""
    m = made("dlinear", channels=1, outputs=1)
    ramp = torch.arange(L, dtype=F64)
    off = (tokens(m, ramp.view(1, L, 1))[0, 1] - ramp).abs()
    assert off[12:-12].max() < 1e-12 and off[:12].min() > 1e-3 and off[-12:].min() > 1e-3
    assert off.max().item() == pytest.approx(3.12, abs=1e-9) and off.argmax() in (0, L - 1)


@torch.no_grad()
@pytest.mark.parametrize("name", RECIPES)
def test_variables_are_alike_and_apart(name):
    """(5) permuting variables permutes forecasts; a variable that is not asked for changes nothing."""
    m, x = made(name), normal(2, L, 3)
    turn = torch.tensor([2, 0, 1])
    assert gap(forecast(m, x[..., turn]), forecast(m, x)[..., turn]) < 1e-12
    one = made(name, outputs=1)
    other = torch.cat([x[..., :1], normal(2, L, 2, seed=5)], -1)
    assert forecast(one, x).shape == (2, H, 1) and gap(forecast(one, other), forecast(one, x)) < 1e-12


@pytest.mark.parametrize("name,maps", [("ltsf_linear", 1), ("nlinear", 1), ("dlinear", 2)])
def test_parameters(name, maps):
    """(6) H(L+1); DLinear has a second matrix, and one bias where the sum of two would be the same."""
    assert sum(p.numel() for p in made(name, length=336, horizon=96).parameters()) == 96 * (maps * 336 + 1)


@pytest.mark.parametrize("name", RECIPES)
def test_it_starts_as_the_published_code_does(name):
    """The framework's layer: even in +-1/sqrt(L), a deviation of 1/sqrt(3L); DLinear's has two such side by side."""
    matrix = by.build(name, length=336, horizon=96).head.proj.weight
    assert matrix.std().item() == pytest.approx(torch.nn.Linear(336, 96).weight.std().item(), rel=0.03)


def test_training_comes_near_the_closed_form_and_never_below_it():
    """(7) the trained loss is at least that of least squares, and within 2% of it."""
    t = np.arange(300)
    wave = np.sin(t / 4) + 0.5 * np.sin(t / 11 + 1) + 0.3 * np.random.default_rng(0).standard_normal(300)
    data = make_task("forecast:horizon=4,length=16").material(Table.of("waves", {"x": wave}))
    m = by.build("ltsf_linear", length=16, horizon=4)
    train(by.spec("ltsf_linear", length=16, horizon=4), m, data.order(16, 64, 0), Settings(300, 0.03, weight_decay=0.0))
    rows = data.series.windows(0).take(slice(None))
    x = np.concatenate([rows["tokens"][..., 0], np.ones((len(rows["tokens"]), 1))], 1).astype(np.float64)
    y = rows["targets"][..., 0].astype(np.float64)
    best = np.square(x @ np.linalg.lstsq(x, y, rcond=None)[0] - y).mean()
    with torch.no_grad():
        got = (forecast(m, torch.from_numpy(rows["tokens"]))[..., 0] - torch.from_numpy(y)).square().mean().item()
    assert best <= got <= 1.02 * best
    naive = np.square(x[:, -2:-1] - y).mean()
    assert got < 0.5 * naive


def test_an_even_average_and_a_stream_that_is_no_window_are_refused():
    with pytest.raises(by.UsageError, match="odd"):
        by.build("dlinear", average=24)
    with pytest.raises(by.UsageError, match="dim must be length=48"):
        by.build("nlinear", length=L, **{"model.dim": 40})
