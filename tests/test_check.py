"""`check` holds whatever has a name to what it claims, and says which claim does not hold."""

import json
from dataclasses import replace

import pytest
import torch

import blockyard as by
from blockyard import cli
from blockyard.check import check
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.model.model import Model
from blockyard.transform.quantise import Quantise

SETTINGS = {"mixer": "gla:heads=2", "task": "mqar:pairs=2,length=16", "norm": "rms:eps=0.01", "depth": "stack:layers=1"}


FILLED = [kind for kind in (*registry.KINDS, *registry.ROOMS) if kind != "recipe" and registry.entries(kind)]


@pytest.mark.parametrize("kind", FILLED)
def test_every_kind_can_be_checked(kind):
    name = SETTINGS.get(kind) or next(iter(registry.entries(kind)))
    verdicts = check(f"{kind}:{name}")
    assert verdicts and all(verdict.ok for _, verdict in verdicts)
    assert verdicts[0][0].startswith(f"{kind}:{name.partition(':')[0]}")


def test_a_recipe_is_its_whole_model_and_all_its_parts():
    verdicts = check("gla:mixer.heads=2")
    labels = {label for label, _ in verdicts}
    assert {"gla", "mixer:gla", "norm:rms", "channel:gated", "activation:silu"} <= labels
    *claims, last = (v.claim for label, v in verdicts if label == "gla")
    assert set(claims) == {"causal", "streams", "packs", "row_independent", "trains"}
    assert last == "decodes as it trains: widths (8, 16) are no whole vectors of 16"
    whole = [v.claim for label, v in check("llama:dim=64,heads=2") if label == "llama"]
    assert whole[-1] == "decodes as recorded instructions"
    assert all(verdict.ok for _, verdict in verdicts)


def test_what_a_program_makes_need_not_go_on_from_a_state():
    """Only what does is asked how it decodes."""
    told = check("clex")
    assert all(v.ok for _, v in told)
    assert [v.claim for label, v in told if label == "clex"][-1] == "decodes as recorded instructions"
    assert {v.claim for label, v in told if label == "clex, at last"} == {
        "causal", "packs", "any_order", "row_independent",
    }  # fmt: skip


def test_a_check_does_without_compiled_loops(monkeypatch):
    monkeypatch.setattr("blockyard.kernels.dispatch.compiles", lambda: False)
    told = [v for label, v in check("llama:dim=64,heads=2") if label == "llama"]
    assert all(v.ok for v in told) and "there is no numba here" in told[-1].claim


def test_a_model_that_does_not_keep_a_claim_is_caught(monkeypatch, capsys):
    honest = Model.finish

    def peeking(self, flow):
        out = honest(self, flow)
        return replace(out, prediction={"logits": out.logits.flip(1)})

    monkeypatch.setattr(Model, "finish", peeking)
    assert {v.claim for label, v in check("llama") if label == "llama" and not v.ok} >= {"causal", "streams"}
    assert cli.main(["check", "llama"]) == 1
    assert "FAIL causal" in capsys.readouterr().err


@pytest.mark.parametrize("words, says", [
    ("lama", "did you mean llama"), ("mixer:gal", "did you mean gla"), ("task:mqra", "did you mean mqar"),
    ("mixer:gla:haeds=2", "heads"), ("gla:mixer.haeds=2", "heads"), ("study:delta", "did you mean deltanet"),
])  # fmt: skip
def test_a_wrong_name_gets_the_nearest(words, says):
    with pytest.raises(UsageError, match=says):
        check(words)


def test_lists_keep_their_columns_and_can_be_filtered(capsys):
    def told(*words):
        assert cli.main(list(words)) == 0
        return capsys.readouterr().out

    for words in (["list"], ["list", "mixer"], ["list", "task"], ["catalogue"]):
        rows, lines = json.loads(told(*words, "--json")), told(*words).splitlines()
        starts = {line.index(row["title"]) for row, line in zip(rows, lines, strict=True)}
        assert len(starts) == 1
    rows = json.loads(told("catalogue", "--family", "recurrent", "--status", "planned", "--json"))
    assert rows and {(row["family"], row["status"]) for row in rows} == {("recurrent", "planned")}
    assert (
        0 < len(json.loads(told("list", "--family", "recurrent", "--json"))) < len(json.loads(told("list", "--json")))
    )
    assert cli.main(["catalogue", "--status", "plannd"]) == 2
    assert "did you mean planned" in capsys.readouterr().err


def test_tags_sort_what_a_survey_sorts(capsys):
    assert cli.main(["list", "mixer", "--tag", "update=delta"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "deltanet", "gated_deltanet", "rwkv7",
    ]  # fmt: skip
    assert cli.main(["list", "mixer", "--tag", "update=delt"]) == 2 and "update=delta" in capsys.readouterr().err
    for kind in (*registry.KINDS, *registry.ROOMS):
        for entry in registry.entries(kind).values():
            assert all(axis and value for axis, value in entry.tags.items())


def test_a_kind_without_entries_yet_is_a_kind(capsys):
    assert cli.main(["list", "junction"]) == 0 and cli.main(["show", "junction:mhc"]) == 2
    assert "unknown junction" in capsys.readouterr().err


def test_an_optimiser_that_moves_too_much_is_caught(monkeypatch):
    def wrong(model, params, *, lr=1e-2, decay=0.0):
        return torch.optim.SGD(model.parameters(), lr=lr)

    monkeypatch.setattr("blockyard.optimiser.adamw.adamw", wrong)
    assert [v.claim for _, v in check("optimiser:adamw") if not v.ok] == [
        "moves what it was given", "leaves the rest as it was",
    ]  # fmt: skip


def test_a_transform_that_writes_into_its_model_is_caught(monkeypatch):
    honest = Quantise.apply

    def wrong(self, model, data=()):
        model.head.norm.gain.data.mul_(2)
        return honest(self, model, data)

    monkeypatch.setattr(Quantise, "apply", wrong)
    assert "leaves the model it was given" in [v.claim for _, v in check("transform:quantise") if not v.ok]


@pytest.mark.parametrize("promise,wrong", [
    ("leaves the dice", lambda done, model: (torch.rand(1), done)[1]),
    ("plans what it does", lambda done, model: replace(done, covered={"steps.9": "nothing that was planned"})),
    ("its spec builds the same", lambda done, model: replace(done, model=relabelled(done.model))),
    ("outlines its result", lambda done, model: replace(done, model=model) if model.stem.table.is_meta else done),
])  # fmt: skip
def test_a_transform_that_breaks_a_promise_is_caught(promise, wrong, monkeypatch):
    honest = Quantise.apply
    monkeypatch.setattr(Quantise, "apply", lambda self, model, data=(): wrong(honest(self, model, data), model))
    assert promise in [v.claim for _, v in check("transform:quantise") if not v.ok]


def relabelled(model):
    """A model whose spec is another's."""
    model.spec = by.spec("llama", "tiny", dim=128)["model"]
    return model


def test_a_probe_that_draws_is_caught(monkeypatch):
    monkeypatch.setattr("blockyard.probe.copying.copying_probe", lambda model, ids: {"x": torch.rand(2).numpy()})
    failed = {v.claim for _, v in check("probe:copying") if not v.ok}
    assert failed == {
        f"{n}: {c}" for n in ("llama", "gla") for c in ("the same twice", "leaves the model and the dice")
    }
