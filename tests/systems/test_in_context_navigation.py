"""What must hold of answers that each begin with another token: their order, what they see, and the probe."""

from itertools import permutations

import numpy as np
import pytest
import torch
from system_cases import model

import blockyard as by
from blockyard.decode.navigate import navigate, vote
from blockyard.probe import key_clusters_probe
from blockyard.probe.key_clusters import split
from blockyard.task import make_task

VOCAB, QUESTION, COMMA = 20, (3, 7, 1), 19
STOP = [4, 9]


@pytest.fixture(scope="module")
def body():
    return model("llama", 3, dim=16, layers=2, heads=2, vocab=VOCAB)


def listing(answers):
    """The question, and the answers before with a comma behind each."""
    return [*QUESTION, *(id for answer in answers for id in (*answer, COMMA))]


def plain(answers):
    return list(QUESTION)


@torch.no_grad()
def greedy(body, ids, tokens):
    """The likeliest tokens one after the other, up to a stop."""
    ids, written = list(ids), []
    for _ in range(tokens):
        token = int(body(torch.tensor([ids])).logits[0, -1].argmax())
        if token in STOP:
            break
        written.append(token)
        ids.append(token)
    return written


@pytest.mark.parametrize("form", [listing, plain])
def test_one_answer_is_the_likeliest(body, form):
    """(1) of one answer it is plain greedy decoding, up to the stop, which is no part of it."""
    assert navigate(body, form, 1, 6, stop=STOP) == [greedy(body, QUESTION, 6)]
    first = int(body(torch.tensor([QUESTION])).logits[0, -1].argmax())
    assert navigate(body, form, 1, 6, stop=[first]) == [[]]


def test_no_two_answers_begin_alike(body):
    """(2) first tokens are all distinct, and the answers end where none is left."""
    for count, most in ((6, 100), (40, 100), (9, 4)):
        found = navigate(body, listing, count, 3, most=most)
        firsts = [answer[0] for answer in found]
        assert len(set(firsts)) == len(firsts)
        assert len(found) == count if count == 6 else len(found) >= min(count, most, VOCAB)  # what ranks go on is moved
    assert len(navigate(body, plain, 40, 1)) == VOCAB and len(navigate(body, plain, 9, 1, most=4)) == 4


def test_without_the_list_they_are_the_top_of_one_distribution(body):
    """(3) a form that leaves the list out gives the n likeliest first tokens in order; one that has it gives others."""
    order = body(torch.tensor([QUESTION])).logits[0, -1].argsort(descending=True)[:8].tolist()
    assert [answer[0] for answer in navigate(body, plain, 8, 2)] == order
    listed = [answer[0] for answer in navigate(body, listing, 8, 2)]
    assert listed != order and listed[0] == order[0]


def test_the_same_again(body):
    """(4) nothing is drawn: the same answers twice, whatever was drawn before."""
    once = navigate(body, listing, 5, 4)
    torch.rand(7)
    before = torch.random.get_rng_state()
    assert navigate(body, listing, 5, 4) == once and torch.equal(before, torch.random.get_rng_state())


def test_the_list_is_seen_by_first_tokens_alone(body):
    """Each first token is the best unused one behind the list so far; each answer goes on behind the plain question."""
    found, used = navigate(body, listing, 6, 4, stop=STOP), []
    for i, answer in enumerate(found):
        order = body(torch.tensor([listing(found[:i])])).logits[0, -1].argsort(descending=True).tolist()
        first = next(token for token in order if token not in used)
        used.append(first)
        assert answer == ([] if first in STOP else [first, *greedy(body, [*QUESTION, first], 3)])
    kept = [[first, *greedy(body, [*listing(found[:i]), first], 3)] for i, first in enumerate(used)]
    assert any(a != b for a, b, first in zip(found, kept, used) if first not in STOP)  # with the list left in sight


def test_a_vote_goes_to_the_first_of_equals():
    assert vote(["b", "a", "a", "b", "c"]) == "b" and vote([1, 2, 2]) == 2
    with pytest.raises(by.UsageError, match="needs an answer"):
        vote([])


def test_what_is_no_number_is_refused(body):
    for wrong in (dict(count=0, tokens=1), dict(count=1, tokens=0), dict(count=1, tokens=1, most=0)):
        with pytest.raises(by.UsageError, match="whole number of at least 1"):
            navigate(body, plain, **wrong)


def test_clusters_that_are_dealt_out_anew_tell_nothing():
    """(5) with right tokens that follow clusters the gap is seen; of clusters dealt out anew it is within two standard
    errors of zero, on average over deals, and errors are as large as deals differ."""
    rng = np.random.default_rng(0)
    of = rng.integers(0, 5, 60)
    order = rng.permuted(np.tile(np.arange(60), (400, 1)), axis=1)[:, :8]
    near = np.stack([(of[order[:, :r]] == of[order[:, r : r + 1]]).any(1) for r in range(1, 8)], 1)
    hits = rng.random((400, 8)) < 0.6
    hits[:, 1:] &= ~near | (rng.random((400, 7)) < 0.5)
    seen = split(of[order], hits)
    assert 0.25 < seen["gap"] < 0.35 and seen["gap"] > 5 * seen["error"]
    assert np.allclose(seen["same"], 0.3, atol=0.15) and np.allclose(seen["other"], 0.6, atol=0.1)
    for even in (rng.random((400, 8)) < 0.6, rng.random((400, 8)) < np.linspace(0.9, 0.1, 8)):  # by rank, or not
        deals = [split(rng.permutation(of)[order], even) for _ in range(40)]
        sizes = np.array([abs(deal["gap"]) / deal["error"] for deal in deals])
        assert (sizes < 2).mean() > 0.8 and abs(np.mean([deal["gap"] for deal in deals])) < 0.02


