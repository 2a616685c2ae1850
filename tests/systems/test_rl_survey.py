"""What must hold of a gated residual rule, of segments with a memory, of little worlds whose best return is known."""

import itertools

import numpy as np
import pytest
import torch
from system_cases import decode, gap, model, normal, part, tokens

import blockyard as by
from blockyard.core import Call, Spec
from blockyard.core.draw import Draw
from blockyard.core.spec import block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.environment._base import make_environment
from blockyard.environment._table import Table
from blockyard.task import make_task
from blockyard.task._held import hold_out


def gate(shut):
    made = part("residual:gated", dim=12, norm="none")
    with torch.no_grad():
        made.shut.fill_(shut)
    return made


@torch.no_grad()
def test_a_shut_gate_is_the_identity():
    """(1) shut by 50 the stream passes as it was, and the more it is shut the less it moves, whatever is written."""
    x, y = normal(3, 7, 12), 3 * normal(3, 7, 12, seed=1)
    call = Call.plain(x)
    moved = [(gate(shut).write(x, y, call) - x).abs().mean().item() for shut in (-4.0, 0.0, 2.0, 5.0, 12.0, 50.0)]
    assert moved == sorted(moved, reverse=True) and moved[0] > 0.1
    assert gap(gate(50.0).write(x, y, call), x) < 1e-6 and moved[-1] < 1e-12
    assert float(by.make("residual:gated", dim=12).shut.detach().mean()) == 2.0


@torch.no_grad()
@pytest.mark.parametrize("plain", [True, False])
def test_the_gate_is_the_gru_of_torch_where_both_agree(plain):
    """(1) the oracle: with U_h the identity torch's cell gives the same, its z being 1 - z; else it does not."""
    made, D = gate(2.0), 12
    x, y = normal(5, 1, D), normal(5, 1, D, seed=1)
    if plain:
        made.kept.weight.copy_(torch.eye(D))
    written, old = made.written.weight.view(3, D, D), made.old.weight.view(2, D, D)
    cell = torch.nn.GRUCell(D, D).double()
    cell.weight_ih.copy_(torch.cat([written[0], -written[1], written[2]]))
    cell.weight_hh.copy_(torch.cat([old[0], -old[1], made.kept.weight]))
    cell.bias_ih.copy_(torch.cat([torch.zeros(D), made.shut, torch.zeros(D)]))
    cell.bias_hh.zero_()
    found = made.write(x, y, Call.plain(x))[:, 0]
    off = gap(found, cell(y[:, 0].relu(), x[:, 0]))
    assert off < 1e-12 if plain else off > 1e-2


