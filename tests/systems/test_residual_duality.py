"""Reading along depth: the lines of the card, against attention along a sequence, by hand, and against other code."""

import pytest
import torch
from system_cases import F64, decode, gap, normal, shake, tokens

import blockyard as by
from blockyard.core import Call
from blockyard.core.spec import block, channel, depth, head, mixer, pattern, residual, stem
from blockyard.core.spec import model as model_spec

SIZE = dict(dim=16, heads=2, layers=3, vocab=32)
RULES = {
    "depth_read": residual("depth_read", states=3, heads=2),
    "dense_former": residual("dense_former"),
    "delta": residual("delta"),
}  # fmt: skip


def system(rule, **settings):
    return by.spec("residual_duality", **SIZE | settings, residual=rule)


def steps_of(count, rule, dim=16):
    """The rules of so many steps in a row."""
    spec = model_spec(
        dim=dim, stem=stem("tokens"), blocks=(block("layer", mixer("identity")),), residual=rule, head=head("lm"),
        depth=depth("stack", layers=count),
    )  # fmt: skip
    return [step.rule for step in by.build(spec).double().steps]


@torch.no_grad()
def read_of(rules, x, w):
    """(B,T,L,D): what attention along depth adds to what a step reads, over stacked states x (B,T,L,D)."""
    call, found = Call.plain(x[:, :, 0]), []
    for i, rule in enumerate(rules):
        last = [x[:, :, max(j, 0)] for j in range(i, i - w, -1)]  # newest first, as many as there is room for
        found.append(rule.read(tuple(last), ("x",), call) - rule.norm(x[:, :, i], call))
    return torch.stack(found, 2)


def alike(rules, attention):
    """The rules with the numbers of a mixer."""
    q, kv = attention.qkv.weight.split([16, 32])
    for rule in rules:
        rule.q.weight.copy_(q)
        rule.kv.weight.copy_(kv)
        rule.out.weight.copy_(attention.out.weight)
    return rules


