"""What must hold of facts that are told and asked for, and of the one layer that learns them."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import UsageError
from blockyard.study import one_layer_knowledge as study
from blockyard.study._base import FAILS, HOLDS, OPEN
from blockyard.task import make_task
from blockyard.task._exercise import Exercise
from blockyard.task.facts import FILLERS
from blockyard.train.schedule import learned
from blockyard.transform._base import make_transform

CELL = "facts:subjects=30,relations=2,values=10,templates=6,tellings=3,taught=12"


def parsed(task, tokens):
    """(n,) subjects, relations and whether it is a question, from ids alone."""
    subjects, templates, asks, _, mark = task.starts[1:6]
    inside = (tokens >= subjects) & (tokens < templates)
    assert (inside.sum(1) == 1).all() and set(np.unique(tokens[:, -1])) <= {mark, mark + 1}
    s, word, question = tokens[inside] - subjects, tokens[:, -2], tokens[:, -1] == mark + 1
    return s, np.where(question, word - asks, (word - templates) // task.templates), question


def test_what_is_asked_was_never_shown_as_a_question():
    """(1) no subject of an exam stands in a question of training, and every one is told."""
    task = make_task(f"{CELL},show=both,exam=asked")
    s, _, question = parsed(task, task.sample(0, 4000).tokens)
    asked, _, all_questions = parsed(task, task.scored_on.sample(1, 2000).tokens)
    assert all_questions.all() and set(asked) == set(range(12, 30)) and set(s[question]) == set(range(12))
    assert set(s[~question]) == set(range(30)) and 0.45 < question.mean() < 0.55


def test_every_fact_is_told_in_as_many_ways():
    """(2) of its relation's templates, not of the other's; the answer is the same in all of them."""
    task = make_task(f"{CELL},show=told")
    tokens, targets = task.sample(0, 8000)
    s, r, _ = parsed(task, tokens)
    for fact in range(60):
        mine = (s == fact // 2) & (r == fact % 2)
        assert len(set(tokens[mine, -2])) == 3 and len(set(targets[mine, -1])) == 1
    assert len(set(targets[:, -1])) == 10
    assert make_task(f"{CELL},show=told,world=1").table.tolist() != task.table.tolist()
    shares = [make_task(f"facts:templates=32,tellings={k},taught={n}").covered() for k, n in ((1, 4), (4, 4), (4, 60))]
    assert shares[0] < shares[1] < shares[2] and shares[2] > 0.95


@torch.no_grad()
def test_attention_of_a_token_sums_to_one():
    """(3) over what it sees."""
    model = by.build("one_layer", "tiny", vocab=40).double()
    rows = torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    weights = next(iter(model(rows, points={"*:weights": "read"}).captures.values()))
    assert (weights.sum(-1) - 1).abs().max() < 1e-12 and weights.triu(1).abs().max() == 0


@torch.no_grad()
def test_without_an_mlp_it_is_attention_alone():
    """(4) the recipe with no channels inside says what its attention writes: one step, the same first numbers."""
    alone, whole = (by.build("one_layer", "tiny", vocab=40, ffn=width).double() for width in (0, 64))
    assert len(alone.steps) == 1 and len(whole.steps) == 2
    rows = torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    behind = whole.finish(whole.run(whole.start(rows), [0]))
    alone.steps[0].load_state_dict(whole.steps[0].state_dict())
    assert torch.equal(alone(rows).logits, behind.logits) and not torch.allclose(whole(rows).logits, behind.logits)
    value = alone.steps[0].part.qkv(alone.start(rows).x[:, :1])[..., -32:]  # no skip: the first token says its value
    assert torch.allclose(alone.run(alone.start(rows)).x[:, :1], alone.steps[0].part.out(value), atol=1e-12)


@torch.no_grad()
def test_an_adapter_says_nothing_at_first():
    """(5) with B = 0 the pretrained model is left as it is, to the bit."""
    model = by.build("one_layer", "tiny", vocab=40)
    made = make_transform("lora:rank=4").apply(model).model
    rows = torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(made(rows).logits, model(rows).logits)


def descended(model, text, train, steps=80):
    """The loss of rows of a task before and after some steps of Adam on what is meant by `train`."""
    tokens, targets = map(torch.from_numpy, make_task(text).sample(0, 128))
    names = learned(model, train)
    descent, losses = torch.optim.Adam([p for name, p in model.named_parameters() if name in names], 0.02), []
    for _ in range(steps):
        descent.zero_grad()
        error = torch.nn.functional.cross_entropy(model(tokens).logits[:, -1], targets[:, -1])
        error.backward()
        losses.append(float(error.detach()))
        descent.step()
    return losses[0], losses[-1]


def test_an_adapter_of_full_rank_learns_questions_as_all_numbers_do():
    """(5) told facts first, then questions of the taught: an adapter as wide as the matrices reaches a loss of the same
    class as the matrices themselves."""
    facts = "facts:subjects=10,relations=3,values=4,templates=3,tellings=3,taught=8,fillers=2"
    base = by.build("one_layer", "tiny", vocab=make_task(facts).vocab)
    assert descended(base, f"{facts},show=told", "*")[1] < 0.2
    whole, wide = copy.deepcopy(base), make_transform("lora:rank=32").apply(copy.deepcopy(base)).model
    first, reached = descended(whole, f"{facts},show=taught", "steps.*")
    again, adapted = descended(wide, f"{facts},show=taught", "attached")
    assert first == pytest.approx(again, abs=1e-6) and first > 0.5, "questions are new to both"
    assert reached < first / 10 > adapted


def test_the_table_of_another_world_is_chance():
    """(6) who knows other answers is right as often as who guesses."""
    task, other = (make_task(f"facts:subjects=400,relations=4,values=10,world={world}") for world in (0, 1))
    tokens, targets = task.sample(0, 4000)
    right = (other.solve(tokens) == targets)[:, -1].mean()
    assert abs(right - 0.1) < 0.03 and (task.solve(tokens) == targets)[:, -1].all()


def test_a_row_of_fillers_has_the_answers_as_often_as_they_are():
    """(7) where no fact is named the model says the marginal distribution, while it answers what is named."""
    task = make_task("facts:subjects=6,relations=1,values=4,templates=3,tellings=3,taught=2,fillers=3")
    share = torch.from_numpy(np.bincount(task.table.ravel(), minlength=4) / 6)
    assert (share - 0.25).abs().sum() / 2 > 0.3, "not even, or who guesses would be right"

    def rows(seed, n):
        tokens, targets = map(torch.from_numpy, task.sample(seed, n))
        draw, filler = torch.Generator().manual_seed(seed), int(task.starts[4])
        fresh = filler + torch.randint(0, FILLERS, tokens.shape, generator=draw)
        return tokens, torch.where(tokens < filler, fresh, tokens), targets[:, -1]

    model = by.build("one_layer", "tiny", vocab=task.vocab, dim=16, ffn=32)
    named, none, answers = rows(0, 300)
    descent = torch.optim.LBFGS(model.parameters(), max_iter=20, line_search_fn="strong_wolfe")

    def closure():
        descent.zero_grad()
        said = model(torch.cat([named, none])).logits[:, -1]
        error = torch.nn.functional.cross_entropy(said, answers.repeat(2))
        error.backward()
        return error

    descent.step(closure)
    named, none, answers = rows(1, 200)
    with torch.no_grad():
        known, blank = (model(each).logits[:, -1].softmax(-1)[:, :4] for each in (named, none))
    assert (known.argmax(-1) == answers).double().mean() > 0.95
    assert (blank.mean(0) - share).abs().sum() / 2 < 0.08 and (blank - share).abs().sum(1).mean() / 2 < 0.2


def test_without_taught_subjects_no_question_is_shown():
    """(8) rows that are told have none, and rows of taught questions cannot be asked for."""
    task = make_task("facts:taught=0,show=told,exam=asked")
    assert not parsed(task, task.sample(0, 500).tokens)[2].any()
    with pytest.raises(UsageError, match="with taught=0 of 64 subjects no row is both"):
        make_task("facts:taught=0,show=both")
    with pytest.raises(UsageError, match="tellings=9 need as many templates"):
        make_task("facts:tellings=9")


def test_an_exam_holds_its_rows_from_training():
    """(1) what training is given of a task that shows questions is of taught subjects alone."""
    task = make_task(f"{CELL},show=both,exam=asked")
    exercise = Exercise(repr(task), task)
    fresh = exercise.order(task.length, 64, 0).next(0)
    s, _, question = parsed(task, fresh["tokens"])
    assert (s[question] < 12).all() and question.any()


def test_cells_of_the_study_differ_from_the_first_in_one_thing():
    """Each in a thing of its own, and the reach of every one is below the first's."""
    first, *others = (make_task(study.task_of(cell)) for cell in study.CELLS)
    names = ("subjects", "relations", "values", "templates", "tellings", "taught", "fillers", "show", "exam", "world")
    changed = [[name for name in names if getattr(each, name) != getattr(first, name)] for each in others]
    assert sorted(changed) == [["taught"], ["tellings"], ["templates"]]
    reaches = [study.reach(cell) for cell in study.CELLS]
    assert reaches[0] == pytest.approx(80 * 16 * math.log(8) / 64) and max(reaches[1:]) < reaches[0] / 2
    assert len(set(reaches)) == 4
    told = make_task(study.task_of("covered", "show=told"))
    assert told.show == "told" and told.exam is None and told.templates == first.templates