def test_the_probe_deals_its_clusters_out_anew():
    """(5) where right tokens lie in the likeliest one's cluster the probe sees a gap, and none in what it permutes."""
    made, rng = model("llama", dim=16, layers=1, heads=2, vocab=24), np.random.default_rng(0)
    centres = torch.eye(16, dtype=torch.float64)[:3]
    with torch.no_grad():
        made.stem.table.copy_(centres.repeat(8, 1) + made.stem.table / made.stem.table.std() / 10)
    rows = torch.from_numpy(rng.integers(0, 24, (200, 3)))
    logits = made(rows).logits[:, -1].detach().numpy()
    valid = (np.arange(24) % 3 == logits.argmax(1)[:, None] % 3) & (rng.random((200, 24)) < 0.8)
    every = [key_clusters_probe(made, rows, valid, clusters=3, seed=seed) for seed in range(12)]
    assert all(each["gap"] < -0.3 for each in every) and len({float(each["permuted"]) for each in every}) > 6
    assert abs(np.mean([each["permuted"] for each in every])) < 0.1


def test_precision_at_a_rank_is_counted_by_hand():
    of, hits = np.array([[0, 0, 1], [0, 1, 1], [2, 1, 0]]), np.array([[1, 0, 1], [1, 1, 0], [0, 0, 1]], bool)
    found = split(of, hits)
    assert found["same"].tolist() == [0.0, 0.0] and found["other"].tolist() == [0.5, 1.0]
    assert found["gap"] == 0.75  # 1 of 2 and 2 of 2, against none of one, each rank by 1 * 2 / 3
    assert found["error"] == pytest.approx((1 / 4 / 2 / 4) ** 0.5)  # of the two at rank 2; at rank 3 all are alike


def test_the_probe_reads_keys_logits_and_what_is_right(body):
    """Ranks are those of the logits, keys the table's; figures are those of the clusters, or of the ids held."""
    rows = torch.randint(0, VOCAB, (12, 5), generator=torch.Generator().manual_seed(0))
    logits = body(rows).logits[:, -1].detach().numpy()
    order, keys = np.argsort(-logits, 1)[:, :6], body.head.table.detach().numpy()
    found = key_clusters_probe(body, rows, clusters=VOCAB, ranks=6)
    assert np.isnan(found["same"]).all()  # every token its own cluster
    held = np.array([[token in row for token in ranked] for row, ranked in zip(rows.numpy(), order)])
    assert np.allclose(found["other"], held[:, 1:].mean(0))
    wanted = [np.corrcoef(keys[o[1:]] @ keys[o[0]], z[o[1:]])[0, 1] for o, z in zip(order, logits)]
    assert found["correlation"] == pytest.approx(np.mean(wanted))
    every = key_clusters_probe(body, rows, np.ones((12, VOCAB)), clusters=1, ranks=6)
    assert (every["same"] == 1).all() and np.isnan(every["other"]).all()
    one, two = (key_clusters_probe(body, rows, clusters=3, seed=seed) for seed in (0, 0))
    assert all(np.array_equal(one[name], two[name], equal_nan=True) for name in one)
    with pytest.raises(by.UsageError, match=r"valid is \(rows, tokens\) = \(12, 20\)"):
        key_clusters_probe(body, rows, np.ones((12, 3)))


def test_its_clusters_are_those_of_k_means():
    """Well parted keys fall into the clusters that scikit-learn finds."""
    cluster = pytest.importorskip("sklearn.cluster")
    made = model("llama", dim=16, layers=1, heads=2, vocab=12)
    centres = 5 * torch.eye(16, dtype=torch.float64)[:3]
    with torch.no_grad():
        made.stem.table.copy_(centres.repeat(4, 1) + 0.01 * made.stem.table)
    theirs = cluster.KMeans(3, n_init=5, random_state=0).fit(made.head.table.detach().numpy()).labels_
    rows = torch.arange(12)[:, None]
    order = np.argsort(-made(rows).logits[:, -1].detach().numpy(), 1, kind="stable")[:, :10]
    wanted = split(theirs[order], order == rows.numpy())
    found = key_clusters_probe(made, rows, clusters=3)
    assert all(np.array_equal(found[name], wanted[name], equal_nan=True) for name in wanted)


def test_lists_have_what_belongs_to_a_subject():
    """Lists hold the answers of their subject, each once, the commoner ones earlier, as often as 1 / n says."""
    task = make_task("listings:subjects=5,count=4,families=3,members=4")
    for answers in task.known:
        families = np.bincount(answers // 4, minlength=3)
        assert len(set(answers)) == 4 and sorted(families) == [0, 2, 2]
    drawn = task.sample(0, 6000)
    listed, subject = drawn.targets[:, 1::2], drawn.tokens[:, 0] - 12
    assert (np.sort(listed, 1) == np.sort(task.known[subject], 1)).all() and np.array_equal(
        listed[:, :-1], drawn.tokens[:, 2::2]
    )
    ranks = (listed[..., None] == task.known[subject][:, None]).argmax(2)
    weights = 1 / np.arange(1, 5)
    for order in permutations(range(4)):
        left = [weights[list(order[i:])].sum() for i in range(4)]
        assert (ranks == order).all(1).mean() == pytest.approx(np.prod(weights / 1) / np.prod(left), abs=0.015)
    assert task.prompt(2, (7, 1)) == [14, 17, 7, 18, 1, 18]
    assert np.array_equal(task.solve(drawn.tokens)[:, 1], task.known[subject, 0])
    for wrong in ("listings:members=2", "listings:count=5", "listings:count=20"):
        with pytest.raises(by.UsageError, match="listings: "):
            make_task(wrong)
