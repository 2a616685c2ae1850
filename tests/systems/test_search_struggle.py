"""What must hold of searching graphs: sets that merge, measured lookahead, sets of answers, edges in any order."""

import itertools

import numpy as np
import pytest
import torch
from system_cases import gap, model, normal, part

import blockyard as by
from blockyard.core.draw import Draw
from blockyard.predictor.search import distances, doubled, lookahead, within
from blockyard.probe import weight_tracing_probe
from blockyard.task import make_task
from blockyard.task._base import Examples
from blockyard.task._check import score
from blockyard.task._dags import balanced, forks, naive

nx = pytest.importorskip("networkx")
SORTS = {"balanced": make_task("graph_search"), "naive": make_task("graph_search:graphs=naive,vertices=12")}
HARD = "graph_search:vertices=14,lookahead=3,paths=3,walked=2,names=16"


def random_graphs(rows=30, count=9, share=0.18, seed=0):
    """Directed graphs with circles."""
    return np.random.default_rng(seed).random((rows, count, count)) < share


def graph(edges):
    """One of them in networkx."""
    return nx.from_numpy_array(edges.astype(int), create_using=nx.DiGraph)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_doubled_sets_are_as_many_steps(times):
    """(1) Three squarings of I + A are eight steps one after another, and no step more."""
    edges = random_graphs(share=0.12, count=14)
    assert np.array_equal(doubled(edges, times), within(edges, 2**times))
    assert not np.array_equal(doubled(edges, times), within(edges, 2**times + 1))
    line = np.eye(12, k=1, dtype=bool)[None]
    assert doubled(line, 3)[0, 0].sum() == 9


def test_reach_and_distance_are_those_of_networkx():
    """(4) The steps between all pairs; as many as there are vertices where there is no way."""
    edges = random_graphs()
    for one, far in zip(edges, distances(edges)):
        expected = np.full((9, 9), 9)
        for source, targets in nx.all_pairs_shortest_path_length(graph(one)):
            expected[source, list(targets)] = list(targets.values())
        np.fill_diagonal(expected, 0)
        assert np.array_equal(far, expected)


@pytest.mark.parametrize("paths", [2, 3])
def test_lookahead_is_what_was_asked_for(paths):
    """(2) Of balanced graphs without further vertices; with them it may be less, and is measured."""
    made, used = forks(Draw(0, 200), 22, 2, 3, paths)
    at = made.path[:, -1]
    assert (made.edges.sum((1, 2)) == used - 1).all() and (made.edges[np.arange(200), at].sum(1) == paths).all()
    found = lookahead(made.edges, at, made.goal)
    assert np.array_equal(found, distances(made.edges)[np.arange(200), at, made.goal])
    assert np.abs(np.bincount(found, minlength=4) / 200 - [0, 1 / 3, 1 / 3, 1 / 3]).max() < 0.12
    grown = balanced(Draw(0, 200), 22, 3, 2, 3, paths)
    assert (grown.edges >= made.edges).all() and np.array_equal(grown.goal, made.goal)
    longer = lookahead(grown.edges, at, made.goal)
    assert (longer <= found).all() and 0 < (longer < found).mean() < 0.5


def test_lookahead_counts_until_one_branch_is_left():
    """(2) The goal is four edges off: a branch of two has ended at depth three, and five are longer than the way."""
    for other, expected in ((1, 2), (2, 3), (5, 4)):
        edges = np.zeros((1, 12, 12), bool)
        way = [0, 1, 2, 3, 4]
        wrong = [0, *range(5, 5 + other)]
        for each in (way, wrong):
            edges[0, each[:-1], each[1:]] = True
        assert lookahead(edges, np.array([0]), np.array([4])).tolist() == [expected]
    edges[0, 0, 5] = False
    assert lookahead(edges, np.array([0]), np.array([4])).tolist() == [0]


@pytest.mark.parametrize("sort", SORTS)
def test_graphs_have_no_circles(sort):
    """(3) And the goal is reached from where one stands, which is not the goal; no edge is a vertex's own."""
    task = SORTS[sort]
    for one, at, goal in zip(*task.read(task.sample(0, 60).tokens)):
        made = graph(one)
        assert nx.is_directed_acyclic_graph(made) and at != goal and nx.has_path(made, at, goal)


def test_further_vertices_make_no_circles():
    """(3) However many edges they come with."""
    made = balanced(Draw(0, 80), 16, 4, 3, 2, 2)
    assert all(nx.is_directed_acyclic_graph(graph(one)) for one in made.edges)
    assert made.edges.sum((1, 2)).max() > 20
    assert all(nx.is_directed_acyclic_graph(graph(one)) for one in naive(Draw(0, 80), 14, 4, 0).edges)


