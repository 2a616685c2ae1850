"""What must hold of saying the next state: what each term teaches whom, and a walk whose cells are known."""

import math

import numpy as np
import pytest
import torch
from system_cases import F64, gap, model, shake, tokens
from torch.nn.functional import cross_entropy

import blockyard as by
from blockyard.core.spec import objective
from blockyard.task import make_task
from blockyard.train.loop import Run, Settings, build_objective

SMALL = dict(dim=16, layers=1, heads=2, vocab=20)


def made(seed=1, **settings):
    """A small model and its objective, all in double precision and nothing at its start."""
    body = model("next_latent", seed, **SMALL)
    return body, shake(build_objective(objective("next_latent", **settings), body).double(), seed + 7)


def ids(rows=2, length=7, seed=0):
    return by.Batch(tokens(rows, length, 20, seed))


def mean(terms, name):
    total, count, _ = terms[name]
    return total / count


def read(body, batch):
    """The states that the table reads, behind the norm, and the embeddings."""
    found = body(batch, points={"head:normed": "read", "stem:embedded": "read"}).captures
    return (next(value for key, value in found.items() if key[2] == end) for end in ("head", "stem"))


def slopes(body, teach, batch, *names):
    """Gradients of some terms, as they are weighed, by every parameter of the model; None where none came."""
    body.zero_grad()
    terms = teach(body, batch)
    sum(weight * total / count for name, (total, count, weight) in terms.items() if name in names).backward()
    return {name: p.grad for name, p in body.named_parameters()}


def test_without_weights_it_is_the_plain_model():
    """(1) with both weights zero loss, gradients and trained numbers are those of the next token alone, to the bit."""
    body, teach = made(states=0.0, scores=0.0)
    plain = build_objective(objective("next_token"), body)
    batch = ids()
    terms = teach(body, batch)
    assert terms.keys() == plain(body, batch).keys() == teach.counts(batch).keys() == {"next_token"}
    for name, slope in slopes(body, teach, batch, "next_token").items():
        assert torch.equal(slope, slopes(body, plain, batch, "next_token")[name]), name
    runs = []
    for changed in ({"objective": "next_token"}, {"states": 0.0, "scores": 0.0}, {}):
        system = by.spec("next_latent", **SMALL)
        (only,) = system["program"]
        own = objective("next_token") if "objective" in changed else only["objective"].but(**changed)
        run = Run(system.but(program=(only.but(objective=own),)), by.build(system), Rows(), Settings(steps=3, lr=1e-2))
        for _ in range(3):
            run.advance()
        runs.append(run.model.state_dict())
    assert all(torch.equal(runs[0][name], value) for name, value in runs[1].items())
    assert not all(torch.equal(runs[0][name], value) for name, value in runs[2].items())


class Rows:
    def next(self, step):
        return np.random.default_rng(step).integers(0, 20, (4, 9))


def test_what_is_to_be_said_gets_no_gradient():
    """(2) of two tokens only the first state learns from the distance; the second is a target and stays one."""
    body, teach = made(scores=0.0)
    held = []

    def keep(norm, given, h):
        h.retain_grad()
        held.append(h)

    hook = body.head.norm.register_forward_hook(keep)
    mean(teach(body, ids(1, 2)), "states").backward()
    hook.remove()
    (h,) = held
    assert h.grad[:, 0].abs().max() > 1e-3 and h.grad[:, 1].abs().max() == 0
    body.zero_grad()
    mean(teach(body, by.Batch(torch.tensor([[3, 5]]))), "states").backward()
    slope = body.stem.table.grad  # the second token is read as an embedding, and no gradient goes there
    assert slope[3].abs().max() > 1e-6 and slope[5].abs().max() == 0


