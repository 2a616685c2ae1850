"""What must hold of facts and what follows from two of them: entailment, no leak, the ratio, and what may be added."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch
from blockyard.data.graph import augmented, drawn_graph, two_hops
from blockyard.study import grokking_wild as study
from blockyard.study._base import FAILS, HOLDS, OPEN, Given
from blockyard.task import make_task
from blockyard.task._base import Examples
from blockyard.task._exercise import Exercise
from blockyard.task._held import hold_out
from tests.asked import hold_what_is_written

SMALL = "two_hop:entities=40,relations=6,facts=3,apart=0.2,held=0.2"


def known(graph):
    """The facts of a graph as a dictionary."""
    return {(h, r): t for h, r, t in graph.facts.tolist()}


def joined(graph):
    """All that follows from two facts, by a loop over pairs of them."""
    facts = known(graph)
    return {(h, r1, r2): facts[b, r2] for (h, r1), b in facts.items() for (x, r2) in facts if x == b}


def rows(items):
    return set(map(tuple, items.tolist()))


@pytest.mark.parametrize("added", [0, 2])
def test_everything_that_follows_follows_from_two_facts(added):
    """(1) The items are those of an exact join, with its answers, and the task says them."""
    task = make_task(f"{SMALL},added={added}")
    expected = joined(task.split.graph)
    found = {(h, r1, r2): t for h, r1, _, r2, t in two_hops(task.split.graph).tolist()}
    assert found == expected and len(expected) > 40 * 9 - 1
    for items in (task.split.trained, task.split.held, task.split.apart):
        assert len(items) and [expected[item] for item in rows(items)]
        assert [expected[tuple(item)] for item in items.tolist()] == task.replies(task.asked(items))[:, 0].tolist()


def test_the_join_is_that_of_pandas():
    """(1) An inner join of the facts with themselves."""
    pandas = pytest.importorskip("pandas")
    graph = drawn_graph(30, 5, 3, 1, 0)
    first = pandas.DataFrame(graph.facts, columns=["h", "r1", "b"])
    second = pandas.DataFrame(graph.facts, columns=["b", "r2", "t"])
    theirs = first.merge(second, on="b")[["h", "r1", "b", "r2", "t"]].to_numpy()
    assert rows(theirs) == rows(two_hops(graph)) and len(theirs) == len(two_hops(graph))


@pytest.mark.parametrize("settings", ["", ",added=3", ",added=2,ratio=2.5", ",trace=yes"])
def test_nothing_that_is_asked_is_trained_on(settings):
    """(2) Neither by the split nor by what training draws; every fact is trained on."""
    task = make_task(SMALL + settings)
    asked = rows(task.split.held) | rows(task.split.apart)
    assert not asked & rows(task.split.trained) and not rows(task.split.held) & rows(task.split.apart)
    questions = task.questions_of(Exercise("", task).order(4, 8000, 0).next(0)["tokens"])
    drawn = rows(np.where(questions < 0, -1, questions - 40 * (np.arange(3) > 0)))
    assert not drawn & asked and len(drawn & rows(task.split.facts)) > 0.9 * len(task.split.facts)
    exam = task.questions_of(task.scored_on.sample(0, 2000).tokens)
    assert rows(exam - 40 * (np.arange(3) > 0)) <= asked


def test_what_is_apart_is_composed_by_nobody():
    """(3) Facts of the items apart, and those of the composed ones, have none in common; mixed items are nowhere."""
    task = make_task(f"{SMALL},added=2")
    tails, composed = task.split.graph.tails, rows(task.split.composed)

    def facts_of(items):
        return [{(h, r1), (int(tails[h, r1]), r2)} for h, r1, r2 in items.tolist()]

    assert all(each <= composed for items in (task.split.trained, task.split.held) for each in facts_of(items))
    apart = facts_of(task.split.apart)
    assert apart and not any(each & composed for each in apart)
    assert len(composed) == 40 * 5 - round(0.2 * 120)
    pairs = {item: facts_of(np.array([item]))[0] for item in joined(task.split.graph)}
    mixed = [item for item, pair in pairs.items() if 0 < len(pair & composed) < len(pair)]
    assert mixed and not set(mixed) & set().union(*map(rows, task.split[3:]))


@pytest.mark.parametrize("ratio", [0.5, 1.5, 3.0])
def test_the_ratio_is_the_one_that_is_asked_for(ratio):
    """(4) Items that are trained on for each fact that they are made of, within one in a hundred."""
    task = make_task(f"two_hop:facts=5,ratio={ratio}")
    assert abs(len(task.split.trained) / len(task.split.composed) - ratio) < 0.01 * ratio
    assert task.phi == len(task.split.trained) / len(task.split.composed)
    assert Counter(map(tuple, task.split.trained.tolist())).most_common(1)[0][1] == 1, "no item counts twice"


def test_more_facts_raise_the_ratio():
    """(4) With b facts an entity it is nearly b, whether they were there or are added, and never above."""
    few, many, more = (
        make_task(f"two_hop:held=0.1,apart=0,{each}").phi for each in ("facts=2", "facts=8", "facts=2,added=6")
    )
    assert 1.7 < few < 2 and 7 < many < 8 and 7.8 < more < 8 * 1.05
    for text, says in (("facts=2,ratio=4", "give more facts or added"), ("held=0,apart=0", "next to nothing to ask")):
        with pytest.raises(by.UsageError, match=says):
            make_task(f"two_hop:{text}")


def test_added_facts_change_no_answer():
    """(5) Of any fact or item that there was; every entity has as many more, one for each relation."""
    graph = drawn_graph(50, 8, 3, 1, 0)
    more = augmented(graph, 4, 1)
    before, after = known(graph), known(more)
    assert before.items() <= after.items() and len(before) == 150 and len(after) == 350
    assert joined(graph).items() <= joined(more).items()
    assert ((more.tails >= 0).sum(1) == 7).all()
    with pytest.raises(by.UsageError, match="5 relations left, too few for 6"):
        augmented(graph, 6, 1)


def test_exams_do_not_depend_on_what_is_added():
    """(5) The same questions with the same answers, so that graphs can be compared."""
    low, more = (make_task(f"{SMALL},added={added}") for added in (0, 3))
    assert np.array_equal(low.split.held, more.split.held) and np.array_equal(low.split.apart, more.split.apart)
    asked = low.asked(low.split.held)
    assert np.array_equal(low.replies(asked), more.replies(asked))
    for one, other in zip(low.scored_on.sample(3, 50), more.scored_on.sample(3, 50)):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("types", [2, 3])
def test_facts_are_true_to_types(types):
    """(6) Those of the graph and those that are added; of one type only, this would fail."""
    graph = augmented(drawn_graph(45, 12, 2, types, 0), 2, 5)
    h, r, t = graph.facts.T
    assert (h % types == graph.source[r]).all() and (t % types == graph.target[r]).all()
    assert len(set(graph.target.tolist())) == types and set((h % types).tolist()) == set(range(types))
    wild = drawn_graph(45, 12, 4, 1, 0).facts
    assert (wild[:, 2] % types != graph.target[wild[:, 1]]).any()


def test_the_seed_decides_the_graph():
    """(7) The same one in every task and for every draw of rows; another seed has another."""
    one, again, other = (make_task(f"{SMALL},added=1,seed={seed}") for seed in (3, 3, 4))
    for a, b in zip(one.split[1:], again.split[1:]):
        assert np.array_equal(a, b)
    assert np.array_equal(one.split.graph.tails, again.split.graph.tails)
    assert not np.array_equal(one.split.graph.tails, other.split.graph.tails)
    tokens = one.sample(0, 400).tokens, one.sample(1, 400).tokens
    assert not np.array_equal(*tokens)
    facts = known(one.split.graph)
    for row, target in zip(*one.sample(1, 60)):
        asked = one.questions_of(row[None])[0]
        if asked[2] < 0:
            assert facts[asked[0], asked[1] - 40] == target[2]


def test_errors_are_told_by_the_sort_of_facts():
    task = make_task(SMALL)
    items = np.concatenate([task.split.held[:6], task.split.apart[:4]])
    examples = task._laid(task.asked(items), task.replies(task.asked(items)))
    said = examples.targets.copy()
    said[:3] += 1
    said[6:7] += 1
    found = task.figures(task.priced({"ids": said}, Examples(*examples)).sum(0).astype(float), 10.0)
    assert found["error at facts composed"] == 0.5 and found["error at facts apart"] == 0.25


def test_what_lies_between_may_be_said():
    """A derivation names the entity in the middle; a fact has none."""
    task = make_task(f"{SMALL},trace=yes")
    items = np.concatenate([task.split.trained[:5], task.split.facts[:5]])
    replies = task.replies(task.asked(items))
    facts = known(task.split.graph)
    for (h, r1, r2), said in zip(items.tolist(), replies.tolist()):
        between = facts[h, r1]
        assert said == ([-1, -1, between] if r2 < 0 else [between, task.mark, facts[between, r2]])


@pytest.mark.parametrize("text", [SMALL, f"{SMALL},trace=True"])
def test_a_model_is_right_exactly_where_it_writes_the_reply(text):
    """What greedy decoding writes behind a question is what the score takes for right."""
    hold_what_is_written(make_task(text))


def test_exams_of_the_study_are_large_and_its_graphs_differ_in_one_thing():
    """Two hundred items or more tell an accuracy within 0.07; many and added have as many facts and items, few and
    added the same questions."""
    few, many, added = (make_task(study.task_of(graph)) for graph in study.GRAPHS)
    for task in (few, many, added):
        exam = rows(task.questions_of(hold_out(task).exams["final"].tokens) - 50 * (np.arange(3) > 0))
        composed = len(exam & rows(task.split.held))
        assert composed >= 200 and 1.96 * (0.25 / composed) ** 0.5 < 0.07
    assert (
        rows(few.split.held) == rows(added.split.held)
        and known(few.split.graph).items() < known(added.split.graph).items()
    )
    assert len(many.split.facts) == len(added.split.facts) == 500 and few.phi < 2
    assert many.phi == added.phi == pytest.approx(8, rel=0.01)


def test_all_that_training_shows_is_there_once():
    """Facts and what follows, none of the exam."""
    task = make_task(SMALL)
    tokens, targets = task.everything()
    questions = task.questions_of(tokens) - 40 * (np.arange(3) > 0)
    shown = {tuple(-1 if x < 0 else x for x in row) for row in np.where(questions < 0, -1, questions).tolist()}
    assert shown == rows(task.split.facts) | rows(task.split.trained) and len(shown) == len(tokens)
    assert np.array_equal(task.solve(tokens)[targets >= 0], targets[targets >= 0])


def test_the_study_counts_what_was_learned_of_its_training():
    """A model that knows every answer but to one item in ten errs on a tenth."""
    seen = {}

    def trained(graph, arm):
        task = make_task(study.task_of(graph))
        tokens, targets = task.everything()
        known_rows = {tuple(row): said for row, said in zip(tokens.tolist(), targets)}

        def model(batch):
            assert isinstance(batch, Batch) and arm == "own"
            said = np.stack([known_rows[tuple(row)] for row in batch.tokens.tolist()]).clip(0)
            said[::10] += targets[::10] >= 0  # another one, where something is asked
            seen[graph] = -(-len(said) // 10) / len(said)
            return SimpleNamespace(logits=torch.nn.functional.one_hot(torch.from_numpy(said), task.vocab))

        return model

    assert study.trained_on(Given(0, "small", trained)) == pytest.approx(seen) and len(seen) == 3


def test_what_added_facts_gain_is_told_seed_by_seed():
    """A seed in which true facts gain nothing leaves it open."""
    judge = study.recovers("own", 0.5).judge

    def report(*errors):
        return SimpleNamespace(arm=lambda _: SimpleNamespace(also=[{study.COMPOSED: error} for error in errors]))

    assert judge(report(0.9, 0.9), report(0.1, 0.1), report(0.3, 0.5)) == (HOLDS, pytest.approx(0.625), 0.5)
    assert judge(report(0.9, 0.9), report(0.1, 0.9), report(0.3, 0.5)).verdict == OPEN
    assert judge(report(0.9, 0.9), report(0.1, 0.1), report(0.8, 0.9)).verdict == FAILS
