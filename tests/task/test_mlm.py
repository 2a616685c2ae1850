"""Hidden tokens of a text: which they are, that each is asked once, what recipes become, what counts can say."""

import math

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard import systems
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.core import registry
from blockyard.data.corpus import load_text
from blockyard.data.shards import encode_split
from blockyard.data.tokens import Bytes
from blockyard.task import make_task
from blockyard.task._neighbours import Counts
from blockyard.train.loop import to_batch

TEXT = "".join(f"the {i} apples of basket {i * i % 97} are {'ripe' if i % 3 else 'green'}\n" for i in range(2000))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "apples.txt"
    path.write_text(TEXT)
    return make_task("mlm").material(load_text(path, cache=path.parent / "cache"))


def asked(material, role, exam):
    """What is asked where, by its place in the split, and what is shown there."""
    found = {}
    rows = exam.take(slice(None))
    split = material._split(role)
    for i in range(len(exam)):
        begin = max(int(exam.rows.last[i]) - exam.length, 0)
        for j in np.flatnonzero(rows["targets"][i] >= 0):
            assert begin + j not in found, "asked twice"
            assert rows["targets"][i, j] == split.tokens[begin + j] and rows["tokens"][i, j] == material.mask
            found[begin + j] = int(exam.group[i])
    return found


@pytest.mark.parametrize("role", ["tune", "final"])
def test_the_same_tokens_are_asked_once_each_at_every_length(material, role):
    short, long = (asked(material, role, material.exam(role, length)) for length in (16, 100))
    assert short == long, "which, and in which group"
    count = len(material._split(role))
    assert abs(len(short) / count - 0.15) < 0.03
    exam = material.exam(role, 100)
    assert exam.asked.tolist() == np.bincount(list(short.values())).tolist() and exam.weights.sum() == pytest.approx(1)
    assert all((np.diff(list(short.values())) >= 0).tolist()), "groups are contiguous"
    assert exam.take(slice(None))["tokens"].shape == (len(exam), 100), "every row is whole"


def test_roles_and_shares_hide_other_tokens(material):
    tune, final = (material._hidden(role)[:1000] for role in ("tune", "final"))
    assert (tune != final).any()
    more = make_task("mlm:share=0.4").material(material.corpus)
    assert abs(more._hidden("final").mean() - 0.4) < 0.03 and more.hash != material.hash
    assert make_task("mlm").material(material.corpus).hash == material.hash


def test_the_score_is_bits_a_hidden_token_and_accuracy_the_share_named(material):
    exam = material.exam("final", 64)
    batch = to_batch(exam.take(slice(None)), "cpu")
    logits = torch.full((*batch.tokens.shape, 257), 0.0)
    found = material.amounts({"logits": logits}, batch).numpy()
    assert exam.weights @ exam.groups(found) == pytest.approx(math.log2(257))
    logits.scatter_(2, batch.targets.clamp(min=0)[..., None], 50.0)
    logits[0] = logits[0].roll(1, 1)
    found = material.amounts({"logits": logits}, batch).numpy()
    lost = (batch.targets[0] >= 0).sum() / exam.asked.sum()
    assert material.figures(exam.sums(found).sum(0), exam.asked.sum())["accuracy"] == pytest.approx(1 - float(lost))


def test_counts_say_what_counting_says(material):
    """The surprise of single tokens is their frequency's, that between neighbours the normalised product's."""
    split = encode_split("x", [b"abcabcabcabd" * 20], Bytes())
    predict, ids = Counts(split, 256).predictors(), np.asarray(split.tokens, np.int64)
    shown, places = ids.copy(), np.array([4, 7, 11])
    shown[places] = 256
    truth = ids[places]
    p = (np.bincount(ids, minlength=256) + 1) / (len(ids) + 256)
    assert predict["unigram"](shown, places, truth) == pytest.approx(-np.log(p[truth]))
    pairs = np.zeros((256, 256))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    q = (pairs + p) / (pairs.sum(1, keepdims=True) + 1)
    for place, nats in zip(places, predict["both neighbours"](shown, places, truth)):
        weight = q[ids[place - 1]] * q[:, ids[place + 1]]
        assert nats == pytest.approx(-math.log(weight[ids[place]] / weight.sum()))
    shown[3:6] = 256  # neighbours that are hidden say nothing
    assert predict["both neighbours"](shown, np.array([4]), ids[4:5]) == pytest.approx(
        predict["unigram"](shown, np.array([4]), ids[4:5]), abs=1e-9
    )
    figures = {name: material.exam("final", 64).weights @ y for name, y in material.references("final").items()}
    assert 0 < figures["both neighbours"] < figures["unigram"] < 8
    assert "both neighbours" not in Counts(split, 2048).predictors()


