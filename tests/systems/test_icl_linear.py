"""What must hold of linear regression in context: rules, the layer that is a step of one of them, and the probes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from system_cases import F64, gap, normal

import blockyard as by
from blockyard.core import Batch, Spec, UsageError
from blockyard.core.spec import block, depth, head, mixer, norm, residual, stem
from blockyard.core.spec import model as model_of
from blockyard.parts.mixer.linear.linear_attention import descend
from blockyard.predictor import (
    along,
    gradient_steps,
    implied_weights,
    inverse,
    least_squares,
    nearest,
    one_pass,
    one_step,
    recursive,
    ridge,
    rules,
    squared_difference,
    weight_difference,
)
from blockyard.probe import imitation_probe, readout_probe
from blockyard.probe.imitation import closest
from blockyard.probe.readout import explained
from blockyard.task import Examples, make_task
from blockyard.task._exercise import Exercise
from blockyard.task.regression import Regression

D = 4


def draws(n, rows=6, dim=D, noise=0.0, seed=0):
    """x (rows,n,dim), y (rows,n), w (rows,dim)."""
    draw = np.random.default_rng(seed)
    x, w = draw.normal(size=(rows, n, dim)), draw.normal(size=(rows, dim))
    return x, (x * w[:, None]).sum(-1) + noise * draw.normal(size=(rows, n)), w


def descending(layers, rate, n, *, causal=False, dim=D):
    """A model of linear attention alone whose tokens are (y, x) and whose every layer is a step."""
    spec = model_of(
        dim=dim + 1, stem=stem("frames", channels=dim + 1), causal=causal,
        blocks=(block("step", mixer("linear_attention", heads=1)),), residual=residual("prenorm", norm=norm("none")),
        depth=depth("stack", layers=layers), head=head("values", norm=None),
    )  # fmt: skip
    made = by.build(spec).double()
    with torch.no_grad():
        made.stem.proj.weight.copy_(torch.eye(dim + 1))
        made.stem.proj.bias.zero_()
        made.head.proj.weight.zero_()
        made.head.proj.weight[0, 0] = 1
        made.head.proj.bias.zero_()
    for step in made.steps:
        descend(step.part, rate, n, range(1, dim + 1), 0)
    return made


def context(x, y, query, *, hidden=True):
    """Tokens (y_i, x_i) and last (0, query), which is no key."""
    last = np.pad(query[:, None], ((0, 0), (0, 0), (1, 0)))
    tokens = np.concatenate([np.concatenate([y[..., None], x], -1), last], 1)
    valid = torch.ones(tokens.shape[:2], dtype=torch.bool)
    valid[:, -1] = not hidden
    return Batch(torch.from_numpy(tokens), valid=valid)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_layers_of_linear_attention_are_steps_of_gradient_descent(layers):
    """(1) one layer is one step, four are four; the context's row is y - X w_m and the query's is minus w_m.x."""
    n, rate = 9, 0.3
    x, y, _ = draws(n, noise=0.5)
    query = draws(1, seed=1)[0][:, 0]
    w = np.zeros((len(x), D))
    for _ in range(layers):
        w = w + rate / n * np.einsum("bnd,bn->bd", x, y - np.einsum("bnd,bd->bn", x, w))
    assert np.abs(gradient_steps(x, y, layers, rate) - w).max() < 1e-12
    said = descending(layers, rate, n)(context(x, y, query)).prediction["values"][..., 0].numpy()
    assert np.abs(said[:, :-1] - (y - np.einsum("bnd,bd->bn", x, w))).max() < 1e-12
    assert np.abs(said[:, -1] + (query * w).sum(-1)).max() < 1e-12 < 0.1 < np.abs(said[:, -1]).max()


@torch.no_grad()
def test_the_query_must_not_be_a_key():
    """(1) a query that is read changes nothing in one layer, where its y is 0, and breaks the second step."""
    x, y, _ = draws(9)
    query = draws(1, seed=1)[0][:, 0]
    for layers, same in ((1, True), (2, False)):
        made = descending(layers, 0.3, 9)
        a, b = (made(context(x, y, query, hidden=each)).prediction["values"] for each in (True, False))
        assert (gap(a, b) < 1e-12) is same


@torch.no_grad()
def test_from_left_to_right_the_last_token_sees_one_step():
    """(1) a causal layer gives the query behind n pairs the same step."""
    x, y, _ = draws(9)
    query = draws(1, seed=1)[0][:, 0]
    said = descending(1, 0.3, 9, causal=True)(context(x, y, query)).prediction["values"][:, -1, 0].numpy()
    assert np.abs(said + (query * gradient_steps(x, y, 1, 0.3)).sum(-1)).max() < 1e-12


def test_a_layer_that_cannot_hold_a_step_is_refused():
    for settings in (dict(heads=2), dict(heads=1, key_dim=2), dict(heads=1, activation="silu")):
        with pytest.raises(UsageError, match="one head of 4 channels or more"):
            descend(by.make("mixer:linear_attention", dim=6, **settings), 0.1, 5, range(4), 4)


@torch.no_grad()
def test_linear_attention_is_its_sum():
    """(1) y_t = sum_s v_s (k_s.q_t) scale over the tokens up to t of its segment, or over all of it."""
    segment = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    x = normal(1, 7, 6)
    for causal in (True, False):
        made = by.make("mixer:linear_attention", dim=6, causal=causal, heads=2, scale=0.7).double()
        call, _ = Batch(x[..., 0], segment=segment).call(None, causal=causal)
        q, k, v = made.layout.split(made.proj(x, None))
        expected = torch.zeros(1, 7, 2, 3, dtype=F64)
        for t in range(7):
            for s in range(7):
                if segment[0, s] == segment[0, t] and (s <= t or not causal):
                    expected[:, t] += v[:, s] * (k[:, s] * q[:, t]).sum(-1, keepdim=True) * 0.7
        y, _ = made(x, call._replace(dtype=F64), None)
        assert gap(y, made.out(expected.flatten(2), None)) < 1e-12


@pytest.mark.parametrize("n", [0, 1, D - 1, 3 * D])
def test_the_recursive_inverse(n):
    """(2) one example at a time gives (X'X + lam I)^-1, and with it the ridge."""
    x, y, _ = draws(n, noise=0.3)
    exact = np.linalg.inv(np.einsum("bni,bnj->bij", x, x) + 0.37 * np.eye(D))
    assert np.abs(inverse(x, 0.37) - exact).max() < 1e-12
    assert np.abs(recursive(x, y, 0.37) - ridge(x, y, 0.37)).max() < 1e-11
    assert n == 0 or np.abs(inverse(x, 0.36) - exact).max() > 1e-4


@pytest.mark.parametrize("n", [D - 2, 3 * D])
def test_many_steps_reach_the_least_squares(n):
    """(3) with more examples than numbers the least squares, with fewer the shortest of all that explain them."""
    x, y, _ = draws(n, noise=0.5)
    w = gradient_steps(x, y, 20000, 0.15)
    assert np.abs(w - np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(x, y)])).max() < 1e-6
    assert np.abs(least_squares(x, y) - w).max() < 1e-6 < 1e-3 < np.abs(gradient_steps(x, y, 3, 0.15) - w).max()
    if n < D:
        assert np.abs(np.einsum("bnd,bd->bn", x, w) - y).max() < 1e-6
        free = np.linalg.svd(x)[2][:, n:]  # directions that no example says anything of
        assert np.abs(np.einsum("bkd,bd->bk", free, w)).max() < 1e-12


