"""What must hold of restoring frames that were altered in time, frequency and magnitude."""

import numpy as np
import pytest
import torch
from system_cases import F64, gap, model, normal

import blockyard as by
from blockyard.core import Batch
from blockyard.core.call import Moment
from blockyard.core.spec import objective
from blockyard.parts.objective import _alter
from blockyard.source import read
from blockyard.task import make_task
from blockyard.train.loop import Run, Settings, build_objective

F = 12
OFF = dict(time=0.0, frequency=0.0, magnitude=0.0)


def made(**settings):
    """An objective for frames of 12 numbers, and its model, in double precision."""
    m = model("bert", size="tiny", **{"model.stem": by.Spec.of("stem", "frames", dict(channels=F)),
              "model.head": by.Spec("head", "classes")})  # fmt: skip
    return build_objective(objective("altered_frames", mels=F, **settings), m).double(), m


def draws(seed=0):
    """Numbers that the name decides, as those of a forward."""

    def draw(name, shape):
        rng = torch.Generator().manual_seed(seed * 1000 + sum(map(ord, name)))
        return torch.rand(shape, generator=rng, dtype=F64)

    return draw


def padded(rows=6, length=40):
    """Frames of which rows have fewer and fewer that count."""
    sizes = torch.arange(length, length - 4 * rows, -4)
    return 3 + normal(rows, length, F).abs(), torch.arange(length) < sizes[:, None], sizes


def test_with_nothing_altered_all_is_shown_and_asked():
    """(1) the input is the target, all numbers are marked, and the loss is the mean over all of them."""
    teach, m = made(**OFF)
    x = normal(3, 20, F)
    shown, marked = teach.altered(x, None, draws())
    assert torch.equal(shown, x) and marked.all()
    ((total, count, _),) = teach(m, Batch(x)).values()
    flow = m.run(m.start(Batch(x)))
    assert gap(total / count, (teach.predicted(m.finish(flow).hidden, flow.call) - x).abs().mean()) < 1e-12


@pytest.mark.parametrize("settings", [dict(), dict(time=0.0), dict(frequency=0.0)])
def test_what_is_not_marked_gets_no_gradient(settings):
    """(2) of what is predicted, and all that is marked gets one of equal size."""
    teach, m = made(magnitude=0.0, **settings)
    kept = []
    teach.down.register_forward_hook(lambda part, given, said: (said.retain_grad(), kept.append(said))[0])
    seen = []
    before = teach.altered
    teach.altered = lambda *given: (seen.append(before(*given)), seen[-1])[1]
    ((total, count, _),) = teach(m, Batch(normal(4, 40, F))).values()
    (total / count).backward()
    marked, grad = seen[0][1], kept[0].grad
    assert 0 < marked.sum() < marked.numel() and (grad[~marked] == 0).all()
    assert gap(grad[marked].abs(), torch.full((int(marked.sum()),), 1 / int(marked.sum()), dtype=F64)) < 1e-9


@pytest.mark.parametrize("length,share,width", [(40, 0.15, 7), (128, 0.15, 7), (60, 0.3, 4), (50, 0.2, 1)])
def test_the_marked_share_of_time_is_bounded(length, share, width):
    """(3) at most 15% + w/(2T); a span is marked in every case, and without overlap it is just so many frames."""
    x, sizes = normal(300, length, F), torch.full((300,), length)
    _, marked = _alter.in_time(x, sizes, draws(), share, width)
    spans = round(length * share / width)
    assert marked.double().mean() <= share + width / (2 * length) and marked.sum(1).max() == spans * width
    assert marked.sum(1).min() >= min(spans, 1) * width and (width > 1 or (marked.sum(1) == spans).all())
    runs = (marked.long().diff(dim=1) == 1).sum(1) + marked[:, 0]
    assert (runs <= spans).all() and (runs == spans).any()


def test_spans_become_zeros_or_others_or_stay():
    """(3) one draw a row, of 80, 10 and 10%; others are spans of the same row; nothing else changes."""
    x, sizes = 1 + normal(3000, 30, 2).abs(), torch.full((3000,), 30)
    shown, marked = _alter.in_time(x, sizes, draws(), 0.2, 6)
    zeros = ((shown == 0).all(2) == marked).all(1)
    stays = (shown == x).all((1, 2))
    others = ~zeros & ~stays
    assert (shown == x).all(2)[~marked].all()
    assert abs(zeros.double().mean() - 0.8) < 0.03 and abs(stays.double().mean() - 0.1) < 0.03
    row = int(others.nonzero()[0])
    first = int(marked[row].nonzero()[0])
    assert any(torch.equal(shown[row, first : first + 6], x[row, at : at + 6]) for at in range(25))


def test_a_band_is_contiguous_and_covers_every_frame():
    """(4) of 0 to floor(0.2 F) channels, each as often; the widest can lie at either end."""
    x = 1 + normal(2000, 5, F).abs()
    shown, band = _alter.in_frequency(x, draws(), 0.2)
    everywhere = band[:, None].expand_as(x)
    assert torch.equal(shown == 0, everywhere) and torch.equal(shown[~everywhere], x[~everywhere])
    counts = band.sum(1).bincount(minlength=3)
    assert len(counts) == 3 and (counts.double() / 2000 - 1 / 3).abs().max() < 0.04
    assert ((band.long().diff(dim=1) == 1).sum(1) + band[:, 0] == (band.sum(1) > 0)).all()
    assert band[:, 0].any() and band[:, -1].any()


