"""What must hold of attention that scans its tokens and snaps: in closed form, and of the model that is trained."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import blockyard as by
from blockyard.core import UsageError
from blockyard.optimiser.paced import held, paced
from blockyard.predictor.co_occurrence import attended, descend, pull
from blockyard.probe import token_frequency_probe
from blockyard.task import make_task

OWN = np.array([0.02, 0.06, 0.12, 0.2])


def chances(classes=2, shared=4):
    """(K,M): four tokens of each class's own, then shared ones."""
    p = np.zeros((classes, 4 * classes + shared))
    for n in range(classes):
        p[n, 4 * n : 4 * n + 4] = OWN
    p[:, 4 * classes :] = (1 - OWN.sum()) / shared
    return p


@pytest.fixture(scope="module")
def path():
    return descend(chances(), 1500, 1.0, 0.1)


def nats(p, z, y):
    """The loss by the framework, which works out the gradients by itself."""
    weights = torch.softmax(z + torch.from_numpy(p).log(), 1)  # of tokens in the context of each class
    f = weights / weights.norm(dim=1, keepdim=True)
    return torch.nn.functional.cross_entropy(f @ y, torch.arange(len(p)))


def test_scores_of_shared_tokens_are_below_zero_and_fall(path):
    """(1) from the first step at which the decoder is not zero."""
    shared = path.scores[2:, 8:]
    assert (shared < 0).all() and (np.diff(shared, axis=0) < 0).all()


def test_scores_of_distinct_tokens_rise_in_the_order_of_how_often_they_are_there(path):
    """(2) at every step, for both classes alike."""
    for own in (path.scores[2:, :4], path.scores[2:, 4:8]):
        assert (own > 0).all() and (np.diff(own, axis=1) > 0).all()
        assert all(spearmanr(each, OWN).statistic == 1 for each in own[::100])
    assert np.abs(path.scores[:, :4] - path.scores[:, 4:8]).max() < 1e-12


@pytest.mark.parametrize("decoder, attention, top", [(1.0, 1.0, 1.07), (1.0, 0.1, 0.55), (10.0, 0.1, 0.17)])
def test_the_faster_the_decoder_the_earlier_attention_freezes(decoder, attention, top):
    """(3) the largest score after 4,000 steps, at ratios 1, 10 and 100."""
    z = descend(chances(), 4000, decoder, attention).scores
    assert abs(z[-1, 3] - top) < 5e-3
    assert z[-1, 3] - z[2000, 3] < 0.2 * (z[2000, 3] - z[0, 3])  # it creeps, after most of the way at the beginning


def test_a_faster_decoder_leaves_attention_nearer_to_where_it_was():
    """(3) beside the same attention, and it has fitted as well."""
    slow, fast = (descend(chances(), 1500, rate, 0.1) for rate in (1.0, 10.0))
    assert np.abs(fast.scores[-1]).max() < 0.5 * np.abs(slow.scores[-1]).max() and fast.losses[-1] < slow.losses[-1]


def test_gradients_are_those_of_the_loss():
    """Against the framework's, at numbers of no structure, with classes that never follow."""
    draw = np.random.default_rng(0)
    p = draw.dirichlet(np.ones(7), 3)
    z, y = (torch.from_numpy(draw.normal(size=n)).requires_grad_() for n in (7, (7, 5)))
    loss = nats(p, z, y)
    loss.backward()
    found = pull(p, z.detach().numpy(), y.detach().numpy())
    assert abs(found.loss - loss.item()) < 1e-12
    assert np.abs(found.scores + z.grad.numpy()).max() < 1e-12 < np.abs(found.scores).max()
    assert np.abs(found.decoder + y.grad.numpy()).max() < 1e-12


def test_a_shift_of_all_scores_has_no_gradient(path):
    """(4)"""
    draw = np.random.default_rng(1)
    found = pull(chances(3), draw.normal(size=16), draw.normal(size=(16, 3)))
    assert abs(found.scores.sum()) < 1e-14 < np.abs(found.scores).max()
    assert np.abs(path.scores.sum(1)).max() < 1e-12
    assert np.abs(attended(chances(), path.scores[-1] + 700.0) - attended(chances(), path.scores[-1])).max() < 1e-10


def test_one_class_alone_teaches_nothing():
    """(5)"""
    draw = np.random.default_rng(2)
    found = pull(chances(1), draw.normal(size=8), draw.normal(size=(8, 1)))
    assert np.abs(found.scores).max() == np.abs(found.decoder).max() == found.loss == 0


def test_where_attention_stays_it_is_logistic_regression():
    """(6) on the counts of even attention: the same path as descent by the framework, and down to the best there is."""
    p = chances(3)
    f = torch.from_numpy(p / np.linalg.norm(p, axis=1, keepdims=True))
    y = torch.zeros(16, 3, dtype=torch.float64, requires_grad=True)
    rule = torch.optim.SGD([y], lr=0.7)
    for _ in range(50):
        rule.zero_grad()
        torch.nn.functional.cross_entropy(f @ y, torch.arange(3)).backward()
        rule.step()
    found = descend(p, 50, 0.7, 0.0)
    assert np.abs(found.scores).max() == 0 and np.abs(found.decoder - y.detach().numpy()).max() < 1e-12
    assert (np.diff(found.losses) < 0).all()