@pytest.mark.parametrize("text", ["graph_search", "graph_search:graphs=naive,vertices=12,parents=3", HARD])
def test_answers_lie_on_shortest_paths(text):
    """(4) All of them are right and no other vertex is; training is told one of them."""
    task = make_task(text)
    tokens, targets = task.sample(1, 80)
    edges, at, goal = task.read(tokens)
    right, several = task.right(tokens), 0
    for one, v, g, said, told in zip(edges, at, goal, right, targets[:, -1]):
        ways = list(nx.all_shortest_paths(graph(one), v, g))
        assert set(np.flatnonzero(said).tolist()) == {way[1] for way in ways} and said[told]
        several += len({way[1] for way in ways}) > 1
    assert several or text == HARD
    assert (targets[:, :-1] == -1).all()


def test_every_right_answer_is_scored_as_right():
    """(4) Also the one that training was not told; and a sign is none."""
    task = make_task("graph_search:graphs=naive,vertices=12,parents=3")
    examples = task.sample(1, 400)
    right = task.right(examples.tokens)
    rows = right.sum(1) > 1
    last = np.where(right, np.arange(12), -1).max(1)
    said = np.zeros_like(examples.tokens)
    said[:, -1] = last
    assert rows.sum() > 10 and (last[rows] != examples.targets[rows, -1]).any()
    assert score(task, lambda _: said, examples) == 0.0 and score(task, lambda _: said + 4, examples) > 0.5


@pytest.mark.parametrize("sort", SORTS)
def test_other_names_give_other_answers_alike(sort):
    """(5) Renamed vertices have the renamed answers, and how far must be looked ahead is the same."""
    task, draw = SORTS[sort], np.random.default_rng(0)
    tokens = task.sample(0, 60).tokens
    names = draw.permutation(task._names)
    renamed = np.where(tokens < task._names, names[tokens % task._names], tokens)
    assert np.array_equal(task.right(renamed)[:, names], task.right(tokens))
    assert np.array_equal(task.measured(renamed), task.measured(tokens))


def test_names_say_nothing_of_the_graph():
    """(5) Start, goal and answer are as often any name."""
    task = SORTS["balanced"]
    tokens, targets = task.sample(0, 2000)
    for ids in (tokens[:, -1], tokens[:, -3], targets[:, -1]):
        assert np.abs(np.bincount(ids, minlength=10) / 2000 - 0.1).max() < 0.03


@torch.no_grad()
def test_without_positions_the_order_of_edges_is_nothing():
    """(6) Where edges are one token each, and all see all; with positions it is something."""
    x = normal(2, 12, 16)
    mixed = torch.cat([x[:, torch.randperm(11, generator=torch.Generator().manual_seed(0))], x[:, 11:]], 1)
    for position, alike in ((None, True), ("rope", False)):
        made = part("mixer:attention", heads=2, position=position, causal=False)
        off = (made(x)[0][:, -1] - made(mixed)[0][:, -1]).abs().max()
        assert off < 1e-12 if alike else off > 1e-3


def test_the_order_of_edges_is_nothing_to_the_answer():
    """(6) Nor to what must be looked ahead."""
    task = SORTS["balanced"]
    tokens = task.sample(0, 50).tokens
    edges = tokens[:, :-5].reshape(50, -1, 3)
    filled = np.argsort(edges[:, :, 0] == task.edge, axis=1, kind="stable")
    turned = np.take_along_axis(edges, filled[:, :, None], 1)[:, ::-1].reshape(50, -1)
    other = np.concatenate([turned, tokens[:, -5:]], 1)
    assert not np.array_equal(other, tokens)
    assert np.array_equal(task.right(other), task.right(tokens))
    assert np.array_equal(task.measured(other), task.measured(tokens))


@pytest.mark.parametrize("sort", SORTS)
def test_rows_hardly_ever_come_twice(sort):
    """(7) Fewer than one in a hundred of ten thousand."""
    tokens = SORTS[sort].sample(5, 10_000).tokens
    assert len({row.tobytes() for row in tokens}) > 9_900


def test_balanced_graphs_ask_for_more_lookahead():
    """Naive ones mostly need none or one; of balanced ones every depth is frequent. Exams can be of the other sort."""
    few, many = (
        np.bincount(task.measured(task.sample(0, 1500).tokens), minlength=5)[:5] / 1500
        for task in (make_task("graph_search:graphs=naive"), SORTS["balanced"])
    )
    assert few[:2].sum() > 0.55 and few[3] < 0.12 and many[3] > 0.2 and many[:2].sum() < 0.45, (few, many)
    crossed = make_task("graph_search:graphs=naive,scored=balanced")
    assert repr(crossed.scored_on) == repr(make_task("graph_search"))


