"""Frames of a sound: those of another implementation, and only of what counts."""

import torch

import blockyard as by
from blockyard.core.batch import Batch
from blockyard.core.spec import head, stem
from blockyard.parts.stem.log_mel import triangles

HEARS = dict(rate=8000.0, hop=80, window=200, mels=24)


def hearer(**settings):
    model = by.spec("llama", "tiny")["model"].but(stem=stem("log_mel", **HEARS | settings), head=head("classes"))
    return by.build(model)


def noise(rows, samples, seed=0):
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_frames_are_those_of_the_short_time_fourier_transform():
    made, sound = hearer(), noise(2, 1000)
    padded = torch.nn.functional.pad(sound, (28, 28))  # theirs stands in the middle of its 256 samples
    theirs = torch.stft(
        padded, 256, 80, 200, torch.hann_window(200), center=False, return_complex=True
    ).abs().square() / 200  # fmt: skip
    expected = (torch.log10(made.stem.bands @ theirs + 1e-6) + 3) / 3
    assert torch.allclose(made.stem.frames(sound), expected.transpose(1, 2), atol=1e-4)
    assert made.stem.frames(sound).shape == (2, 11, 24)


def test_a_tone_is_loudest_in_the_band_around_it():
    bands = triangles(24, 129, 8000.0)
    assert torch.allclose(bands.sum(1), torch.ones(24)) and (bands >= 0).all()
    edges = 700 * (10 ** (torch.linspace(0, 2595 * torch.log10(torch.tensor(1 + 4000 / 700)).item(), 26) / 2595) - 1)
    for pitch in (500.0, 1500.0, 3000.0):
        wave = torch.sin(2 * torch.pi * pitch * torch.arange(400) / 8000)[None]
        loudest = int(hearer().stem.frames(wave)[0, 0].argmax())
        assert edges[loudest] <= pitch <= edges[loudest + 2]


def test_a_frame_counts_where_all_its_samples_do():
    made, sound = hearer(), noise(3, 1000)
    valid = torch.arange(1000) < torch.tensor([[1000], [440], [100]])
    flow = made.start(Batch(sound, valid=valid))
    assert flow.call.valid.sum(1).tolist() == [11, 4, 1]
    alone = made(Batch(sound[1:2, :440])).prediction["classes"]
    together = made(Batch(sound, valid=valid)).prediction["classes"]
    assert torch.allclose(together[1], alone[0], atol=1e-5)


def test_later_sound_changes_no_earlier_frame():
    made = hearer()
    first, other = noise(1, 1000), noise(1, 1000, seed=1)
    mixed = torch.cat([first[:, :600], other[:, 600:]], 1)
    same = (made.stem.frames(first) == made.stem.frames(mixed)).all(-1)[0]
    assert same.tolist() == [True] * 6 + [False] * 5