def test_an_exhibit_shows_what_was_guessed_in_its_place(material):
    exam = material.exam("final", 40)

    def predict(rows):  # right where the token is a letter, an x elsewhere
        truth = np.where(rows["targets"] >= 0, rows["targets"], 0)
        letter = (truth >= 97) & (truth < 123)
        return {"logits": np.eye(257)[np.where(letter, truth, 120)]}

    (exhibit,) = material.exhibits(predict, exam)
    rows = exam.take(slice(0, 1))
    shown = "".join(
        chr(i) if t < 0 else f"[{chr(t)}]" if chr(t).isalpha() and chr(t).islower() else f"[x/{chr(t)}]"
        for i, t in zip(rows["tokens"][0], rows["targets"][0])
    )
    assert exhibit.texts[0] == shown.replace("\n", "⏎") and "[" in shown and 1 < len(exhibit.texts) <= 6


def test_every_arm_gets_the_mask_and_one_that_has_an_objective_keeps_it(material):
    plain = material.fit(by.spec("llama", "tiny"))
    assert plain["model"]["stem"]["vocab"] == 257 and plain["model"]["causal"] is False
    assert dict(plain["program"][0]["objective"]["corrupt"].settings) == {"share": 0.15, "mask": 256}
    own = material.fit(by.spec("mosaicbert", "tiny", **{"objective.corrupt": "spans"}))["program"][0]["objective"]
    assert own["corrupt"].name == "spans" and own["corrupt"]["mask"] == 256
    bare = by.Spec.of("phase", "masked", {"objective": by.Spec("objective", "masked"), "share": 1.0, "train": "*"})
    told = material.fit(by.spec("bert", "tiny").but(program=(bare,)))["program"][0]["objective"]
    assert told["corrupt"]["mask"] == 256, "what stands in a slot by default is told too"
    assert material.fit(plain) == plain
    rows = material.order(32, 4, seed=1).next(3)
    assert set(rows) == {"tokens"} and rows["tokens"].shape == (4, 32)


@pytest.mark.parametrize("arm, task, says", [
    ("bert", None, "bert learns masked tokens: --task mlm"),
    ("gla", "mlm", "mixer:gla does not claim bidirectional.*mixers that do: attention"),
    ("bert", "mlm:share=0", "above 0"),
])  # fmt: skip
def test_a_model_for_another_task_is_refused_with_what_would_do(arm, task, says, tmp_path):
    (tmp_path / "my.txt").write_text(TEXT)
    with pytest.raises(by.UsageError, match=says):
        make_plan(Request((arm, f"again={arm}"), task=task, data=(str(tmp_path / "my.txt"),)), lambda _: None)


@pytest.mark.parametrize("text, length, says", [
    ("ab" * 600, 64, None), ("ab" * 600, 500, None), ("the cat " * 130, 16, None), ("ab" * 500, 5000, "too short"),
])  # fmt: skip
def test_a_short_text_is_asked_what_it_has(text, length, says, tmp_path):
    (tmp_path / "x.txt").write_text(text)
    made = make_task("mlm").material(load_text(tmp_path / "x.txt", cache=tmp_path))
    if says:
        with pytest.raises(by.UsageError, match=says):
            made.order(length, 2, 0)
        return
    exam = made.exam("final", length)
    assert exam.asked.sum() > 0 and len(exam.take(slice(None))["tokens"][0]) == min(length, len(made.corpus.test))
    assert made.order(length, 2, 0).next(0)["tokens"].shape == (2, length)


def test_the_task_is_found_by_what_it_teaches():
    taught = {e.constant("learns") for e in registry.entries("task").values()}
    own = systems.spec("bert")["program"][0]["objective"]
    assert registry.find("objective", own.name).constant("learns") in taught