def stack(layers, vocab=32, **memory):
    """Layers of segments with memory, or of plain attention where nothing is said of segments."""
    mixing = mixer("segment_memory", heads=2, **memory) if memory else mixer("attention", heads=2, position="rope")
    return model_spec(
        dim=16, stem=stem("tokens", vocab=vocab), blocks=(block("layer", mixing, channel("gated", inner=16)),),
        residual=residual("prenorm"), depth=depth("stack", layers=layers), head=head("lm"),
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 3])
def test_segments_with_an_unlimited_memory_are_one_pass(layers):
    """(2) fed segment by segment, with the state carried, and with relative positions: plain attention in one pass."""
    ours, plain = model(stack(layers, size=5, memory=None)), model(stack(layers))
    plain.load_state_dict(ours.state_dict())
    x = tokens(2, 23, 32)
    whole = plain(x).logits
    assert gap(decode(ours, x, [5, 5, 5, 5, 3])[0], whole) < 1e-10 and gap(ours(x).logits, whole) < 1e-10
    little = model(stack(layers, size=5, memory=2))
    little.load_state_dict(ours.state_dict())
    assert gap(little(x).logits[:, :5], whole[:, :5]) < 1e-10 < 1e-3 < gap(little(x).logits[:, 5:], whole[:, 5:])


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("memory", [0, 4, 6])
def test_the_reach_grows_with_the_layers(layers, memory):
    """(2) what the last token hears of, token by token: layers times the memory, rounded to segments on the way."""
    size, length = 4, 28
    made = model(stack(layers, size=size, memory=memory))
    first = length - 1
    for _ in range(layers):
        first = max(0, first // size * size - memory)
    x = tokens(1, length, 32)
    said = made(x).logits[:, -1]
    for at in range(length):
        other = x.clone()
        other[:, at] = (other[:, at] + 1) % 32
        moved = (made(other).logits[:, -1] - said).abs().max() > 1e-9
        assert bool(moved) == (at >= first), at
    assert first <= max(0, length - size - layers * memory) and (memory or first == length - size)


@pytest.mark.parametrize("position", ["rope", "alibi", None])
@pytest.mark.parametrize("memory", [3, None])
def test_no_gradient_reaches_the_memory(position, memory):
    """(3) neither through keys nor values: of later segments by the tokens before it is zero, in numbers they are read,
    and the weights learn from what is read."""
    made = part("mixer:segment_memory", heads=2, size=4, memory=memory, position=position)
    x = normal(2, 12, 16).requires_grad_()
    y, _ = made(x)
    (slope,) = torch.autograd.grad((y[:, 8:] * normal(2, 4, 16, seed=3)).sum(), x, retain_graph=True)
    assert slope[:, :8].abs().max() == 0 and (slope[:, 8:].abs().amax((0, 2)) > 1e-6).all()
    with torch.no_grad():
        assert gap(made(x)[0], y) < 1e-12, "the numbers are those of plain attention over the same tokens"
        other = x.clone()
        other[:, 7] += 1
        assert (made(other)[0][:, 8:] - y[:, 8:]).abs().max() > 1e-3
    (found,) = torch.autograd.grad(y[:, 8:].square().sum(), made.qkv.weight)
    way, sums = normal(*found.shape, seed=4), []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            made.qkv.weight.add_(step * way)
            sums.append(made(x)[0][:, 8:].square().sum().item())
    assert (sums[0] - sums[1]) / 2e-5 == pytest.approx((found * way).sum().item(), rel=1e-6)


def test_the_first_segment_learns_as_attention_does():
    """(3) within a segment gradients are those of plain attention, of a row that is packed of two documents as well."""
    ours, plain = model(stack(2, size=6, memory=4)), model(stack(2))
    plain.load_state_dict(ours.state_dict())
    x = tokens(2, 6, 32)
    batch = by.Batch(torch.cat([x, x.flip(0)], 1), segment=torch.tensor([[0] * 6 + [1] * 6] * 2))
    for given in (x, batch):
        found = [torch.autograd.grad(m(given).logits.square().sum(), list(m.parameters())) for m in (ours, plain)]
        assert max(gap(a, b) for a, b in zip(*found, strict=True)) < 1e-9
    long = [torch.autograd.grad(m(tokens(2, 12, 32)).logits.square().sum(), m.stem.table)[0] for m in (ours, plain)]
    assert gap(*long) > 1e-3


WORLDS = ("t_maze(length=6)", "gridworld(size=4)", "gridworld(size=3,slip=0.3)", "bandits(arms=2,steps=5)",
          "key_door(length=3)")  # fmt: skip


def brute(world, state, left):
    """The best mean return from a state, by trying everything; no table and no number of states."""
    if not left:
        return 0.0
    best = -np.inf
    for action in range(world.actions):
        outcomes = world.outcomes(np.array([state]), np.array([action]))
        total = 0.0
        for chance, after, reward, ended in zip(*(each[0].tolist() for each in outcomes)):
            if chance:
                total += chance * (reward + (0 if ended else brute(world, after, left - 1)))
        best = max(best, total)
    return best


@pytest.mark.parametrize(
    "text",
    ["t_maze(length=3)", "gridworld(size=2)", "gridworld(size=2,slip=0.4)", "bandits(steps=4)", "key_door(length=2)"],
)
def test_the_best_return_is_that_of_dynamic_programming(text):
    """(4) and of a search through everything that can happen."""
    world = make_environment(text)
    table, plan = Table.of(world), Table.of(world).plan()
    steps = min(world.steps, 3 if world.actions > 3 else 4)
    there = plan.value[world.steps - steps][table.starts]
    wanted = [brute(world, state, steps) for state in world.starts().tolist()]
    assert np.abs(there - wanted).max() < 1e-12
    assert world.optimum is None or abs(world.optimum - plan.value[0][table.starts].mean()) < 1e-12


def test_two_arms_and_two_pulls():
    """(4) of the best that is known by hand: 1/2, then 2/3 behind a win and the other arm behind a loss."""
    table = Table.of(make_environment("bandits(arms=2,steps=2)"))
    assert abs(table.plan().value[0][0] - (1 / 2 + 1 / 2 * 2 / 3 + 1 / 2 * 1 / 2)) < 1e-12


@pytest.mark.parametrize("length, prize", [(1, 2), (2, 3)])
def test_the_worth_of_a_key_comes_with_the_last_step_alone(length, prize):
    """(4) by a search: all steps see its whole prize, one step fewer sees nothing; who has none gets none."""
    world = make_environment(f"key_door(length={length},prize={prize})")
    start = np.repeat(world.starts(), 2, 0)
    chance, after, reward, ended = world.outcomes(start, np.array([0, 1, 0, 1]))
    assert not reward.any() and not ended.any()
    taken = after[..., 2].all(1)
    assert taken.tolist() == [True, False, False, True] and not after[~taken, :, 2].any()
    for left in range(world.steps):
        worth = [sum(c * brute(world, s, left) for c, s in zip(*each)) for each in zip(chance.tolist(), after.tolist())]
        assert np.allclose(worth, min(left, length) / 2 + prize * taken * (left > length))


def test_what_has_paid_is_all_that_there_is_to_know_of_an_arm():
    """(4) of arms whose hidden rates are drawn evenly, the returns of the best plan are those of the table."""
    table, draw = Table.of(make_environment("bandits(arms=2,steps=5)")), np.random.default_rng(0)
    plan, n = table.plan(), 20_000
    rates, state, total = draw.random((n, 2)), np.zeros(n, np.int64), np.zeros(n)
    for t in range(5):
        action = plan.action[t, state]
        pays = (draw.random(n) < rates[np.arange(n), action]).astype(np.int64)
        total += pays
        state = table.after[state, action, pays]
    assert abs(total.mean() - plan.value[0][0]) < 4 * total.std() / n**0.5


@pytest.mark.parametrize("text", WORLDS)
def test_episodes_follow_from_the_seed(text):
    """(4) the same again, others of another seed; and one that is played by hand, outcome by outcome, may happen."""
    world = make_environment(text)
    table = Table.of(world)

    def play(seed):
        any_action = Draw(seed, 50, stream=9).below(world.actions, world.steps)
        return table.play(lambda t, state, seen, done: any_action[:, t], Draw(seed, 50))

    one, two, other = play(1), play(1), play(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, two)) and not np.array_equal(one.action, other.action)
    for seen, action, reward, alive in zip(*(each.tolist() for each in one)):
        possible = [state for state in world.starts().tolist() if world.sight(np.array([state]))[0] == seen[0]]
        for t in range(world.steps):
            if not alive[t]:
                assert reward[t] == 0
                continue
            outcomes = world.outcomes(np.array(possible[:1]), np.array([action[t]]))
            options = [each for each in zip(*(x[0].tolist() for x in outcomes)) if each[0] > 0 and each[2] == reward[t]]
            on = t + 1 < world.steps and alive[t + 1]
            options = [o for o in options if o[3] != on or t + 1 == world.steps]
            options = [o for o in options if not on or world.sight(np.array([o[1]]))[0] == seen[t + 1]]
            assert options
            possible = [options[0][1]]


