"""Ladder residual: its flat formula, what each sublayer reads, devices that add late, the clock of both rules."""

from functools import partial

import pytest
import torch
from system_cases import gap, model, tokens
from torch import distributed, multiprocessing

import blockyard as by
from blockyard.core.spec import block, channel, depth, mixer, residual, transform
from blockyard.parts.residual.ladder import elapsed
from blockyard.transform._base import make_transform
from blockyard.transform.take import take

IDS = tokens(2, 9, 64)
SIZE = dict(dim=16, layers=2, heads=4, ffn=12, vocab=64)


def ladder(layers=3, delay=1, **settings):
    return model("ladder_residual", **SIZE | dict(layers=layers, delay=delay, **settings))


def outputs(made, ids=IDS, steps=None):
    """(flow, what each sublayer wrote) of a run."""
    found = []
    hooks = [step.part.register_forward_hook(lambda _, __, out: found.append(out[0])) for step in made.steps]
    flow = made.run(made.start(ids), steps)
    for hook in hooks:
        hook.remove()
    return flow, found


def flat(made, reads, ids=IDS, steps=None):
    """The stream by the formula: sublayer s (from 0) reads h and the first `reads(s)` outputs."""
    flow = made.start(ids)
    found = []
    for s, step in enumerate(made.steps if steps is None else [made.steps[i] for i in steps]):
        x = flow.x + sum(found[: max(0, reads(s))])
        found.append(step.part(step.rule.norm(x, flow.call), flow.call)[0])
    return flow.x + sum(found)


@torch.no_grad()
def test_it_is_the_flat_formula_and_the_block_form():
    """(1) r_s = h + sum_{j < s-d} u_j, for several d; with two pending outputs as the paper's code has it."""
    for delay in (1, 2, 9):
        made = ladder(delay=delay)
        assert gap(made(IDS).hidden, flat(made, lambda s, d=delay: s - d)) < 1e-12
        assert gap(made(IDS).hidden, flat(made, lambda s, d=delay: s - d + 1)) > 1e-3 or delay > 5
    made = ladder()
    flow = made.start(IDS)
    r, a, m = flow.x, 0, 0
    for mix, change in zip(made.steps[::2], made.steps[1::2]):
        r = r + a
        a, _ = mix.part(mix.rule.norm(r, flow.call), flow.call)
        r = r + m
        m, _ = change.part(change.rule.norm(r, flow.call), flow.call)
    assert gap(made(IDS).hidden, r + a + m) < 1e-12


def test_without_delay_it_is_pre_norm_bit_for_bit():
    """(1) logits and gradients; and no number is the ladder's own."""
    made, plain = ladder(delay=0), model("llama", **SIZE | dict(layers=3))
    assert {n: p.shape for n, p in made.named_parameters()} == {n: p.shape for n, p in plain.named_parameters()}
    plain.load_state_dict(made.state_dict())
    for each in (made, plain):
        each(IDS).logits.square().mean().backward()
    assert torch.equal(made(IDS).logits, plain(IDS).logits)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(made.parameters(), plain.parameters()))
    assert not torch.allclose(ladder(delay=1)(IDS).logits, plain(IDS).logits)


@torch.no_grad()
def test_the_first_layer_is_a_parallel_one():
    """(2) attention and channel both read h, each through a norm of its own."""
    made, other = ladder(layers=1), model("llama", **SIZE | dict(layers=1))
    parallel = by.build(other.spec.but(residual=residual("parallel"))).double()
    parallel.load_state_dict(made.state_dict())
    assert gap(made(IDS).hidden, parallel(IDS).hidden) < 1e-12
    other.load_state_dict(made.state_dict())
    assert gap(made(IDS).hidden, other(IDS).hidden) > 1e-3


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_what_a_sublayer_wrote_reaches_those_that_read_it_and_no_others(delay):
    """(3) du_s / du_{s-k} is exactly zero for k = 1 .. d, and is not for k = d + 1."""
    _, u = outputs(ladder(delay=delay))
    assert len(u) == 6
    for s in range(6):
        for k in range(1, s + 1):
            (slope,) = torch.autograd.grad(u[s].sum(), u[s - k], allow_unused=True, retain_graph=True)
            direct = s - k >= 0 and k > delay
            assert (slope is not None and bool(slope.abs().max() > 1e-6)) == direct, (s, k)