def test_scores_teach_the_states_and_not_the_head():
    """(3) the divergence alone gives every number of the head no gradient, and the states and M one."""
    for tied in (False, True):
        spec = by.spec("next_latent", **SMALL).override("head.tied", tied)
        body = shake(by.build(spec).double())
        teach = shake(build_objective(objective("next_latent", states=0.0), body).double())
        found = slopes(body, teach, ids(), "scores")
        assert found["head.norm.gain"] is not None  # the states are made by it
        if not tied:
            assert found["head.table"] is None or found["head.table"].abs().max() == 0
        assert found["steps.0.part.qkv.weight"].abs().max() > 1e-6
        assert all(p.grad.abs().max() > 0 for name, p in teach.named_parameters() if name != "norm.gain")
        # a table that is the stem's learns from it only where it is the stem's: through the tokens that were read
        moved = slopes(body, teach, by.Batch(torch.full((1, 4), 3)), "scores")["stem.table"]
        assert moved[3].abs().max() > 1e-9 and moved[torch.arange(20) != 3].abs().max() == 0


@torch.no_grad()
@pytest.mark.parametrize("horizon", [1, 3])
def test_who_knows_the_next_state_pays_nothing(horizon, monkeypatch):
    """(4) an M that says the true next states leaves no distance and no divergence; one that is off by one pays."""
    body, teach = made(horizon=horizon)
    batch = ids(3, 8)
    h, _ = read(body, batch)
    for late, least in ((0, None), (1, 1e-3)):
        ahead = iter(range(1 + late, horizon + 1 + late))
        monkeypatch.setattr(teach, "change", lambda said, e, ahead=ahead: h.roll(-next(ahead), 1))
        terms = teach(body, batch)
        if least is None:
            assert mean(terms, "states") == 0 and mean(terms, "scores").abs() < 1e-12
        else:
            assert min(mean(terms, "states"), mean(terms, "scores")) > least


@torch.no_grad()
def test_the_model_is_saved_without_it(tmp_path):
    """(5) what says states is no part of the model: without it the same logits, to the bit, from the same tensors."""
    system = by.spec("next_latent", **SMALL)
    with torch.enable_grad():
        run = Run(system, by.build(system), Rows(), Settings(steps=2, lr=1e-2))
        run.advance(), run.advance()
    assert {name.partition(".")[0] for name in run.model.state_dict()} == {"stem", "steps", "head"}
    assert any(name.startswith("objective0.out") for name in run.owned())
    batch = ids()
    said = run.model(batch).logits
    run.model.save(tmp_path / "model")
    assert torch.equal(by.load(tmp_path / "model")(batch).logits, said)
    assert torch.equal(run.model(batch, points={"head:normed": "read", "stem:embedded": "read"}).logits, said)


@torch.no_grad()
def test_at_first_states_are_said_to_stay():
    """(6) as it begins the distance is that of neighbouring states, behind the norm; with a gain it is another."""
    body = model("next_latent", **SMALL)
    batch, off = ids(2, 6), []
    for gain in (0.0, 1.0):
        teach = build_objective(objective("next_latent", gain=gain), body).double()
        off.append(mean(teach(body, batch), "states").item())
    h, _ = read(body, batch)
    error = (h[:, 1:] - h[:, :-1]).abs()
    wanted = torch.where(error < 1, error.square() / 2, error - 0.5).mean()
    assert error.max() > 1 > error.min() and off[0] == pytest.approx(wanted.item(), rel=1e-12) != off[1]
    raw = body(batch).hidden
    unnormed = torch.nn.functional.smooth_l1_loss(raw[:, :-1], raw[:, 1:])
    assert abs(unnormed - wanted) > 1e-3  # the stream before the norm is another one