def test_padding_is_never_marked():
    """(5) by no rule; spans lie inside what counts, and how many there are follows from that."""
    x, valid, sizes = padded()
    for settings in (dict(), dict(time=0.0), dict(frequency=0.0), dict(time=0.0, frequency=0.0)):
        teach, _ = made(**settings)
        marked = teach.altered(x, valid, draws())[1]
        assert not marked[~valid].any() and marked.any()
    _, spans = _alter.in_time(x, sizes, draws(), 0.3, 4)
    assert not spans[~valid].any()
    assert (spans.sum(1) <= 4 * (sizes * 0.3 / 4).round()).all() and spans.any(1).all()
    assert not _alter.in_time(x, torch.full((6,), 3), draws(), 1.0, 4)[1].any()


def test_the_alterations_commute_and_draw_apart():
    """(6) zeroing in either order is the same; noise is added last; one that is off leaves the others' draws."""
    x, valid, sizes = padded()
    draw = draws(3)
    first = _alter.in_frequency(_alter.in_time(x, sizes, draw, 0.2, 4)[0], draw, 0.2)[0]
    other = _alter.in_time(_alter.in_frequency(x, draw, 0.2)[0], sizes, draw, 0.2, 4)[0]
    assert torch.equal(first, other)
    whole = dict(time=0.2, width=4, frequency=0.2, magnitude=1.0)
    shown, marked = made(**whole)[0].altered(x, valid, draw)
    noise = _alter.in_magnitude(torch.zeros_like(x), draw, 1.0, 0.2)
    assert gap(shown, first + noise) < 1e-12 and (shown[first == 0] != 0).all()
    for name in ("time", "frequency", "magnitude"):
        _, left = made(**whole | {name: 0.0})[0].altered(x, valid, draw)
        if name == "magnitude":
            assert torch.equal(left, marked)
        else:
            spans, band = _alter.in_time(x, sizes, draw, 0.2, 4)[1], _alter.in_frequency(x, draw, 0.2)[1]
            want = band[:, None].expand_as(x) if name == "time" else spans[..., None].expand_as(x)
            assert torch.equal(left, want & valid[..., None])


def test_the_noise_is_as_large_as_asked():
    """(7) a deviation of 0.2 within 5%, mean 0, normal, on whole rows, of which 15% get it."""
    x = normal(800, 20, F)
    noise = _alter.in_magnitude(x, draws(), 0.15, 0.2) - x
    rows = noise.abs().sum((1, 2)) > 0
    assert abs(rows.double().mean() - 0.15) < 0.04 and (noise[rows] != 0).all()
    assert abs(noise[rows].std() / 0.2 - 1) < 0.05 and abs(noise[rows].mean()) < 0.01
    assert abs((noise[rows].abs() < 0.2).double().mean() - 0.6827) < 0.01


def test_the_batch_is_left_as_it_is_and_steps_draw_anew():
    """(6) altered are copies; a second forward of a step draws the same, another step does not."""
    teach, m = made()
    x = normal(2, 40, F)
    batch = Batch(x.clone())
    found = []
    for tick in (0, 0, 1):
        with m.training_at(Moment(seed=0, tick=tick)):
            ((total, *_),) = teach(m, batch).values()
        found.append(total.item())
    assert torch.equal(batch.tokens, x) and found[0] == found[1] != found[2]


def test_sounds_are_restored_as_the_frames_of_their_spectrogram():
    """Frames at the stem's point, only those that count; a wrong number of them is told."""
    m = model("tera", size="tiny", **{"stem.rate": 200.0, "stem.hop": 4, "stem.window": 16})
    teach = build_objective(objective("altered_frames", mels=16, **OFF), m).double()
    x, valid = normal(2, 200), torch.ones(2, 200, dtype=torch.bool)
    valid[1, 120:] = False
    batch = Batch(x, valid=valid)
    flow = m.run(m.start(batch))
    frames, counts = m.stem.frames(x.masked_fill(~valid, 0)), flow.call.valid
    off = (teach.predicted(m.finish(flow).hidden, flow.call) - frames).abs()[counts]
    ((total, count, _),) = teach(m, batch).values()
    assert gap(total / count, off.mean()) < 1e-9 and not counts.all()
    with pytest.raises(by.UsageError, match="the same mels"):
        build_objective(objective("altered_frames", mels=5), m).double()(m, batch)


@pytest.fixture(scope="module")
def chirps():
    return read(["chirps"])


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_features_are_only_read(frozen, chirps):
    """The second phase trains the head alone, or all of it; the first never moves the head."""
    data = make_task("classify:label=voice,length=16").material(chirps)
    system = data.fit(by.spec("tera", "tiny", pretraining=0.5, frozen=frozen))
    run = Run(system, by.build(system), data.order(data.length, 2, 0), Settings(steps=2, lr=1e-2))
    states = []
    for _ in range(2):
        states.append({name: p.detach().clone() for name, p in run.model.named_parameters()})
        run.advance()
    for name, p in run.model.named_parameters():
        same = torch.equal(p, states[1][name])
        assert same is (frozen and not name.startswith("head.")), name
        assert torch.equal(states[0][name], states[1][name]) is name.startswith("head.")


def test_chirps_say_two_things(chirps):
    """Eight events and ten voices, of one length, between -1 and 1; neither label says the other."""
    items = chirps
    sounds = items.rows.take(slice(None))["tokens"]
    assert sounds.shape == (1600, 2048) and np.abs(sounds).max() <= 1 and items.kind == "sounds"
    assert len(items.classes) == 8 and len(np.unique(items.fields["voice"])) == 10
    table = np.array([[np.sum((items.fields["event"] == e) & (items.fields["voice"] == v))
                       for v in np.unique(items.fields["voice"])] for e in items.classes])  # fmt: skip
    assert table.min() >= 5 and np.array_equal(sounds * 2**14, np.round(sounds * 2**14))