@pytest.mark.parametrize("n", [2, 3 * D])
def test_the_ridge_of_the_noise_is_the_posterior_mean(n):
    """(4) lam = s^2: the mean of w given y, from the joint normal distribution of w and y."""
    noise = 0.5
    x, y, _ = draws(n, noise=noise)
    spread = np.einsum("bid,bjd->bij", x, x) + noise**2 * np.eye(n)  # of y
    mean = np.einsum("bnd,bn->bd", x, np.linalg.solve(spread, y[..., None])[..., 0])
    assert np.abs(ridge(x, y, noise**2) - mean).max() < 1e-12
    assert np.abs(ridge(x, y, noise) - mean).max() > 1e-3
    assert np.abs(ridge(x, y, 0.0) - least_squares(x, y)).max() == 0


def test_no_rule_beats_the_ridge_on_average():
    """(4) and one step is at the best of its rates."""
    x, y, w = draws(6, rows=4000, noise=0.5)
    error = lambda guess: np.square(guess - w).sum(-1).mean()  # noqa: E731
    assert error(ridge(x, y, 0.25)) < min(error(ridge(x, y, 0.1)), error(ridge(x, y, 0.6)), error(one_step(x, y, 0.5)))
    best, n = 6 / (6 + D + 1 + 0.25), 6
    assert np.abs(one_step(x, y, 0.5) - gradient_steps(x, y, 1, best)).max() < 1e-14
    assert error(one_step(x, y, 0.5)) < min(error(gradient_steps(x, y, 1, best * f)) for f in (0.9, 1.1))
    assert n == x.shape[1]