def test_ranks_agree_as_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for _ in range(30):
        one, other = draw.integers(0, 5, (2, 7))
        assert study.agreement(one, other) == pytest.approx(stats.spearmanr(one, other)[0])
    assert study.agreement([1.0, 1.0], [2.0, 3.0]) is None


def outcome(*errors):
    """A report of an arm for every cell, from the errors of the cells in every seed."""
    return [
        SimpleNamespace(arm=lambda _, e=e: SimpleNamespace(score=SimpleNamespace(per_seed=list(e)))) for e in errors
    ]


def test_cells_are_ordered_in_every_seed_or_it_is_open():
    """By reach: covered, few taught, many templates, told once."""
    good, bad = (0.1, 0.5, 0.6, 0.3), (0.6, 0.5, 0.1, 0.7)
    for seeds, verdict in (((good, good), HOLDS), ((good, bad), OPEN), ((bad, bad), FAILS)):
        found = study.ordered("layer", 0.7).judge(*outcome(*zip(*seeds)))
        assert found.verdict == verdict
    assert study.ordered("layer", 0.7).judge(*outcome(*zip(good, good))).value == pytest.approx(1.0)
    twice = study.times_the_worst("layer", 2).judge
    assert twice(*outcome(*zip(good, good))) == (HOLDS, pytest.approx(0.9 / 0.4), 2)
    assert twice(*outcome(*zip(bad, bad))).verdict == FAILS
    for judge in (twice, study.ordered("layer", 0.7).judge):
        assert judge(*outcome(*zip(good, (None, 0.1, 0.2, 0.3)))).verdict == OPEN
