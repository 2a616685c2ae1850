"""Proposers are entries as all others are: found by name, read without an import, held to what they promise."""

import json
from pathlib import Path

import pytest
import torch
from decode_cases import ids, tiny, written

import blockyard as by
from blockyard.check import check
from blockyard.cli import main
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.decode import propose
from blockyard.decode.propose import Proposal, Proposer
from blockyard.decode.rules import GREEDY
from blockyard.decode.speculate import Counts, speculate
from blockyard.decoder import Draft, PromptLookup, SelfSpeculative
from blockyard.decoder._check import promises

HOMES = {"prompt_lookup": PromptLookup, "draft": Draft, "self_speculative": SelfSpeculative}


@pytest.mark.parametrize("name", sorted(registry.entries("decoder"))[1:])  # the first with the first of every kind
def test_every_proposer_keeps_its_promises(name):
    verdicts = check(f"decoder:{name}")
    assert len(verdicts) == 12 and all(verdict.ok for _, verdict in verdicts)


def test_a_name_is_its_class_wherever_it_is_asked_for():
    for name, made in HOMES.items():
        assert registry.find("decoder", name).load_named() is made is getattr(propose, made.__name__)
        assert getattr(by, made.__name__) is made and issubclass(made, Proposer)
    settings = {name: list(registry.find("decoder", name).settings) for name in HOMES}
    assert settings == {"prompt_lookup": ["longest", "shortest"], "draft": ["likeliest"],
                        "self_speculative": ["steps", "likeliest"]}  # fmt: skip


def test_settings_are_checked_before_anything_is_made():
    for words, says in (("prompt_lookup:longest=0", "from 1 to"), ("draft:likelist=yes", "did you mean likeliest")):
        with pytest.raises(UsageError, match=says):
            check(f"decoder:{words}")
    accepts = registry.find("decoder", "self_speculative").settings["steps"]
    assert accepts.accepts == "whole numbers or none" and accepts.check((0, 2)) == [0, 2]


def test_without_a_word_the_first_half_of_the_steps_guesses():
    model, x, texts = tiny("llama"), ids(1, 9), []
    for steps in (None, [0, 1]):
        counts = Counts()
        texts.append((written(speculate(model, x, 12, SelfSpeculative(steps), counts=counts)).tolist(), counts))
    assert texts[0] == texts[1]


class Remembers(PromptLookup):
    """Counts on from what was."""

    asked = 0

    def propose(self, rows, wanted):
        self.asked += 1
        return Proposal([[self.asked % 3] * min(n, 1) for n in wanted])


class Shares(PromptLookup):
    """Guesses for all rows from the first."""

    def propose(self, rows, wanted):
        return Proposal([[rows.ids[0][-1] % 3] * n for n in wanted])


class Chatters(PromptLookup):
    """Says more than was asked."""

    def propose(self, rows, wanted):
        return super().propose(rows, [n + 1 for n in wanted])


class Flatters(Draft):
    """Says that it drew evenly."""

    def propose(self, rows, wanted):
        guess = super().propose(rows, wanted)
        return Proposal(guess.tokens, guess.p and [torch.full_like(p, 1 / p.shape[-1]) for p in guess.p])


class Peeks(PromptLookup):
    """Draws from the dice of everybody."""

    def propose(self, rows, wanted):
        torch.rand(1)
        return super().propose(rows, wanted)


@pytest.mark.parametrize("name, double, claim", [
    ("prompt_lookup", Remembers, "forgets what was when it begins"),
    ("prompt_lookup", Shares, "says of a row what it says of that row alone"),
    ("prompt_lookup", Chatters, "at most the tokens that are wanted, possible where drawn"),
    ("draft", Flatters, "drawn tokens have the distribution of the model"),
    ("prompt_lookup", Peeks, "leaves the model and the dice"),
])  # fmt: skip
def test_a_broken_proposer_is_caught(name, double, claim, monkeypatch):
    entry = registry.find("decoder", name)
    monkeypatch.setattr(entry.load(), entry.node.name, double)
    assert next(v for v in promises(entry, {}) if not v.ok and claim in v.claim)


def test_a_decoder_of_another_package_is_found_by_its_entry_point(tmp_path, monkeypatch, capsys):
    template = Path(__file__).parents[2] / "docs" / "templates" / "decoder" / "my_decoder.py"
    (tmp_path / "pairs_of_mine.py").write_text(template.read_text())
    info = tmp_path / "pairs_of_mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pairs-of-mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[blockyard.decoder]\npairs = pairs_of_mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.entries.cache_clear()
    try:
        assert main(["list", "decoder", "--tag", "guesses=text", "--json"]) == 0
        assert {row["name"] for row in json.loads(capsys.readouterr().out)} == {"prompt_lookup", "pairs"}
        made, x = registry.find("decoder", "pairs").load_named()(least=1), (torch.arange(20) % 5)[None]
        counts = Counts()
        found = written(speculate(tiny("llama"), x, 8, made, counts=counts))
        assert torch.equal(found, written(by.generate(tiny("llama"), x, 8, GREEDY))) and counts.proposed > 0
    finally:
        registry.entries.cache_clear()