def test_without_a_memory_the_maze_is_a_guess():
    """(5) of every policy that decides by what it sees: those that arrive are right in exactly half of the episodes,
    no other does better, and a mixture of them is worth what its parts are."""
    world = make_environment("t_maze(length=4)")
    table, found = Table.of(world), []
    for chosen in itertools.product(range(3), repeat=4):
        found.append(table.worth(np.eye(3)[list(chosen)]))
        arrives = chosen[:3] == (0, 0, 0) and chosen[3] > 0
        assert found[-1] == 0.5 if arrives else found[-1] in (0.0, 0.5)
    mixed = np.array([[1, 0, 0]] * 3 + [[0, 0.3, 0.7]])
    assert (
        max(found) == 0.5 and abs(table.worth(mixed) - 0.5) < 1e-12 < table.plan().value[0][table.starts].mean() - 0.5
    )


@pytest.mark.parametrize("text", ["cloning:environment=gridworld(size=3),best=0.4,worst=0.3", "return_to_go"])
def test_rows_hold_what_was_played(text):
    """Read back, rows are episodes that can happen, their promises the sums of what is still to come, and the exams
    those of the best plan."""
    task = make_task(text)
    rows = task.sample(0, 200)
    best = task.scored_on.sample(0, 200)
    for tokens_, targets in (rows, best):
        lines = np.concatenate([tokens_, np.full((200, 1), task.blank)], 1).reshape(200, task.steps, task.wide)
        asked = targets[:, task.wide - 2 :: task.wide]
        alive = asked >= 0
        assert (lines[..., -2][~alive] == task.blank).all() and alive[:, 0].all()
        assert (lines[:, :-1, -1] == asked[:, :-1])[alive[:, :-1]].all()
        if task.wide == 3:  # each step costs 1 until the goal
            togo = lines[..., 0] - task.first_sum + task.low
            assert np.array_equal(togo[alive], -alive[:, ::-1].cumsum(1)[:, ::-1][alive])
    state = task.table.follow(lines[..., -2] - task.first_sight, lines[..., -1])
    plan = np.stack([task.plans[0].action[t, state[:, t]] for t in range(task.steps)], 1)
    assert (plan == asked)[alive].all() and (task.sample(0, 200).targets != best.targets).any()


