"""What must hold of cellular automata as text: the rules, the rows, keys that none reads, and boards without end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from system_cases import model, tokens

import blockyard as by
from blockyard.core.spec import objective
from blockyard.decode.turns import turns as take_turns
from blockyard.decode.turns import writer
from blockyard.task import make_task
from blockyard.task._automaton import ARROW, BEGIN, END
from blockyard.task._exercise import Exercise
from blockyard.train.loop import Run, Settings, build_objective

SMALL = dict(dim=16, layers=1, heads=2, vocab=20)
AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])


def boards(rows, side, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((rows, side, side)) < rng.random((rows, 1, 1))).astype(np.int64)


@pytest.mark.parametrize("side", [3, 8])
def test_life_is_a_circular_convolution(side):
    """(1) a step is that of a convolution on the torus, and of counting eight neighbours one by one."""
    life, some = make_task(f"life:side={side}"), boards(30, side)
    for board, after in zip(some, life.step(some)):
        count = convolve2d(board, AROUND, mode="same", boundary="wrap")
        assert np.array_equal(after, ((count == 3) | ((count == 2) & (board == 1))).astype(int))
        for i in range(side):
            for j in range(side):
                near = sum(board[(i + a) % side, (j + b) % side] for a in (-1, 0, 1) for b in (-1, 0, 1)) - board[i, j]
                assert after[i, j] == (near == 3 or (near == 2 and board[i, j]))


def test_life_has_no_places_and_no_directions():
    """(1) a step commutes with shifts, turns and mirrors of the torus."""
    life, some = make_task("life:side=7"), boards(20, 7)
    for moved in (
        lambda x: np.roll(x, (2, -3), (1, 2)), lambda x: np.rot90(x, 1, (1, 2)), lambda x: x[:, ::-1],
        lambda x: x[:, :, ::-1],
    ):  # fmt: skip
        assert np.array_equal(life.step(moved(some)), moved(life.step(some)))


def test_known_figures_of_life():
    """(1) after four steps a glider is itself, one down and one to the right; a block stays, a blinker turns."""
    life = make_task("life:side=8")

    def on(*cells):
        board = np.zeros((1, 8, 8), int)
        board[0, [a for a, _ in cells], [b for _, b in cells]] = 1
        return board

    glider = on((0, 1), (1, 2), (2, 0), (2, 1), (2, 2))
    run = list(life.steps(glider, 32))
    assert np.array_equal(run[3], np.roll(glider, (1, 1), (1, 2))) and not np.array_equal(run[1], glider)
    assert np.array_equal(run[31], glider)  # round the torus
    block, blinker = on((3, 3), (3, 4), (4, 3), (4, 4)), on((3, 2), (3, 3), (3, 4))
    assert np.array_equal(life.step(block), block)
    once, twice = life.steps(blinker, 2)
    assert np.array_equal(once[0], blinker[0].T) and np.array_equal(twice, blinker)


@pytest.mark.parametrize("rule", [110, 30, 90])
def test_a_rule_of_three_neighbours_is_its_number(rule):
    """(1) a step of a ring reads its rule's bits by three neighbours; rule 90 is the sum of both sides, modulo 2."""
    task, rng = make_task(f"rule110:size=9,rule={rule}"), np.random.default_rng(1)
    rings = rng.integers(0, 2, (20, 9))
    for ring, after in zip(rings, task.step(rings)):
        for i in range(9):
            bits = f"{ring[i - 1]}{ring[i]}{ring[(i + 1) % 9]}"
            assert after[i] == int(f"{rule:08b}"[::-1][int(bits, 2)])
    if rule == 90:
        assert np.array_equal(task.step(rings), (np.roll(rings, 1, 1) + np.roll(rings, -1, 1)) % 2)
    assert np.array_equal(task.step(np.roll(rings, 4, 1)), np.roll(task.step(rings), 4, 1))


@pytest.mark.parametrize("name", ["life:side=4", "rule110:size=9"])
def test_a_row_says_a_board_and_the_next(name):
    """(2) boards go into rows and come out again; what spells no board is told, and never filled in."""
    task = make_task(name)
    drawn = task.sample(3, 40)
    size = task.cells
    assert (drawn.tokens[:, 0] == BEGIN).all() and (drawn.tokens[:, size + 1] == ARROW).all()
    now, sound = task.read(np.pad(drawn.tokens[:, 1 : size + 1], ((0, 0), (0, 1)), constant_values=END))
    assert sound.all() and np.array_equal(task.prompt(now), drawn.tokens[:, : size + 2])
    later, sound = task.read(drawn.targets[:, size + 1 :])
    assert sound.all() and np.array_equal(later, task.step(now)) and later.shape == (40, *task.shape)
    assert (drawn.targets[:, : size + 1] == -1).all()
    good = drawn.targets[:1, size + 1 :]
    for place, other in ((0, END), (2, ARROW), (size, 1), (size - 1, -1), (1, 7)):
        bad = good.copy()
        bad[0, place] = other
        read, sound = task.read(bad)
        assert not sound[0] and (read == -1).all()
    for short in (good[:, :-1], good[:, 1:], np.concatenate([good, good[:, -1:]], 1)):
        assert not task.read(short)[1].any()
    assert task.again(good)[1].all() and np.array_equal(task.again(good)[0], task.prompt(later[:1]))