def test_the_squared_difference_is_one():
    """(5) SPD(f,f) = 0, symmetric, a figure for every number of examples."""
    x, y, _ = draws(7, noise=0.5)
    said = {name: along(rule, x, y) for name, rule in rules(0.5).items()}
    for a in said.values():
        assert (squared_difference(a, a) == 0).all()
        for b in said.values():
            assert np.array_equal(squared_difference(a, b), squared_difference(b, a))
    apart = squared_difference(said["ridge"], said["nearest"])
    assert apart.shape == (7,) and apart[0] == 0 and (apart[1:] > 0.01).all()
    assert apart[3] == pytest.approx(np.mean([(a[3] - b[3]) ** 2 for a, b in zip(said["ridge"], said["nearest"])]))


def test_the_weights_behind_linear_predictions_are_found():
    """(6) ILWD: a predictor that is linear gives its w to 1e-8, one that is not says how much is left."""
    x, y, _ = draws(5, noise=0.5)
    queries = np.random.default_rng(3).normal(size=(6, 20, D))
    w = ridge(x, y, 0.25)
    found, left = implied_weights(queries, np.einsum("bqd,bd->bq", queries, w))
    assert np.abs(found - w).max() < 1e-8 and left.max() < 1e-12
    assert weight_difference(found, w) < 1e-12 < weight_difference(found, least_squares(x, y))
    assert weight_difference(w, w + 0.5) == pytest.approx(D * 0.25)
    assert implied_weights(queries, nearest(x, y, queries, 2))[1].min() > 0.05


def test_one_pass_and_neighbours_by_hand():
    """(5) the rules that have no closed form, on an example that can be followed."""
    x, y = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([2.0, 1.0])
    assert np.allclose(one_pass(x, y, 0.5), [1.0 + 0.5 * 0.0, 0.0])  # the second is explained by the first step
    assert np.allclose(one_pass(x, np.array([2.0, 3.0]), 0.5), [2.0, 1.0])
    queries = np.array([[1.0, 0.25], [1.0, 0.0]])
    said = nearest(x, y, queries, 2)
    assert np.allclose(said, [(2 / 0.25 + 1 / 0.75) / (1 / 0.25 + 1 / 0.75), 2.0])
    assert np.allclose(nearest(x, y, queries, 1), [2.0, 2.0]) and (nearest(x[:0], y[:0], queries, 3) == 0).all()


def test_rules_read_nothing_that_comes_later():
    """(5) what is said at x_i rests on the pairs before it: the y of its own place is never read."""
    x, y, _ = draws(6, noise=0.5)
    for rule in rules(0.5).values():
        said, other = along(rule, x, y), y.copy()
        other[:, 3:] += 7
        assert np.array_equal(along(rule, x, other)[:, :4], said[:, :4])


def test_rules_agree_with_scikit_learn():
    """(4) an oracle: ridge and neighbours as others have them."""
    linear, near = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.neighbors")
    x, y, _ = draws(9, noise=0.5)
    queries = np.random.default_rng(5).normal(size=(6, 3, D))
    for row in range(6):
        fitted = linear.Ridge(alpha=0.25, fit_intercept=False).fit(x[row], y[row])
        assert np.abs(fitted.coef_ - ridge(x, y, 0.25)[row]).max() < 1e-10
        votes = near.KNeighborsRegressor(3, weights="distance").fit(x[row], y[row])
        assert np.abs(votes.predict(queries[row]) - nearest(x, y, queries, 3)[row]).max() < 1e-10


def test_an_example_asks_at_its_vectors():
    """(5) y_i stands behind x_i, is asked at x_i, and without noise one w explains all of them."""
    task = make_task("regression:dim=3,points=8,noise=0")
    tokens, targets = task.sample(4, 50)
    assert tokens.shape == (50, 16, 4) and targets.shape == (50, 16, 1) and np.isnan(targets[:, 1::2]).all()
    assert np.array_equal(tokens[:, 1::2, 0], targets[:, ::2, 0])
    assert not tokens[:, ::2, 0].any() and not tokens[:, 1::2, 1:].any()
    x, y = tokens[:, ::2, 1:].astype(float), targets[:, ::2, 0].astype(float)
    assert np.abs((x * least_squares(x, y)[:, None]).sum(-1) - y).max() < 1e-5
    many = make_task("regression:dim=3,points=8,noise=2").sample(4, 4000)
    assert many.targets[:, ::2].var() == pytest.approx(3 + 4, rel=0.05)
    x, y = many.tokens[:, ::2, 1:].reshape(-1), many.targets[:, ::2]
    assert x.std() == pytest.approx(1, abs=0.02) and abs(y.mean()) < 0.1
    assert (x**4).mean() == pytest.approx(3, abs=0.1)  # normal