@torch.no_grad()
@pytest.mark.parametrize("delay", [1, 3])
def test_an_early_exit_and_skipped_layers_see_the_whole_stream(delay):
    """(1) after any number of steps, and with a layer left out, what is pending is added."""
    made = ladder(delay=delay)
    for steps in (range(0), range(1), range(3), (0, 1, 4, 5)):
        flow, u = outputs(made, steps=steps)
        assert gap(flow.x, made.start(IDS).x + sum(u)) < 1e-12
        assert gap(flow.x, flat(made, lambda s: s - delay, steps=steps)) < 1e-12
        assert gap(made.finish(flow).hidden, flow.x) == 0


@torch.no_grad()
def test_where_the_rule_changes_the_stream_is_whole():
    """(1) into the ladder, out of it, and to one of another delay: each begins with all that was written."""
    parts = (mixer("attention", heads=4), channel("gated", inner=12))
    rules = {"p": residual("prenorm"), "l": residual("ladder"), "d": residual("ladder", delay=2)}
    spec = by.spec("llama", **SIZE)["model"].but(
        blocks=tuple(block(name, *parts, residual=rule) for name, rule in rules.items()),
        depth=depth("hybrid", pattern="1*p + 2*l + 1*d + 1*p"),
    )
    made = model(spec)
    want = made.start(IDS)
    for steps, delay in ((range(2), 0), (range(2, 6), 1), (range(6, 8), 2), (range(8, 10), 0)):
        x, found = want.x, []
        for i, s in enumerate(steps):
            step = made.steps[s]
            read = x + sum(found[: max(0, i - delay)])
            found.append(step.part(step.rule.norm(read, want.call), want.call)[0])
        want = want._replace(carry=x + sum(found))
    assert gap(made(IDS).hidden, want.x) < 1e-12


class Late:
    """A sum over devices that is on its way: nobody has more than his own part before somebody waits."""

    def __init__(self, parts):
        self.parts = parts

    def wait(self):
        whole = sum(part.clone() for part in self.parts)
        for part in self.parts:
            part.copy_(whole)


def shard(made, rank, world):
    """The model of one device: of every attention some heads, of every channel some inner numbers, the rest whole."""
    for axis in [name for name in made.axes if name.endswith((".part.kv", ".part.inner"))]:
        size = made.axes[axis].size // world
        made, _ = take(made, axis, torch.arange(rank * size, (rank + 1) * size))
    return made


def over_devices(shards, ids, reduce, delay):
    """The logits on each of these devices, all steps in turn; a sum is waited for only where the rule adds it."""
    flows = [each.start(ids).under(each.steps[0].rule) for each in shards]
    waiting = []
    for steps in zip(*(each.steps for each in shards)):
        y = [step.part(step.rule.read(f.carry, ("x",), f.call), f.call)[0] for step, f in zip(steps, flows)]
        waiting.append(reduce(y))
        if len(waiting) > delay:
            waiting.pop(0).wait()
        flows = [f._replace(carry=step.rule.write(f.carry, u, f.call)) for step, f, u in zip(steps, flows, y)]
    for each in waiting:
        each.wait()
    return [each.finish(flow).logits for each, flow in zip(shards, flows)]


@torch.no_grad()
@pytest.mark.parametrize("world, delay", [(2, 0), (4, 1), (2, 2)])
def test_devices_that_add_late_say_what_one_says(world, delay):
    """(4) every sublayer split over W devices; the sum of step s is still missing while step s + d runs."""
    made = ladder(layers=2, delay=delay)
    said = over_devices([shard(made, rank, world) for rank in range(world)], IDS, Late, delay)
    assert all(gap(each, made(IDS).logits) < 1e-12 for each in said)