class Rows:
    def next(self, step):
        return np.random.default_rng(step).integers(0, 20, (4, 21))


def shown(teach, batch, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return teach.prepare(batch, lambda _, shape: torch.rand(shape, generator=draw))


@pytest.mark.parametrize("share, hidden", [(0.15, 3), (0.5, 10), (0.999, 19), (1.0, 19), (0.04, 0)])
def test_so_many_keys_are_hidden(share, hidden):
    """(3) of T keys floor(share T) are hidden, others in every row and step, and never the first."""
    teach = build_objective(objective("forgetful", share=share), model("lifegpt", **SMALL))
    batch = by.Batch(tokens(6, 20, 20))
    made = [shown(teach, batch, seed) for seed in range(3)]
    for each in made:
        assert (~each.readable).sum(1).tolist() == [hidden] * 6 and each.readable[:, 0].all()
        assert torch.equal(each.tokens, batch.tokens) and teach.counts(each) == teach.counts(batch)
    if 0 < hidden < 19:
        rows = torch.cat([each.readable for each in made])
        assert len({tuple(row.tolist()) for row in rows}) == 18


def test_every_key_is_hidden_as_often():
    """(3) hidden keys are drawn evenly from all but the first."""
    teach = build_objective(objective("forgetful", share=0.3), model("lifegpt", **SMALL))
    often = (~shown(teach, by.Batch(torch.zeros(4000, 11, dtype=torch.long))).readable).double().mean(0)
    assert often[0] == 0 and (often[1:] - 0.3).abs().max() < 0.03  # 3 of 10


def test_what_does_not_count_is_not_hidden():
    teach = build_objective(objective("forgetful", share=0.5), model("lifegpt", **SMALL))
    valid = torch.arange(10) >= torch.tensor([[0], [4]])
    made = shown(teach, by.Batch(tokens(2, 10, 20), valid=valid))
    assert (~made.readable).sum(1).tolist() == [5, 3]
    assert made.readable[0, 0] and made.readable[1, :5].all()
    packed = shown(teach, by.Batch(tokens(1, 10, 20), segment=torch.tensor([[0] * 5 + [1] * 5])))
    assert packed.readable[0, 0] and packed.readable[0, 5] and (~packed.readable).sum() == 5


@torch.no_grad()
def test_none_reads_a_hidden_key_and_it_is_asked_all_the_same():
    """(3) what stands at a hidden key changes no other token's prediction; outside training nothing is hidden."""
    body = model("lifegpt", **SMALL)
    teach = build_objective(objective("forgetful", share=0.3), body).double()
    made = shown(teach, by.Batch(tokens(3, 12, 20)))
    other = torch.where(made.readable, made.tokens, (made.tokens + 1) % 20)
    said, changed = (body(replace(made, tokens=ids)).logits for ids in (made.tokens, other))
    assert torch.equal(said[made.readable], changed[made.readable])
    assert not torch.equal(said[~made.readable], changed[~made.readable])
    ((total, count, _),) = teach(body, made).values()
    nats = torch.nn.functional.cross_entropy(said[:, :-1].flatten(0, 1), made.tokens[:, 1:].flatten(), reduction="sum")
    assert count == 3 * 11 and abs(total - nats) < 1e-9
    plain = body(made.tokens).logits
    assert (plain - said).abs().max() > 1e-3 and made.readable[:, :1].all()


def test_with_nothing_hidden_it_is_plain_training():
    """(3) a share of zero trains the very numbers of the next token alone, to the bit."""
    found = []
    for only in (objective("next_token"), objective("forgetful", share=0.0), objective("forgetful")):
        system = by.spec("lifegpt", **SMALL)
        system = system.but(program=(system["program"][0].but(objective=only),))
        run = Run(system, by.build(system), Rows(), Settings(steps=2, lr=1e-2))
        run.advance(), run.advance()
        found.append(run.model.state_dict())
    plain, none, some = found
    assert all(torch.equal(plain[name], none[name]) for name in plain)
    assert not all(torch.equal(plain[name], some[name]) for name in plain)


@pytest.mark.parametrize("name", ["life:side=6", "rule110:size=16"])
def test_with_an_oracle_the_loop_is_the_simulator(name):
    """(4) who writes what the rule says, a token at a time, goes on as the simulator does, for 100 generations."""
    task = make_task(name)
    start = task.read(task.sample(1, 3).targets[:, task.cells + 1 :])[0]
    oracle = task.predictors()["oracle"]

    def write(prompt):
        rows = prompt.numpy()
        for _ in range(task.cells + 1):
            rows = np.concatenate([rows, oracle(rows)[:, -1:]], 1)
        return torch.from_numpy(rows[:, prompt.shape[1] :])

    def fast(prompt):  # the same in one look: the rest of a row is not read
        rows = np.pad(prompt.numpy(), ((0, 0), (0, task.cells)))
        return torch.from_numpy(task.solve(rows)[:, task.cells + 1 :])

    assert torch.equal(write(torch.from_numpy(task.prompt(start))), fast(torch.from_numpy(task.prompt(start))))
    turns = list(take_turns(fast, task.prompt(start), 100, task.again))
    assert len(turns) == 100
    for turn, wanted in zip(turns, task.steps(start, 100)):
        found, sound = task.read(turn.answers.numpy())
        assert sound.all() and turn.sound.all() and np.array_equal(found, wanted)


def test_a_row_that_cannot_be_read_is_out():
    """(2) a malformed answer is told in its turn, says -1 from then on, and the other rows go on."""
    task = make_task("rule110:size=5")
    start, calls = np.array([[0, 1, 0, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]]), []

    def write(prompt):
        calls.append(prompt)
        said = np.pad(task.step(prompt.numpy()[:, 1:6]), ((0, 0), (0, 1)), constant_values=END)
        if len(calls) == 2:
            said[1, 5] = 0  # no end
        if len(calls) == 4:
            said[:, 0] = ARROW
        return torch.from_numpy(said)

    turns = list(take_turns(write, task.prompt(start), 9, task.again))
    assert [turn.sound.tolist() for turn in turns] == [
        [True] * 3,
        [True, False, True],
        [True, False, True],
        [False] * 3,
    ]
    assert (turns[2].answers[1] == -1).all() and (turns[1].answers[1] != -1).all() and len(calls[2]) == 2
    wanted = [step[0] for step in task.steps(start, 3)]
    assert np.array_equal(turns[2].answers[0, :5].numpy(), wanted[2])


@torch.no_grad()
def test_a_model_writes_turn_after_turn():
    """Each turn is the likeliest text behind the prompt that the last one made."""
    task, body = make_task("rule110:size=4"), model("lifegpt", **SMALL | dict(vocab=5))
    turns = list(
        take_turns(writer(body, 5), task.prompt(np.array([[0, 1, 1, 0]])), 2, lambda said: (said % 5, said[:, 0] >= 0))
    )
    prompt = torch.from_numpy(task.prompt(np.array([[0, 1, 1, 0]])))
    for turn in turns:
        ids = prompt
        for _ in range(5):
            ids = torch.cat([ids, body(ids).logits[:, -1:].argmax(-1)], 1)
        prompt = ids[:, prompt.shape[1] :]
        assert torch.equal(turn.answers, prompt)
    for wrong, said in (((torch.zeros(3), 1), r"not with ids of shape \(3,\)"), ((prompt, 0), "times 0")):
        with pytest.raises(by.UsageError, match=said):
            list(take_turns(writer(body, 5), *wrong, task.again))


@pytest.mark.parametrize("name", ["life:side=3", "rule110:size=6"])
def test_boards_are_right_no_more_often_than_the_worst_cell(name):
    """(5) the share of boards that are right is at most the accuracy of every cell; both are counted here by hand."""
    task = make_task(name)
    drawn, rng = task.sample(2, 200), np.random.default_rng(0)
    logits = rng.normal(size=(200, task.length, 5)) + 4 * (np.arange(5) == drawn.targets[..., None])
    logits[:, -2] += rng.normal(size=(200, 5)) * 2
    batch = by.Batch(*map(torch.from_numpy, drawn))
    sums = Exercise("", task).amounts({"logits": torch.from_numpy(logits)}, batch).sum(0).numpy()
    off = (logits.argmax(-1) != drawn.targets)[:, task.cells + 1 :]
    found = task.figures(sums, off.size)
    assert (
        sums[0] == off.sum() and found["wrong boards"] == off.any(1).mean() and found["worst cell"] == off.mean(0).max()
    )
    assert 1 - found["wrong boards"] <= 1 - found["worst cell"] and 0 < found["worst cell"] < found["wrong boards"] < 1


def test_exams_have_boards_of_every_density():
    even = make_task("life:density=0.5")
    assert repr(even.scored_on) == repr(make_task("life"))
    living = [each.sample(0, 400).tokens[:, 1:26].mean(1).std() for each in (even, even.scored_on)]
    assert living[0] < 0.13 < 0.25 < living[1]
    for wrong in ("life:side=2", "rule110:size=2000"):
        with pytest.raises(by.UsageError, match="must be from 3 to 1,024"):
            make_task(wrong)