def trained(steps, decoder, attention):
    """The recipe's model after descent on two rows whose counts are exact, and the counts (2,13), the query's among
    them."""
    model = by.build("scan_and_snap", "tiny", dim=13, vocab=13, **{"norm.eps": 0.0}).double()
    model.head.table.data.zero_()
    counts = np.rint(50 * np.concatenate([chances(), np.full((2, 1), 0.02)], 1)).astype(int)
    counts[:, 8:12] = [7, 7, 8, 8]
    rows = torch.from_numpy(np.stack([np.repeat(np.arange(13), each) for each in counts]))  # the query, 12, stands last
    params = dict(model.named_parameters())
    rule = paced(model, params, lr=1.0, decay=0.0, of=by.Spec("optimiser", "sgd"), factor=attention, others=decoder)
    for group in rule.param_groups:
        group["lr"] *= group["factor"]  # as the loop does
    for _ in range(steps):
        rule.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(rows).logits[:, -1], torch.arange(2))
        loss.backward()
        rule.step()
    return model, counts / counts.sum(1, keepdims=True), rows


def test_the_recipe_learns_what_the_equations_say():
    """Its scores of the query and its decoder, after 40 steps of descent at two rates, to rounding."""
    model, p, _ = trained(40, 2.0, 0.5)
    known = descend(p, 40, 2.0, 0.5, classes=13)
    assert np.abs(model.steps[0].part.form.weight[:, 12].detach().numpy() - known.scores[-1]).max() < 1e-12
    assert np.abs(model.head.table.detach().numpy().T - known.decoder).max() < 1e-12
    assert (
        np.abs(model.steps[0].part.form.weight[:, :12].detach().numpy()).max() == 0
    )  # who did not ask learned nothing
    assert np.abs(known.scores[-1]).max() > 0.1


def test_the_probe_reads_attention_by_token():
    """Lift is exp(z) over its mean in the row, whatever stands where; distinct tokens are ranked by how often they are
    there, shared ones are below one."""
    model, p, rows = trained(40, 2.0, 0.5)
    z = model.steps[0].part.form.weight[:, 12].detach().numpy()
    found = token_frequency_probe(model, torch.cat([rows, torch.tensor([[0], [1]])], 1), query=12)
    lift = found["steps.0.part:lift"][0]
    for row, share in enumerate(p):
        own = np.exp(z[:4]) / (share * np.exp(z)).sum()
        assert np.abs(lift[4 * row : 4 * row + 4] - own).max() < 1e-12
    assert np.abs(found["frequency"] - p.mean(0)).max() < 1e-12
    assert found["distinct"].tolist() == [1.0] * 8 + [0.5] * 5
    assert found["steps.0.part:order"][0] > 0.97 and found["steps.0.part:shared"][0] < 0.95
    even = by.build("scan_and_snap", "tiny", dim=13, vocab=13)
    assert np.allclose(token_frequency_probe(even, torch.cat([rows, rows[:, :1]], 1))["steps.0.part:lift"], 1)
    with pytest.raises(UsageError, match="in no row is 3 the last token but one"):
        token_frequency_probe(model, rows, query=3)


def test_contexts_are_drawn_as_the_task_says():
    """The frequencies of each answer's contexts, over 4,000 rows; what is distinct for one query is not for another."""
    task = make_task("contextual_tokens:classes=3,queries=2,distinct=2,shared=3,length=40,apart=0.5,power=1")
    p, first = task.chances(), task.begin
    assert np.abs(p.sum(-1) - 1).max() < 1e-12 and sorted(p[0, 0][p[0, 0] > 0])[:3] == pytest.approx([0.5 / 3] * 3)
    tokens, targets = task.sample(0, 4000)
    for answer in task.answers:
        m, n = divmod(answer, 3)
        context = tokens[targets[:, -1] == answer]
        assert (context[:, -1] == 6 + m).all()
        seen = np.bincount(context[:, :-1].ravel() - first, minlength=9) / context[:, :-1].size
        assert np.abs(seen - p[m, n]).max() < 0.015
    told = [{*np.flatnonzero((p[m] > 0).sum(0) == 1)} for m in range(2)]
    assert len(told[0]) == len(told[1]) == 6 and told[0] != told[1]


def test_a_side_has_its_rate_and_both_lose_as_much():
    """Groups carry their factor, and their decay divided by it; what is kept is what the inner one keeps."""
    model = by.build("llama", dim=16, layers=1, heads=1, vocab=32, tied=False)
    params = dict(model.named_parameters())
    rule = paced(model, params, decay=0.2, of=by.Spec.of("optimiser", "sgd", {"momentum": 0.9}), factor=0.1, others=4.0)
    inside = {id(p) for name, p in params.items() if name.startswith("steps.")}
    for group in rule.param_groups:
        slow = {id(p) in inside for p in group["params"]}
        assert len(slow) == 1 and group["factor"] == (0.1 if slow == {True} else 4.0) and group["momentum"] == 0.9
        assert group["weight_decay"] in (0.0, pytest.approx(0.2 / group["factor"]))
    descent = by.Spec.of("optimiser", "sgd", {"momentum": 0.9})
    assert held(model, params, of=descent) == sum(map(torch.numel, params.values()))
    with pytest.raises(UsageError, match="unknown parameters with a rate of their own"):
        paced(model, params, on=("step.*",))
    with pytest.raises(UsageError, match="sets its own rate"):
        paced(model, params, of=by.Spec("optimiser", "schedulefree"))