@torch.no_grad()
def test_a_rule_that_does_not_wait_long_enough_is_noticed():
    """(4) the same devices under a rule that reads at once what they add late say something else."""
    made = ladder(delay=0)
    said = over_devices([shard(made, rank, 2) for rank in range(2)], IDS, Late, 1)
    assert gap(said[0], made(IDS).logits) > 1e-3


def _device(rank, world, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.set_num_threads(1)
    reduce = partial(_started, distributed.group.WORLD)
    with torch.no_grad():
        said = over_devices([shard(by.load(f"{folder}/model"), rank, world)], IDS, reduce, 1)[0]
    torch.save(said, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def _started(group, parts):
    (part,) = parts
    return distributed.all_reduce(part, group=group, async_op=True)


@pytest.mark.slow
def test_two_processes_say_what_one_says(tmp_path):
    """(4) each has half of the numbers, and starts the sum of what it wrote while it computes the next sublayer."""
    made = ladder().float()
    made.save(tmp_path / "model")
    multiprocessing.spawn(_device, (2, str(tmp_path)), nprocs=2)
    with torch.no_grad():
        said = made(IDS).logits
    for rank in range(2):
        assert gap(torch.load(tmp_path / f"{rank}.pt"), said) < 1e-5


def test_the_clock_of_both_rules():
    """(5) S (p + c) without delay; S p + c with it where c <= p, and S c + p where sums take longer."""
    for steps in (1, 2, 7, 16):
        for p, c in ((1.0, 0.45), (0.3, 0.3), (0.5, 0.0), (1.0, 2.5)):
            assert elapsed(steps, p, c, 0) == pytest.approx(steps * (p + c))
            assert elapsed(steps, p, c) == pytest.approx(steps * p + c if c <= p else steps * c + p)
            assert elapsed(steps, p, c, 3) == pytest.approx(elapsed(steps, p, c))
    assert elapsed(16, 1.0, 0.45, 0) / elapsed(16, 1.0, 0.45) > 1.4


@torch.no_grad()
def test_late_layers_are_those_of_the_published_code():
    """The recipe with its last layers laddered is what swap_residual makes of the standard one, and the published form:
    what the last standard channel writes reaches the attention behind it one sublayer late."""
    plain = model("llama", **SIZE | dict(layers=4))
    swap = transform("swap_residual", rule=residual("ladder"), steps=(3, 4, 5, 6, 7))
    done = make_transform(swap).apply(plain).model
    made = ladder(layers=4, last=2)
    made.load_state_dict(plain.state_dict())
    assert torch.equal(made(IDS).logits, done(IDS).logits)
    assert gap(made(IDS).logits, plain(IDS).logits) > 1e-3

    flow = plain.start(IDS)
    whole = flow.x
    for layer in range(4):
        mix, change = plain.steps[2 * layer : 2 * layer + 2]
        if layer < 2:
            less = whole + mix.part(mix.rule.norm(whole, flow.call), flow.call)[0]
            whole = less + change.part(change.rule.norm(less, flow.call), flow.call)[0]
        else:
            early = whole + mix.part(mix.rule.norm(less, flow.call), flow.call)[0]
            less, whole = early, early + change.part(change.rule.norm(whole, flow.call), flow.call)[0]
    assert gap(done(IDS).hidden, whole) < 1e-12


def test_the_recipe_says_which_layers_and_when():
    def rules(**settings):
        return [step.rule.spec.name for step in by.build("ladder_residual", **SIZE | dict(layers=3) | settings).steps]

    assert rules() == rules(last=3) == ["ladder"] * 6
    assert rules(last=1) == ["prenorm"] * 3 + ["ladder"] * 3
    assert rules(after=0.5) == ["prenorm"] * 6
    first, then = by.spec("ladder_residual", after=0.75, last=1, layers=3)["program"]
    assert (first["share"], then["share"]) == (0.75, 0.25) and then["apply"][0]["steps"] == (3, 4, 5)
    (only,) = by.spec("ladder_residual", after=1.0)["program"]
    assert only["share"] == 1.0 and not only.get("apply")
    with pytest.raises(by.UsageError, match="there are 3 layers"):
        rules(last=4)