def test_errors_are_told_by_lookahead():
    task = SORTS["balanced"]
    examples = task.sample(0, 300)
    deep = task.measured(examples.tokens)
    said = np.where(deep[:, None] == 3, task.query, examples.targets)
    found = task.figures(task.priced({"ids": said}, Examples(*examples)).sum(0).astype(float), 300.0)
    assert [found[f"error at lookahead {k}"] for k in (1, 2, 3)] == [0, 0, 1]
    assert score(task, task.predictors()["any edge"], examples) > 0.3


def test_ways_gone_so_far_are_ways():
    """They lead from the start to where one stands."""
    task = make_task(HARD)
    tokens = task.sample(2, 100).tokens
    edges, at, _ = task.read(tokens)
    long = 0
    for row, one, v in zip(tokens.tolist(), edges, at):
        way, start = row[row.index(task.way) + 1 :], row[row.index(task.query) + 1]
        assert way[0] == start and way[-1] == v and all(one[a, b] for a, b in itertools.pairwise(way))
        long += len(way) > 1
    assert long > 30


@torch.no_grad()
def test_tokens_and_places_lie_side_by_side():
    """The same token has the same first channels wherever it stands, the same place the same last ones."""
    made = model("llama", **{"stem": "concat_positions", "stem.places": 12, "head.tied": False, "mixer.position": None})
    ids = torch.tensor([[3, 5, 3, 3], [7, 3, 5, 5]])
    x = made.start(ids).x
    assert gap(x[0, 0, :-12], x[0, 2, :-12]) == gap(x[0, 0, :-12], x[1, 1, :-12]) == 0
    assert gap(x[0, :, -12:], x[1, :, -12:]) == 0
    assert (x[0, 0, :-12] - x[0, 1, :-12]).abs().max() > 1e-2 < (x[0, 0, -12:] - x[0, 1, -12:]).abs().max()
    stem = made.stem
    assert gap(x, torch.cat([stem.tokens[ids], stem.places[:4].expand(2, 4, 12)], -1)) == 0


def test_places_that_were_not_learned_are_refused():
    made = by.build("llama", "tiny", **{"stem": "concat_positions", "stem.length": 8, "head.tied": False})
    with pytest.raises(by.UsageError, match="learned up to 8"):
        made(torch.zeros(1, 9, dtype=torch.int64))
    with pytest.raises(by.UsageError, match="leave no channels"):
        by.build("llama", "tiny", **{"stem": "concat_positions", "stem.places": 32, "head.tied": False})


@pytest.mark.parametrize("text, says", [
    ("graphs=wild", "one of balanced, naive"), ("lookahead=5", "need 12 to 64"), ("names=4", "too few for 10"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(text, says):
    with pytest.raises(by.UsageError, match=says):
        make_task(f"graph_search:{text}")


@torch.no_grad()
def test_restored_weights_are_those_that_were_put_back():
    """Each entry by hand, in float64: its change, and what the answer gets back with this weight alone."""
    made = model("llama", layers=2)
    ids, other = torch.randint(0, 256, (2, 2, 7), generator=torch.Generator().manual_seed(0))
    found = weight_tracing_probe(made, ids, other, top=2)
    paths = ["steps.0.part", "steps.2.part"]
    read = {f"{path}:weights": "read" for path in paths}
    one, two = (made(each, points=read) for each in (ids, other))
    right = one.logits[:, -1].argmax(-1)
    for row in range(2):
        wrong = next(i for i in two.logits[row, -1].argsort(descending=True).tolist() if i != right[row])
        gaps = [float(each.logits[row, -1, right[row]] - each.logits[row, -1, wrong]) for each in (one, two)]
        assert found["gap"][row] == pytest.approx(gaps)
        for (_, _, path, _), clean in one.captures.items():
            base = next(value for key, value in two.captures.items() if key[2] == path)
            change = (clean - base)[row]
            for (h, t, s), shift, share in zip(
                *(found[f"{path}:{name}"][row] for name in ("entry", "change", "restored"))
            ):
                assert float(change[h, t, s]) == pytest.approx(shift)
                mixed = base[row : row + 1].clone()
                mixed[0, h, t, s] = clean[row, h, t, s]
                out = made(other[row : row + 1], points={f"{path}:weights": lambda _, new=mixed: new}).logits[0, -1]
                assert (float(out[right[row]] - out[wrong]) - gaps[1]) / (gaps[0] - gaps[1]) == pytest.approx(share)
            assert abs(found[f"{path}:change"][row, 0]) == pytest.approx(float(change.abs().max()))


def test_rows_of_another_length_are_no_base():
    with pytest.raises(by.UsageError, match="same length"):
        weight_tracing_probe(by.build("llama", "tiny"), torch.zeros(2, 5), torch.zeros(2, 6))