@torch.no_grad()
@pytest.mark.parametrize("w", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("norm", ["none", "rms"])
def test_a_read_along_depth_is_a_window_of_attention_with_axes_swapped(w, norm):
    """(1) (2) for windows up to beyond the whole, where it is full causal attention; without another norm and with."""
    x = normal(2, 5, 6, 16)
    windowed = shake(
        by.make("mixer:attention", dim=16, heads=2, position=None, pattern=pattern("band", window=w)).double()
    )
    rules = alike(steps_of(6, residual("depth_read", states=w, heads=2, norm=norm)), windowed)
    rows = (x if norm == "none" else by.make("norm:rms", dim=16).double()(x)).flatten(0, 1)  # layers for tokens
    want = windowed(rows)[0].view_as(x)
    assert gap(read_of(rules, x, w), want) < 1e-6
    full = shake(by.make("mixer:attention", dim=16, heads=2, position=None).double())
    same = gap(full(rows)[0].view_as(x), want) < 1e-9
    assert same == (w >= 6)


@torch.no_grad()
def test_a_window_of_one_is_the_value_itself():
    """(2) o = W_v x."""
    x = normal(2, 5, 4, 16)
    rules = shake(torch.nn.ModuleList(steps_of(4, residual("depth_read", states=1, norm="none"))))
    for rule in rules:
        rule.out.weight.copy_(torch.eye(16))
    want = [x[:, :, i] @ rule.kv.weight[16:].T for i, rule in enumerate(rules)]
    assert gap(read_of(rules, x, 1), torch.stack(want, 2)) < 1e-12


@torch.no_grad()
def test_the_states_that_a_model_reads_are_those_of_its_last_steps():
    """(1) in a whole model: the same window slides over the streams that it passes through."""
    made = shake(by.build(system(RULES["depth_read"])).double())
    x, streams, reads = tokens(2, 7, 32), [], []
    flow = made.start(x)
    hooks = [step.part.register_forward_pre_hook(lambda _, args: reads.append(args[0])) for step in made.steps]
    for step in range(len(made.steps)):
        streams.append(flow.x)
        flow = made.run(flow, [step])
    for hook in hooks:
        hook.remove()
    for i, step in enumerate(made.steps):
        rule, call = step.rule, flow.call
        hs = [rule.norm(streams[j], call) for j in range(max(0, i - 2), i + 1)]
        q = (hs[-1] @ rule.q.weight.T).unflatten(-1, (2, 8))
        kv = [(h @ rule.kv.weight.T).unflatten(-1, (2, 2, 8)) for h in hs]
        scores = torch.stack([(q * pair[..., 0, :, :]).sum(-1) for pair in kv]) * 8**-0.5
        o = (scores.softmax(0)[..., None] * torch.stack([pair[..., 1, :, :] for pair in kv])).sum(0)
        assert gap(hs[-1] + o.flatten(-2) @ rule.out.weight.T, reads[i]) < 1e-12
        assert gap(hs[-1], reads[i]) > 1e-3


@torch.no_grad()
def test_who_is_read_can_be_seen_and_replaced():
    """(1) shares of all states that are read, newest first; all of it to the newest is a window of one."""
    made = shake(by.build(system(RULES["depth_read"])).double())
    x = tokens(2, 7, 32)
    plain, seen = made(x).logits, made(x, points={"*.rule:weights": "read"})
    shares = [value for (step, *_), value in sorted(seen.captures.items(), key=lambda item: item[0][0])]
    assert gap(seen.logits, plain) < 1e-12
    assert [s.shape for s in shares] == [(2, 7, 2, min(3, i + 1)) for i in range(6)]
    assert all(gap(s.sum(-1), torch.ones(2, 7, 2)) < 1e-12 and s.min() >= 0 for s in shares)
    own = made(x, points={"*.rule:weights": lambda w: torch.eye(w.shape[-1], dtype=w.dtype)[0].expand_as(w)}).logits
    one = by.build(system(residual("depth_read", states=1, heads=2))).double()
    one.load_state_dict(made.state_dict())
    assert gap(own, one(x).logits) < 1e-12 and gap(own, plain) > 1e-3


@torch.no_grad()
def test_scores_of_any_size_are_weighed_without_overflow():
    """(2)"""
    rule = steps_of(2, residual("depth_read", states=2, norm="none"))[1]
    shake(rule)
    x = 1e3 * normal(2, 3, 16), 1e3 * normal(2, 3, 16, seed=1)
    assert rule.float().read(tuple(each.float() for each in x), ("x",), Call.plain(x[0])).isfinite().all()


def delta_of(beta, value, y, x):
    rule = steps_of(1, residual("delta"))[0]
    said = {"beta": beta, "value": value}
    actions = {(rule.path, name): lambda t, to=to: torch.full_like(t, to) for name, to in said.items()}
    return rule.write(x, y, Call.plain(x)._replace(points=actions))


@torch.no_grad()
def test_what_a_delta_does_along_a_direction():
    """(3) beta 0: nothing; 1: v stands along k; 2 with v 0: a reflection; what is orthogonal never changes."""
    x, y = normal(2, 5, 16), 30 * normal(2, 5, 16, seed=1)
    k = y / y.norm(dim=-1, keepdim=True)
    assert torch.equal(delta_of(0.0, 3.0, y, x), x)
    assert gap((k * delta_of(1.0, 3.0, y, x)).sum(-1), torch.full((2, 5), 3.0, dtype=F64)) < 1e-6
    turned = delta_of(2.0, 0.0, y, x)
    assert gap(turned.norm(dim=-1), x.norm(dim=-1)) < 1e-6 and gap((k * turned).sum(-1), -(k * x).sum(-1)) < 1e-6
    for beta, value in ((0.7, 3.0), (1.0, 0.0), (2.0, -1.0)):
        after = delta_of(beta, value, y, x)
        left = [h - (k * h).sum(-1, keepdim=True) * k for h in (x, after)]
        assert gap(left[1], left[0]) < 1e-9 and gap(after, x) > 1e-2
        assert gap((k * after).sum(-1), (1 - beta) * (k * x).sum(-1) + beta * value) < 1e-9


@torch.no_grad()
def test_a_delta_starts_at_one_and_two_and_is_the_published_update():
    """(3) with every number moved: beta = 2 sigmoid(linear of what is read), v = linear of the stream."""
    rule = steps_of(1, residual("delta"))[0]
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    call = Call.plain(x)
    k = torch.nn.functional.normalize(y, dim=-1)
    along = (k * x).sum(-1, keepdim=True)
    assert gap(rule.write(x, y, call), x + (2.0 - along) * k) < 1e-9
    shake(rule)
    read = rule.read(x, ("x",), call)
    beta = 2 * torch.sigmoid(torch.nn.functional.linear(read, rule.beta[None], rule.beta_shift[None]))
    value = torch.nn.functional.linear(x, rule.value[None], rule.value_shift[None])
    assert gap(rule.write(x, y, call), x + beta * (value - along) * k) < 1e-9
    silent = rule.write(x, torch.zeros_like(y).requires_grad_(), call)
    assert torch.equal(silent, x)


def test_a_sublayer_that_writes_nothing_has_a_finite_gradient():
    """(3) k is not defined there."""
    rule, x = steps_of(1, residual("delta"))[0], normal(2, 5, 16)
    y = torch.zeros_like(x, requires_grad=True)
    rule.write(x, y, Call.plain(x)).sum().backward()
    assert y.grad.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("layers, every", [(3, 2), (3, 1), (2, 3), (1, 5)])
def test_fresh_rules_are_the_plain_stack(layers, every):
    """(4) exactly: weighted sums of layers, and reads behind a projection of zero."""
    x = tokens(2, 9, 32)
    plain = by.build(by.spec("llama", **SIZE | dict(layers=layers)))
    for rule in (residual("dense_former", every=every), RULES["depth_read"]):
        made = by.build(system(rule, layers=layers))
        assert torch.equal(made(x).logits, plain(x).logits)


@torch.no_grad()
def test_layers_are_summed_with_their_own_weights():
    """(4) y_l = sum_j a_lj X_j over the embedding and all layers so far, by hand, with every number moved."""
    made, x = shake(by.build(system(RULES["dense_former"])).double()), tokens(2, 7, 32)
    plain = by.build(by.spec("llama", **SIZE)).double()
    plain.load_state_dict({k: v for k, v in made.state_dict().items() if "weights" not in k})
    flow = plain.start(x)
    states = [flow.x]
    for layer in range(3):
        flow = plain.run(flow, [2 * layer, 2 * layer + 1])
        states.append(flow.x)
        weights = made.steps[2 * layer + 1].rule.weights
        assert made.steps[2 * layer].rule.weights is None and weights.shape == (layer + 2,)
        y = sum(a * state for a, state in zip(weights.flip(0), states))
        flow = flow._replace(carry=y, rule=None)
    assert gap(made(x).logits, plain.finish(flow).logits) < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("name", RULES)
def test_a_token_keeps_nothing_of_another(name):
    """(5) token by token equals the whole; the state is that of a plain stack, byte for byte."""
    made, x = shake(by.build(system(RULES[name])).double()), tokens(2, 12, 32)
    whole = made(x).logits
    said, state = decode(made, x, 1)
    assert gap(said, whole) < 1e-10 and gap(decode(made, x, [5, 7])[0], whole) < 1e-10
    plain = by.build(by.spec("llama", **SIZE)).double()
    assert state.nbytes == decode(plain, x, 1)[1].nbytes


@pytest.mark.parametrize("name", RULES)
def test_recomputed_steps_have_the_same_gradients(name):
    """(5) with history in what steps carry."""
    made, x = shake(by.build(system(RULES[name])).double()), tokens(2, 8, 32)
    found = []
    for again in (False, True):
        made.recompute = again
        loss = torch.nn.functional.cross_entropy(made(x).logits.flatten(0, 1), x.flatten())
        found.append(torch.autograd.grad(loss, list(made.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*found))
    still = [key for (key, _), g in zip(made.named_parameters(), found[0]) if not g.abs().max() > 0]
    assert still == (["steps.0.rule.q.weight"] if name == "depth_read" else [])  # which has one state to choose from


@torch.no_grad()
@pytest.mark.parametrize("name", RULES)
def test_histories_halt_loop_and_start_anew(name):
    """In blocks that loop, halt by the token, and stand between blocks of another rule."""
    parts = (mixer("attention", heads=2), channel("gated"))
    for plan in (depth("shared", loops=3), depth("halting", loops=3)):
        spec = model_spec(
            dim=16, stem=stem("tokens", vocab=32), blocks=(block("layer", *parts),), residual=RULES[name], depth=plan,
            head=head("lm"),
        )  # fmt: skip
        made, x = shake(by.build(spec).double()), tokens(2, 9, 32)
        assert gap(decode(made, x, [4, 5])[0], made(x).logits) < 1e-10
    two = model_spec(
        dim=16, stem=stem("tokens", vocab=32), residual=RULES[name], head=head("lm"),
        blocks=(block("a", *parts), block("b", *parts, residual=residual("postnorm"))),
        depth=depth("hybrid", pattern="a + b + a"),
    )  # fmt: skip
    made = shake(by.build(two).double())
    flow = made.run(made.start(x), range(4))
    rest = made._run(flow._replace(carry=flow.x, rule=None), 4)
    assert gap(made.run(flow, [4]).x, rest.x) < 1e-12


def test_what_stands_where_nothing_is_said():
    """One head over the last four states; layers of two sublayers; a value of two."""
    read, layers, delta = (steps_of(6, residual(name)) for name in RULES)
    assert read[5].room == read[5].seen == 4 and read[1].seen == 2 and read[0].head.shape == (1, 16)
    assert [rule.weights is not None for rule in layers] == [False, True] * 3 and layers[0].room == 4
    wide = steps_of(6, residual("dense_former", every=3))
    assert [rule.weights.numel() if rule.weights is not None else 0 for rule in wide] == [0, 0, 2, 0, 0, 3]
    assert delta[0].value_shift == 2.0 and delta[0].eps == 1e-12 and not delta[0].beta_shift.any()


@torch.no_grad()
def test_one_more_attention_of_a_layer_sees_a_few_tokens():
    made = by.build(by.spec("residual_duality", "tiny", local=3))
    near = [getattr(getattr(step.part, "pattern", None), "window", None) for step in made.steps[:3]]
    assert near == [3, None, None]
    assert len(made.steps) == 6
