"""What must hold of attention to a window and a few first tokens, at distances that are capped."""

import pytest
import torch
from system_cases import feed, normal, tokens

import blockyard as by
from blockyard.core import Call, Spec, State
from blockyard.core.spec import mixer, pattern, position
from blockyard.kernels import count_flops
from blockyard.transform._base import make_transform

W, G = 6, 3


def shaped(window=W, sinks=G, of="rope", cap=None, **settings):
    around = dict(
        pattern=pattern("band", window=window, sinks=sinks), position=position("capped", of=of, cap=cap or window)
    )
    return by.make("mixer:attention", dim=16, heads=4, kv_heads=2, **around, **settings).double()


def plain(of="rope"):
    return by.make("mixer:attention", dim=16, heads=4, kv_heads=2, position=of).double()


def dense(part, x, cap=W, window=W, sinks=G):
    """Every pair by itself: a query turned by the distance, a key by nothing, the bias at that distance."""
    q, k, v = part.layout.split(part.qkv(x))
    q, length = q.flatten(2, 3), x.shape[1]
    k, v = (t.repeat_interleave(2, 2) for t in (k, v))
    at = torch.arange(length)
    apart = (at[:, None] - at).clamp(max=cap)
    see = (at[:, None] >= at) & ((at[:, None] - at < window) | (at < sinks))
    scores = torch.empty(x.shape[0], 4, length, length, dtype=x.dtype)
    plainly = Call.plain(x)
    rope = by.make("position:rope", dim=4).double() if part.position.of.spec.name == "rope" else None
    for i in range(length):
        for j in range(length):
            turned = (
                q[:, i] if rope is None else rope.turned(q[:, i : i + 1], apart[i : i + 1, j : j + 1], plainly)[:, 0]
            )
            scores[:, :, i, j] = (turned * k[:, j]).sum(-1) / 2
    if rope is None:
        scores = scores + part.position.of.by_distance(length)[:, apart + length - 1]
    weights = scores.masked_fill(~see, -torch.inf).softmax(-1)
    return part.out(torch.einsum("bhts,bshv->bthv", weights, v).flatten(2))


def rope_on_heads(part):
    """The rotary angles of a head of 4 channels stand on 4 channels alone."""
    assert part.head_dim.size == 4
    return part


@torch.no_grad()
@pytest.mark.parametrize("of", ["rope", "alibi"])
def test_up_to_the_window_it_is_the_plain_model(of):
    """(1) and beyond it, it is not."""
    x, one, other = normal(2, W + 1, 16), shaped(of=of, sinks=0), plain(of)
    assert torch.allclose(one(x[:, :W])[0], other(x[:, :W])[0], atol=1e-12)
    assert (one(x)[0] - other(x)[0]).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("of", ["rope", "alibi"])