@torch.no_grad()
def test_both_terms_are_those_of_the_equations():
    """Three states ahead, one place at a time, in rows of which some places count, are asked, or begin a document."""
    body, teach = made(horizon=3, states=2.0, scores=0.5)
    ended = torch.arange(9) < torch.tensor([[9], [7], [9]])
    segment = torch.tensor([[0] * 9, [0] * 9, [0] * 4 + [1] * 5])
    targets = tokens(3, 9, 20, 5).masked_fill(torch.arange(9) < 2, -1).masked_fill(~ended, -1)
    batch = by.Batch(tokens(3, 9, 20), targets, valid=ended, segment=segment)
    h, e = read(body, batch)
    w, terms = body.head.table, teach(body, batch)
    off, apart = [], []
    for row in range(3):
        for t in range(9):
            said = h[row, t]
            for i in range(1, 4):
                if t + i > 8 or not ended[row, t + i] or segment[row, t] != segment[row, t + i]:
                    break
                both = torch.cat([said, e[row, t + i]])
                x = both / (both.square().mean() + 1e-5).sqrt() * teach.norm.gain
                for layer in (teach.join, teach.mid):
                    x = layer.weight @ x + layer.bias
                    x = x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
                said = said + teach.out.weight @ x + teach.out.bias
                error = (said - h[row, t + i]).abs()
                off.append(torch.where(error < 1, error.square() / 2, error - 0.5).mean())
                if targets[row, t + i] >= 0:
                    p, q = ((w @ x).softmax(0) for x in (h[row, t + i], said))
                    apart.append((p * (p / q).log()).sum())
    assert set(terms) == {"next_token", "states", "scores"}
    assert terms["states"][1:] == (len(off), 2.0) and terms["scores"][1:] == (len(apart), 0.5)
    assert gap(terms["states"][0], torch.stack(off).sum()) < 1e-10
    assert gap(terms["scores"][0], torch.stack(apart).sum()) < 1e-10
    assert {name: int(n) for name, n in teach.counts(batch).items()} == {n: int(c) for n, (_, c, _) in terms.items()}
    logits = body(batch).logits
    nats = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
    assert gap(terms["next_token"][0], nats) < 1e-10


def test_pieces_of_a_batch_add_up():
    system = by.spec("next_latent", horizon=2, **SMALL)
    run, found = Run(system, by.build(system), Rows(), Settings(steps=4, lr=1e-2)), []
    run.advance()
    batch = by.Batch(tokens(5, 8, 20))
    for micro in (None, 2):
        run.micro = micro
        loss = run._gradient([batch])
        found.append((loss, {name: p.grad.clone() for name, p in run.params.items()}))
    (whole, slopes), (summed, others) = found
    assert whole == pytest.approx(summed, rel=1e-5)
    assert all(torch.allclose(slopes[name], others[name], rtol=1e-3, atol=1e-5) for name in slopes)


def test_it_stands_on_any_body_that_lets_its_states_be_read():
    for name in ("gla", "encoder_decoder"):
        body = by.build(name, "tiny").to(F64)
        teach = build_objective(objective("next_latent"), body).to(F64)
        if name == "gla":
            teach.adopt(body, body)
            assert mean(teach(body, body.example(2, 6)), "states") > 0
        else:
            with pytest.raises(by.UsageError, match="reads the hook point embedded of stem; stem:shared has none"):
                teach.adopt(body, body)
    with pytest.raises(by.UsageError, match="causal"):
        build_objective(objective("next_latent"), by.build("bert", "tiny"))


@pytest.mark.parametrize("ask", ["colour", "cell"])
def test_a_walk_is_answered_by_all_starts_that_explain_it(ask):
    """What is asked is what every possible start says, found here by walking from each; cells are those walked on."""
    task = make_task(f"torus_walk:side=4,length=24,ask={ask}")
    drawn = task.sample(2, 12)
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    for row, asked in zip(drawn.tokens.tolist(), drawn.targets.tolist()):
        left = {(a, b): (a, b) for a in range(4) for b in range(4)}  # where each start has come to
        for t, token in enumerate(row):
            if t % 2 == 0:
                left = {s: tuple((x + d) % 4 for x, d in zip(at, steps[token])) for s, at in left.items()}
                said = {4 + int(task.seen[at]) for at in left.values()} if ask == "colour" else set()
            else:
                left = {s: at for s, at in left.items() if 4 + task.seen[at] == token}
                said = {7 + 4 * a + b for a, b in left.values()} if ask == "cell" else set()
            assert asked[t] == (said.pop() if len(said) == 1 else -1)
        assert left
    assert (drawn.targets[:, -2:] >= 0).mean() > 0.4  # late in a row it is mostly known where one is
    assert np.array_equal(drawn.tokens, make_task("torus_walk:side=4,length=24").sample(2, 12).tokens)