def test_scores_are_shares_of_the_variance_by_examples_seen():
    """(5) of each number of examples by itself; differences to rules where twice as many are seen as numbers asked."""
    task = make_task("regression:dim=2,points=7,noise=1")
    shown = task.sample(1, 400)
    assert isinstance(task, Regression)
    spent = task.priced({"values": np.zeros((400, 14, 1))}, shown)
    asked = float(task.questions(shown.targets).sum())
    assert asked == 400 * 7 and spent.shape == (400, 1 + 7 + 5)
    y = shown.targets[:, ::2, 0].astype(float)
    assert np.allclose(spent[:, 0], np.square(y).sum(1) / 3) and np.allclose(spent[:, 1:8], np.square(y) / 3)
    told = task.figures(spent.sum(0), asked)
    assert set(told) == {each.name for each in task.also}
    assert told["error after 4"] == pytest.approx(np.square(y[:, 4]).mean() / 3)
    ruled = task.predictors()["one step"](shown.tokens)["values"][:, 8, 0]
    assert told["from one step"] == pytest.approx(np.square(ruled).mean() / 3)
    assert task.figures(task.priced(task.predictors()["one step"](shown.tokens), shown).sum(0), asked)[
        "from one step"
    ] == pytest.approx(0, abs=1e-20)


def test_a_page_shows_the_error_beside_the_rules():
    """(5) by the number of examples seen, and the difference to every rule."""
    task = Exercise("regression", make_task("regression:dim=2,points=5,noise=1"))
    ruled = task.task.predictors()["oracle"]
    exam, pieces = task.exam("final", 10), []

    def predict(rows):
        pieces.append(len(rows["tokens"]))
        return ruled(rows["tokens"])

    error, apart = task.exhibits(predict, exam)
    assert sum(pieces) == len(exam) and max(pieces) == 64
    rows = exam.take(slice(0, 3))
    said = {name: torch.from_numpy(each) for name, each in ruled(rows["tokens"]).items()}
    priced = task.amounts(said, Batch(*(torch.from_numpy(rows[name]) for name in ("tokens", "targets"))))
    assert priced.dtype == F64 and np.allclose(priced, task.task.priced(ruled(rows["tokens"]), Examples(**rows)))
    assert (error.title[:8], apart.title[:10]) == ("Error by", "Which rule") and error.x == apart.x == "examples seen"
    assert [line.name for line in error.lines] == ["model", *rules(1.0)] and error.lines[0].y == error.lines[1].y
    assert error.lines[0].x == [0, 1, 2, 3, 4] and error.lines[0].y[4] < error.lines[0].y[0]
    assert None in error.lines[3].y  # least squares leave the picture where examples are as many as numbers
    assert [line.name for line in apart.lines] == [name for name in rules(1.0) if name != "zero"]
    assert apart.lines[0].y == [0] * 5 and max(apart.lines[3].y) > 0.01
    assert task.training == (task.metric.unit, 1 / 3) and task.usual == Regression.usual


@pytest.mark.parametrize("name", ["llama", "gla", "gpt2", "bert"])
def test_any_recipe_takes_part_and_sees_no_number_before_it_is_asked(name):
    """(5) y_i and what follows change nothing at x_i, in a recipe that reads both ways elsewhere, too."""
    task = Exercise("regression", make_task("regression:dim=3,points=5"))
    system = task.fit(by.spec(name, "tiny"))
    assert system["model"]["stem"].name == "frames" and system["model"]["head"].name == "values"
    made = by.build(system).double()
    tokens = torch.from_numpy(task.held.exams["tune"].tokens[:2]).double()
    with torch.no_grad():
        said = made(Batch(tokens)).prediction["values"]
        other = torch.cat([tokens[:, :5], 3 + tokens[:, 5:]], 1)
        assert said.shape == (2, 10, 1) and gap(made(Batch(other)).prediction["values"][:, :5], said[:, :5]) < 1e-9
    positions = by.spec(name, "tiny")["model"]["stem"].get("position")
    assert (positions is not None) == (name in ("gpt2", "bert"))
    assert system["model"]["stem"].get("position") == positions


class Ruled(torch.nn.Module):
    """Says at every x what a rule says."""

    def __init__(self, rule):
        super().__init__()
        self.rule, self.like = rule, torch.nn.Parameter(torch.zeros(1, dtype=F64))

    def forward(self, batch):
        rows = batch.tokens.numpy()
        length = rows.shape[1] + rows.shape[1] % 2
        rows = np.pad(rows, ((0, 0), (0, length - rows.shape[1]), (0, 0)))
        values = np.full((*batch.tokens.shape[:2], 1), 99.0)
        values[:, ::2, 0] = along(self.rule, rows[:, ::2, 1:], rows[:, 1::2, 0])
        return SimpleNamespace(prediction={"values": torch.from_numpy(values)})


