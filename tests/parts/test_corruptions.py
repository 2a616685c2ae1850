"""Every corruption keeps what all promise; every check catches one that lies; shares are as said."""

from dataclasses import replace

import pytest
import torch

import blockyard as by
from blockyard.core import Batch, Corruption, registry
from blockyard.core.random import uniform
from blockyard.model.corruption import PROMISES, promises
from blockyard.parts.corrupt._hide import hidden

CLASSES = {name: entry.load_named() for name, entry in registry.entries("corrupt").items()}
SETTINGS = [(name, each) for name, made in CLASSES.items() for each in made.variants]


def draw(name, shape, seed=0):
    return uniform((seed, name), shape, "cpu")


def made(name, **settings):
    return by.make(f"corrupt:{name}", dim=8, **settings)


@pytest.mark.parametrize("name, settings", SETTINGS, ids=str)
def test_a_corruption_keeps_its_promises(name, settings):
    assert [promise for promise, ok in promises(made(name, **settings)) if not ok] == []


class Liar(Corruption):
    """A mask that is wrong in one named way."""

    share = 0.15

    def __init__(self, how):
        super().__init__()
        self.how, self.mask, self.calls = how, made("mask"), 0

    def forward(self, batch, draw):
        self.calls += 1
        given = replace(batch, valid=None, targets=None) if self.how == "spares" else batch
        found = self.mask(given, draw)
        if self.how == "pure":
            return self.mask(batch, lambda name, shape: uniform((self.calls, name), shape, "cpu"))
        if self.how == "asks":
            return replace(found, targets=torch.where(found.targets >= 0, 1 - found.targets, -1))
        if self.how == "leaves":
            return replace(found, tokens=found.tokens.masked_fill(found.targets < 0, 3))
        if self.how == "share":  # right on average, but for the first token of a row
            return replace(found, targets=torch.cat([found.targets[:, :1] * 0 - 1, found.targets[:, 1:]], 1))
        return found


@pytest.mark.parametrize("how", PROMISES)
def test_every_promise_has_a_liar_that_is_caught(how):
    assert how in [promise for promise, ok in promises(Liar(how)) if not ok]
    assert not [promise for promise, ok in promises(Liar("nothing")) if not ok]


@pytest.mark.parametrize("name", ["mask", "spans"])
def test_shares_of_what_is_shown(name):
    """Of what is asked 80% is the mask, 10% another token, 10% as it was; another token is any but the mask."""
    tokens = torch.full((2000, 50), 7)
    found = made(name, share=0.3, vocab=12, mask=4)(Batch(tokens), draw)
    shown = found.tokens[found.targets >= 0]
    loose = 0.02 if name == "spans" else 0.01  # fewer independent draws
    assert abs((shown == 4).double().mean() - 0.8) < loose
    assert abs((shown == 7).double().mean() - (0.1 + 0.1 / 11)) < loose
    counts = torch.bincount(shown, minlength=12)[[i for i in range(12) if i not in (4, 7)]]
    assert len(torch.bincount(shown)) == 12 and counts.min() > 0.7 * counts.max()


@pytest.mark.parametrize("name", ["mask", "spans"])
def test_what_is_asked_where_nothing_is_said(name):
    """15% of the tokens; the last of 257 ids is the mask. Spans go on with four fifths, to ten tokens at most."""
    part = made(name)
    found = part(Batch(torch.full((2000, 50), 7)), draw)
    asked = found.targets >= 0
    assert abs(asked.double().mean() - 0.15) < 0.01
    assert abs((found.tokens[asked] == 256).double().mean() - 0.8) < 0.02
    assert abs((found.tokens[asked] == 7).double().mean() - 0.1) < 0.02
    assert name == "mask" or (part.on == pytest.approx(0.8) and part.longest == 10)


def test_spans_are_as_long_as_said_and_shown_alike():
    """Alone in a row of few, a span has the lengths of a cut geometric distribution and is shown in one way."""
    found = made("spans", share=0.01, mean=3.0, longest=5)(Batch(torch.full((20_000, 60), 7)), draw)
    asked = found.targets >= 0
    first = asked & ~torch.nn.functional.pad(asked[:, :-1], (1, 0))
    size = torch.zeros_like(first, dtype=torch.long)
    for d in range(7):
        here = torch.roll(asked, -d, 1) & (size == d)
        size += here.long()
    # far enough from both ends of the row to be whole
    sizes = torch.bincount(size[:, 1:40][first[:, 1:40]], minlength=8)[1:6] / first[:, 1:40].sum()
    wanted = torch.tensor([1 / 3, 2 / 9, 4 / 27, 8 / 81, 16 / 81])
    assert (sizes - wanted).abs().max() < 0.02
    kinds = torch.where(found.tokens == 256, 0, torch.where(found.tokens == 7, 1, 2))
    both = asked[:, 1:] & asked[:, :-1]
    assert (kinds[:, 1:] == kinds[:, :-1])[both].double().mean() > 0.99  # another token may be the one that was there


def test_a_share_of_each_row_of_vectors_is_hidden():
    """Rounded, of those that count, and one at least."""
    valid = torch.arange(10) < torch.tensor([10, 7, 1])[:, None]
    found = hidden(Batch(torch.zeros(3, 10, 2), valid=valid), (3, 10), 0.3, draw)
    assert found.sum(1).tolist() == [3, 2, 1] and not bool((found & ~valid).any())
    assert hidden(Batch(torch.zeros(4, 10, 2)), (4, 10), 0.5, draw).sum(1).tolist() == [5] * 4


def test_two_ids_are_a_mask_and_a_token():
    """What is asked is shown as the one token there is, where it is swapped; the first id may be asked too."""
    targets = torch.tensor([[0, -1, 0, 0]])
    found = made("mask", share=1.0, hidden=0.0, swapped=1.0, vocab=2)(
        Batch(torch.tensor([[0, 0, 0, 0]]), targets=targets), draw
    )
    assert found.tokens.tolist() == [[0] * 4] and found.targets.tolist() == targets.tolist()


def test_what_does_not_fit_is_refused():
    for settings, says in (
        (dict(hidden=0.8, swapped=0.3), "shares of one whole"), (dict(vocab=8, mask=8), "among the vocab"),
        (dict(share=0.0), "above 0"), (dict(vocab=1), "among the vocab"),
    ):  # fmt: skip
        for name in ("mask", "spans"):
            with pytest.raises(by.UsageError, match=says):
                made(name, **settings)
