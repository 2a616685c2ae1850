"""Tags of words, places of answers, classes of pairs: rows, targets, figures and references; ends that fit encoders."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

import blockyard as by
from blockyard.core import Batch
from blockyard.core.errors import UsageError
from blockyard.core.spec import objective
from blockyard.data.annotated import Questions, Rows, Tagged, held_out
from blockyard.data.table import Table
from blockyard.source import read
from blockyard.task import make_task
from blockyard.task._rows_of_text import joined, places
from blockyard.task._spans import best, overlap, plain
from blockyard.train.loop import build_objective, to_batch

TASKS = {"tagging": "little_sentences", "span": "little_questions", "pairs": "little_pairs"}


def made(task, codec="bytes", **settings):
    words = ",".join(f"{name}={value}" for name, value in settings.items())
    asked = make_task(f"{task}:{words}")
    return asked.material(read([TASKS[task]], asked.of, codec=codec))


def scored(material, said, role="final"):
    """The score and the further figures of predictions, a function of the batch of all rows."""
    exam = material.exam(role, 0)
    batch = to_batch(exam.take(slice(None)), "cpu")
    amounts = material.amounts(said(batch), batch).numpy()
    return exam.weights @ exam.groups(amounts), material.figures(exam.sums(amounts).sum(0), exam.asked.sum())


def test_words_are_asked_at_their_last_id():
    data = Tagged("t", [("ab", "c"), *(((f"w{i:05}",)) for i in range(30))], [("X", "Y")] + [("X",)] * 30)
    whole = make_task("tagging").material(data)._rows.take(slice(0, 1))
    assert whole["tokens"][0].tolist() == [*b"ab c", 0, 0] and whole["targets"][0].tolist() == [-1, 0, -1, 1, -1, -1]
    assert whole["valid"][0].tolist() == [True] * 4 + [False] * 2
    short = make_task("tagging:length=3").material(data)
    assert short._rows.take(slice(0, 1))["targets"][0].tolist() == [-1, 0, -1]
    assert any("31 of 31 sentences are longer than 3 ids" in note for note in short.notes)


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_held_out_whole_and_train_in_an_order_of_the_seed(task):
    material = made(task)
    parts = material.parts
    assert len(set(np.concatenate(list(parts.values())).tolist())) == sum(map(len, parts.values()))
    assert len(parts["train"]) > 3 * len(parts["test"]) > 0
    one, again, other = (material.order(0, 4, seed).next(7) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["tokens"], other["tokens"])


def test_all_questions_about_a_text_stand_on_one_side():
    contexts = [f"text {i} is a" for i in range(60) for _ in range(3)]
    parts = held_out("q", contexts)
    sides = [{contexts[i] for i in places} for places in parts.values()]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    with pytest.raises(UsageError, match="too few to hold a"):
        held_out("q", contexts[:3])


def test_figures_of_tags_are_what_they_say():
    material = made("tagging", length=80)
    right = lambda batch: {"token_classes": 30.0 * one_hot(batch.targets.clamp(min=0), len(material.tags)).double()}  # noqa: E731
    error, figures = scored(material, right)
    assert error == 0 and figures["token accuracy"] == figures["macro-F1"] == 1 and figures["log loss"] < 1e-9
    label = material.tags.index("NOUN")
    other = lambda batch: torch.full_like(batch.targets, label)  # noqa: E731
    always = lambda batch: {"token_classes": one_hot(other(batch), len(material.tags)).double()}  # noqa: E731
    error, figures = scored(material, always)
    truth = np.concatenate([material.labels[i] for i in material.parts["test"]])
    share = (truth == label).mean()
    assert error == pytest.approx(1 - share) and figures["token accuracy"] == pytest.approx(share)
    assert figures["macro-F1"] == pytest.approx(2 * share / (1 + share) / len(set(truth.tolist())))


def test_references_of_tags():
    material = made("tagging", length=80)
    exam = material.exam("final", 0)
    found = {name: float(exam.weights @ groups) for name, groups in material.references("final").items()}
    truth = np.concatenate([material.labels[i] for i in material.parts["test"]])
    train = np.concatenate([material.labels[i] for i in material.parts["train"]])
    assert found["majority"] == pytest.approx((truth != np.bincount(train).argmax()).mean())
    assert found["linear"] < 0.5 * found["each word's usual tag"] < 0.5 * found["majority"]


def test_an_answer_is_a_place_in_the_row_behind_its_question():
    data = read(["little_questions"])
    material = made("span")
    for i in (0, 7, 300):
        row = material._rows.take(slice(i, i + 1))
        first, last = row["targets"][0]
        text = bytes(row["tokens"][0, first : last + 1].tolist()).decode()
        assert text == data.contexts[i][slice(*data.places[i])]
        size = len(data.questions[i])
        assert bytes(row["tokens"][0, :size].tolist()).decode() == data.questions[i]
        assert row["tokens"][0, size] == 256 and row["kinds"][0].sum() == len(data.contexts[i])
        assert (row["kinds"][0] == 1).argmax() == size + 1


def test_places_follow_the_bytes_of_the_codec():
    from blockyard.data.tokens import Bytes

    ids, (first, last) = places(Bytes(), "é ab c", (2, 4))
    assert bytes(ids[first : last + 1].tolist()).decode() == "ab"
    material = made("span", codec="bpe:300")
    data = read(["little_questions"])
    i = int(material.parts["test"][0])
    row = material._rows.take(slice(i, i + 1))
    first, last = row["targets"][0]
    answer = data.contexts[i][slice(*data.places[i])]
    assert answer in material.codec.decode(row["tokens"][0, first : last + 1].tolist())
    assert last - first + 1 < len(answer)


def test_the_longer_text_is_cut():
    a, b = np.arange(10), np.arange(100, 103)
    row, begin = joined(a, b, 999, 8)
    assert row.tolist() == [0, 1, 2, 3, 999, 100, 101, 102] and begin == 5
    assert joined(b, a, 999, 8)[0].tolist() == [100, 101, 102, 999, 0, 1, 2, 3]
    assert joined(b, b, 999, 20)[0].tolist() == [100, 101, 102, 999, 100, 101, 102]
    assert len(joined(a, a, 9, 9)[0]) == 9


def test_the_best_answer_ends_behind_its_beginning_inside_the_text():
    scores = np.zeros((1, 6, 2))
    scores[0, 4, 0], scores[0, 1, 1], scores[0, 5, 1], scores[0, 0] = 5, 9, 1, 99
    inside = np.array([[False, True, True, True, True, True]])
    assert best(scores, inside, 6).tolist() == [[1, 1]]  # 0 + 9
    scores[0, 1, 1] = 5.5
    assert best(scores, inside, 6).tolist() == [[4, 5]]
    assert best(scores, inside, 1).tolist() == [[1, 1]]


def test_words_are_compared_without_case_marks_and_articles():
    assert plain("The red, Cup!") == plain("a Red cup") == ["red", "cup"]
    assert overlap(["red", "cup"], ["red", "hat"]) == 0.5 and overlap(["a"], ["a"]) == 1 and overlap([], ["a"]) == 0


def test_figures_of_answers():
    material = made("span")

    def points(batch, shift=0):
        scores = torch.zeros(*batch.tokens.shape, 2, dtype=torch.float64)
        for end in range(2):
            scores[torch.arange(len(scores)), batch.targets[:, end] - shift * end, end] = 9.0
        return {"span": scores}

    assert scored(material, points) == (0.0, {"exact match": 1.0, "token F1": 1.0})
    error, figures = scored(material, lambda batch: points(batch, 2))  # the last two letters are lacking
    assert error == pytest.approx(1) and figures["exact match"] == 0 and 0.1 < figures["token F1"] < 0.6
    found = {name: float(groups.mean()) for name, groups in material.references("final").items()}
    assert found["the whole text"] == 1 > found["end of the likest sentence"] > 0.2


def test_the_loss_of_a_span_is_over_the_text_alone():
    loss = by.make("objective:start_end", dim=8)
    scores = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    kinds = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0]])
    valid = torch.tensor([[True] * 5, [True] * 4 + [False]])
    batch = Batch(torch.zeros(2, 5).long(), torch.tensor([[2, 3], [1, 1]]), valid, more={"kinds": kinds})
    said = type("Out", (), dict(prediction={"span": scores}))
    total, count, _ = loss(lambda batch: said, batch)["span"]
    wanted = sum(
        cross_entropy(scores[row, low:high, end][None], torch.tensor([at - low])) / 2
        for row, low, high, at, end in [(0, 2, 5, 2, 0), (0, 2, 5, 3, 1), (1, 1, 4, 1, 0), (1, 1, 4, 1, 1)]
    )
    assert int(count) == 2 and torch.allclose(total, wanted)
    nothing = Batch(batch.tokens, torch.tensor([[2, 3], [-1, -1]]), valid, more={"kinds": kinds})
    total, count, _ = loss(lambda batch: said, nothing)["span"]
    assert int(count) == 1 and total < wanted


def test_pairs_are_read_with_a_mark_and_their_kinds():
    cells = {"one": ["ab", "ab", "", "x", *"cdefghijklmno", "pqr", "q"],
             "two": ["c", "c", "d", None, *"cdefghijklmno", "pq", "q"],
             "is": [1.0, 0.0, 1.0, 1.0, *[0.0, 1.0] * 7, 1.0]}  # fmt: skip
    columns = {name: np.array(words, float if name == "is" else object) for name, words in cells.items()}
    material = make_task("pairs:first=one,second=two,label=is,length=6").material(Rows(Table.of("t", columns)))
    assert material.items.classes == ["0", "1"] and len(material.items) == 16
    assert any("3 of 19 rows lack a text or a class, or repeat" in note for note in material.notes)
    row = material.input.rows.take(slice(0, 1))
    assert row["tokens"][0].tolist() == [*b"ab", 256, *b"c", 0, 0] and row["kinds"][0].tolist() == [0, 0, 0, 1, 0, 0]
    with pytest.raises(UsageError, match="has no column 'first'; columns: one, two, is"):
        make_task("pairs").material(Rows(Table.of("t", columns)))


def test_pairs_that_share_a_text_stay_together_and_words_alone_say_little():
    material = made("pairs")
    firsts = [material.items.rows.take(material.parts[name])["tokens"] for name in ("train", "tune", "test")]
    sides = [{pair[0] for pair in each} for each in firsts]
    assert not sides[0] & sides[1] and not sides[0] & sides[2]
    exam = material.exam("final", 0)
    found = {name: float(exam.weights @ groups) for name, groups in material.references("final").items()}
    assert found["5 nearest"] < found["linear"] < found["majority"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["bert", "mosaicbert", "albert", "llama", "mamba2"])
def test_any_recipe_is_fitted_without_being_changed(task, name):
    material = made(task, length=48)
    own = by.spec(name, "tiny")
    system = material.fit(own)
    assert system["model"]["blocks"] == own["model"]["blocks"]
    assert system["model"]["stem"].name == own["model"]["stem"].name
    model = by.build(system)
    asked = build_objective(system["program"][0]["objective"], model)
    batch = to_batch(material.order(0, 4, 0).next(0), "cpu")
    ((total, count, _),) = asked(model, batch).values()
    (total / count).backward()
    assert total.isfinite() and count > 0 and model.head.proj.weight.grad.abs().sum() > 0
    assert len(system["program"]) == 1 and system["program"][0]["objective"] == objective(
        {"tagging": "token_classes", "span": "start_end", "pairs": "classes"}[task]
    )


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_padding_says_nothing(task):
    material = made(task, length=96)
    model = by.build(material.fit(by.spec("bert", "tiny"))).double()
    batch = to_batch(material.exam("final", 0).take(slice(0, 6)), "cpu")
    other = torch.where(batch.valid, batch.tokens, 77)
    assert (other != batch.tokens).any()
    one = material.amounts(model(batch).prediction, batch)
    assert torch.allclose(
        one, material.amounts(model(Batch(other, batch.targets, batch.valid, more=batch.more)).prediction, batch)
    )


def test_the_kind_of_a_token_is_seen_by_a_stem_that_has_kinds():
    material = made("pairs", length=48)
    model = by.build(material.fit(by.spec("bert", "tiny")))
    model.stem.kind.data[1] += 1.0
    batch = to_batch(material.exam("final", 0).take(slice(0, 2)), "cpu")
    plain_ = Batch(batch.tokens, batch.targets, batch.valid)
    assert not torch.allclose(model(batch).prediction["classes"], model(plain_).prediction["classes"])


@pytest.mark.parametrize("task", TASKS)
def test_what_a_page_shows(task):
    material = made(task, length=64)
    exam = material.exam("final", 0)

    def predict(rows):
        n, t = rows["tokens"].shape
        wide = {"tagging": (n, t, 9), "span": (n, t, 2), "pairs": (n, 3)}[task]
        name = {"tagging": "token_classes", "span": "span", "pairs": "classes"}[task]
        return {name: np.zeros(wide, np.float32)}

    shown = material.exhibits(predict, exam)
    assert any(each.texts for each in shown)
    if task == "tagging":
        assert sum(map(sum, shown[0].counts)) == exam.asked.sum() and "[ADJ/" in " ".join(shown[1].texts)
    if task == "span":
        assert all("? [" in text and "true: " in text for text in shown[0].texts[:1])


def test_data_of_another_kind_are_told():
    with pytest.raises(UsageError, match="one tag only"):
        make_task("tagging").material(Tagged("t", [(f"w{i}",) for i in range(30)], [("X",)] * 30))
    with pytest.raises(UsageError, match="raise length"):
        texts = [f"text {i} has the answer" for i in range(30)]
        make_task("span:length=4").material(Questions("q", texts, ["what?"] * 30, [(15, 21)] * 30))
    with pytest.raises(UsageError, match="this task is asked of tagged"):
        read(["little_pairs"], ("tagged",))