@pytest.mark.parametrize("name", ["ridge", "least squares", "one step", "nearest"])
def test_the_probe_knows_a_rule_that_is_followed(name):
    """(6) the closest rule, a difference of 0 to it, and its weights where it has some; y places are not read."""
    shown = make_task("regression:dim=3,points=6").sample(2, 40)
    found = imitation_probe(Ruled(rules(0.5)[name]), shown.tokens, contexts=3)
    assert closest(found)[1:] == [name] * 5 and found[f"from {name}"].max() < 1e-20
    others = [other for other in rules(0.5) if other not in (name, "zero")]
    assert min(found[f"from {other}"][3] for other in others) > 1e-4
    y = shown.targets[:, ::2, 0].astype(float)
    assert found["error"][0] == pytest.approx(np.square(y[:, 0]).mean() / np.square(y).mean())
    if name == "nearest":
        assert "weights nearest" not in found and found["unexplained"][2:].min() > 0.01
    else:
        assert found[f"weights {name}"].max() < 1e-12 and found["unexplained"].max() < 1e-12
        other = "one step" if name == "ridge" else "ridge"
        assert found[f"weights {other}"].shape == (6,) and found[f"weights {other}"][2] > 1e-3


def test_weights_are_read_where_they_are_and_not_where_they_are_not():
    """(6) a readout finds what one place of the stream holds; of other rows' weights it finds nothing."""
    _, _, w = draws(3, rows=240)
    goal = torch.from_numpy(w)
    h = normal(240, 4, 6)
    assert explained(h, goal, None, 5, 0) < 0.05
    h[:, 3, :D] = goal @ normal(D, D, seed=4)
    assert explained(h, goal, None, 40, 0) > 0.9 and explained(h, goal.roll(1, 0), None, 5, 0) < 0.05
    folded, h[:, 3, :2] = goal[:, :2].abs(), goal[:, :2]
    deep, flat = explained(h, folded, 16, 150, 0), explained(h, folded, None, 5, 0)
    assert flat < 0.1 < 0.5 < deep and explained(h, folded, 16, 150, 0) == deep


def test_the_readout_goes_through_the_layers():
    """(6) a figure and its control for the stem and every step; a stem that shows single numbers tells no weights."""
    task = make_task("regression:dim=2,points=6,noise=0")
    system = Exercise("", task).fit(by.spec("gla", "tiny"))
    found = readout_probe(by.build(system), task.sample(0, 64).tokens, steps=4)
    paths = ["stem", *(f"steps.{i}.part" for i in range(4))]
    assert list(found) == [f"{p}:{n}{s}" for p in paths for n in ("products", "weights") for s in ("", " shuffled")]
    assert all(each.shape == () and each < 0.6 for each in found.values())


@pytest.mark.parametrize("shape", [(4, 6), (3, 5, 4), (3, 2, 4), (3, 6, 1)])
def test_what_is_no_row_of_pairs_is_refused(shape):
    with pytest.raises(UsageError, match="rows"):
        imitation_probe(Ruled(rules(0.5)["ridge"]), np.zeros(shape))
    with pytest.raises(UsageError, match="4 or more, not 3"):
        readout_probe(Ruled(rules(0.5)["ridge"]), np.zeros((3, 6, 4)))


def test_a_model_that_sees_ahead_is_refused(monkeypatch):
    from blockyard.compare.plan.plan import Request, make_plan

    make_plan(Request(("llama", "gla"), task="regression", params="30k", tokens="2k", seeds=2, tuning="none"))
    monkeypatch.setattr("blockyard.parts.mixer.softmax.attention.Attention.known", {"causal": "not here"})
    with pytest.raises(UsageError, match="--task regression needs a model that lets no token see what comes after"):
        make_plan(Request(("llama", "gla"), task="regression", params="30k", tokens="2k", seeds=2, tuning="none"))


def test_examples_are_plain_tuples():
    """(5) a rule is a predictor of the task: whole rows in, a number at every place out."""
    task = make_task("regression")
    shown = task.sample(0, 3)
    assert isinstance(shown, Examples) and isinstance(Spec.of("norm", "none", {}), Spec)
    assert np.array_equal(task.solve(shown.tokens), task.predictors()["oracle"](shown.tokens)["values"])