@pytest.mark.parametrize("length", [W, W + 2, W + G, W + G + 1, 23])
def test_pieces_are_the_dense_formula(length, of):
    """(2) for lengths that no window divides, with first tokens across a block's edge; and token by token."""
    part, x = rope_on_heads(shaped(of=of)), normal(2, length, 16)
    whole = dense(part, x)
    assert torch.allclose(part(x)[0], whole, atol=1e-10)
    for sizes in ([1] * length, [W - 1, 1, length - W]):
        state, found = State.empty(2), []
        for piece in x.split([size for size in sizes if size], 1):
            y, state = feed(part, piece, state)
            found.append(y)
        assert torch.allclose(torch.cat(found, 1), whole, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("cap,window", [(4, 9), (9, 4)])
def test_a_cap_may_lie_inside_the_window_or_beyond_it(cap, window):
    """(2) whatever is far is read so, and nothing else."""
    part, x = shaped(window=window, cap=cap), normal(1, 21, 16)
    assert torch.allclose(part(x)[0], dense(part, x, cap=cap, window=window), atol=1e-10)


def test_the_gap_is_not_read():
    """(3) at one layer: exactly no gradient."""
    part, x = shaped(), normal(1, 20, 16).requires_grad_()
    at = 17
    part(x)[0][0, at].sum().backward()
    felt = x.grad[0].abs().sum(-1) > 0
    assert felt.tolist() == [j < G or at - W < j <= at for j in range(20)]


@torch.no_grad()
def test_cost_grows_with_the_length_and_the_cache_does_not():
    """(4) counted operations of whole rows, and what a state holds."""
    counts = []
    with torch.device("meta"):
        part = by.make("mixer:attention", dim=16, heads=4, position=position("capped", cap=64),
                       pattern=pattern("band", window=64, sinks=4))  # fmt: skip
        for length in (4 * 64, 32 * 64):
            with count_flops() as tally:
                part(torch.empty(1, length, 16), Call.plain(torch.empty(1, length, 16)))
            counts.append(sum(tally.values()))
    assert counts[1] / counts[0] < 8**1.15
    part, held = shaped(), []
    for length in (40, 41, 90):
        _, state = feed(part, normal(1, length, 16), State.empty(1))
        held.append(state.get("part")["recent"]["k"].shape[1])
    assert held == [W + G - 1] * 3


@torch.no_grad()
def test_no_score_is_of_a_distance_beyond_the_cap():
    """(5) all scores are those of pairs at most so far apart."""
    part, x = shaped(window=4, sinks=20, cap=5), normal(1, 18, 16)
    call = Call.plain(x)._replace(points={("part", "scores"): "read", ("part", "q"): "read", ("part", "k"): "read"})
    part(x, call)
    scores, q, k = (call.captures[0, 0, "part", name] for name in ("scores", "q", "k"))
    at, rope = torch.arange(18), part.position.of
    raw_q, raw_k = rope.turned(q, -at[None], call), rope.turned(k, -at[None], call).repeat_interleave(2, 2)
    for i in (6, 11, 17):
        apart = (i - at[: i + 1]).clamp(max=5)
        turned = [rope.turned(raw_q[:, i : i + 1], apart[None, j : j + 1], call) for j in range(i + 1)]
        want = torch.stack([(y * raw_k[:, j : j + 1]).sum(-1) / 2 for j, y in enumerate(turned)], -1)[0, 0]
        assert torch.allclose(scores[0, :, i, : i + 1], want, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("where", ["rope", "t5"])
def test_a_trained_model_is_shaped_without_training(where):
    """(1) its numbers stay; short texts are read as before, long ones as the recipe reads them."""
    model = by.build("llama", "tiny", **{"mixer.position": where}, seed=3).double()
    made = make_transform(f"lambda_shape:window={W},sinks={G}").apply(model)
    ids = tokens(2, 20)
    assert torch.allclose(made.model(ids[:, :W]).logits, model(ids[:, :W]).logits, atol=1e-10)
    assert (made.model(ids).logits - model(ids).logits).abs().max() > 1e-5
    assert by.build(made.model.spec).spec == made.model.spec and len(made.covered) == 2
    if where == "rope":
        same = by.build("lm_infinite", "tiny", window=W, sinks=G, seed=3).double()
        assert torch.allclose(same(ids).logits, made.model(ids).logits, atol=1e-10)
    with pytest.raises(by.UsageError, match="are capped already"):
        make_transform("lambda_shape").plan(made.model)
    with pytest.raises(by.UsageError, match=r"no attention stands at x; among them are steps\.0\.part, steps\.2\.part"):
        make_transform("lambda_shape:on=(x,)").plan(model)
    with pytest.raises(by.UsageError, match="among them are none"):
        make_transform("lambda_shape").plan(by.build("gla", "tiny"))
    told = make_transform("lambda_shape")
    assert set(told.plan(model).values()) == {"the last 128 tokens and the first 4"} and told.cap == 128


@torch.no_grad()
def test_a_table_of_distances_ends_at_the_cap():
    """(5) one number for every distance of n tokens to either side; those beyond the cap are the cap's."""
    made = shaped(of="alibi", cap=4).position
    for n in (1, 4, 5, 6, 11):
        whole, table = made.of.by_distance(n), made.by_distance(n)
        apart = torch.arange(-n + 1, n).clamp(-4, 4) + n - 1
        assert table.shape == (4, 2 * n - 1) and torch.equal(table, whole[:, apart])
    assert shaped().position.by_distance(7) is None


def test_what_the_position_inside_refuses_is_refused():
    """One whose speeds follow the length cannot go on from a state, capped or not."""
    call, _ = by.Batch(torch.zeros(1, 3, dtype=torch.long)).call(State.empty(1), causal=True)
    with pytest.raises(by.UsageError, match="cannot know; use position:ntk"):
        shaped(of="dynamic_ntk").position.prepare(call)
    model = by.build("llama", "tiny", **{"mixer.position": position("capped", of="dynamic_ntk")})
    with pytest.raises(by.UsageError, match="dynamic_ntk"):
        model(tokens(1, 3), model.init_state(1))


def test_what_does_not_know_distances_is_refused():
    """A position that is added to the input has none to cap."""
    with pytest.raises(by.UsageError, match="learned does not work by distance"):
        by.make("mixer:attention", dim=16, heads=4, position=position("capped", of=Spec("position", "learned")))
    assert mixer("attention").name == "attention"