def test_a_promise_tells_who_plays():
    """Of mixed episodes one who reads the promise knows the best plan's first action; who does not, takes another."""
    asked = {}
    for name in ("cloning", "return_to_go"):
        task = make_task(f"{name}:environment=gridworld(size=5),best=0.3,worst=0.4")
        exam = task.scored_on.sample(1, 300)
        said = task.predictors()["oracle"](exam.tokens)
        asked[name] = task.amounts({"ids": said}, exam.targets).mean()
    assert asked["return_to_go"] == 0 and asked["cloning"] > 0.5


@pytest.mark.parametrize("text, says", [
    ("cloning:best=0.7,worst=0.7", "at most 1"), ("cloning:environment=t_maze(length=x)", "length"),
    ("return_to_go:environment=maze", "t_maze"), ("cloning:environment=bandits(arms=3,steps=40)", "states"),
])  # fmt: skip
def test_what_cannot_be_recorded_is_refused(text, says):
    with pytest.raises(by.UsageError, match=says):
        make_task(text)


@pytest.mark.parametrize("size, most", [(4, 0), (7, 12)])
def test_exams_ask_what_training_shows_only_where_there_is_too_little(size, most):
    """Of 15 episodes of the best plan none is held out; of 48 a quarter at most, which no training step draws."""
    task = make_task(f"return_to_go:environment=gridworld(size={size}),best=0.5")
    held = hold_out(task)
    assert len(held.rows) == most and held.different == size**2 - 1
    fresh = held.fresh(task, 0, 300).tokens
    assert not {row.tobytes() for row in fresh} & held.rows


def test_a_recipe_takes_segments_in_place_of_attention():
    """The pattern alone stands in any attention, and the mixer in any recipe's step."""
    banded = by.build("llama", "tiny", **{"mixer.pattern": "segments", "pattern.size": 4, "pattern.memory": 2})
    assert banded(tokens(2, 9)).logits.isfinite().all()
    swapped = by.build(by.spec("llama", "tiny").at("steps.0.part", spec=Spec("mixer", "segment_memory")))
    assert swapped.steps[0].part.pattern.size == 32
    with pytest.raises(by.UsageError, match="reads what is far otherwise"):
        by.make("mixer:segment_memory", dim=16, position="capped")
