"""Speeds that flow with the length: a silent equation in closed form, its solver, draws of training, what goes on."""

import pytest
import torch
from system_cases import F64, decode, gap, normal, shake, tokens

import blockyard as by
from blockyard.core import Axis, Call, Prod, Site, Spec
from blockyard.core.call import Moment
from blockyard.core.site import BuildContext
from blockyard.decode.program import Program
from blockyard.decode.ragged import prefill
from blockyard.model.count import stages
from blockyard.parts.position import clex as module
from blockyard.train.loop import Settings, train
from blockyard.transform._base import make_transform


def flowing(width=16, loud=0.0, **settings):
    """The position as the slot of attention builds it; `loud`: the size of the second matrix."""
    stream = Prod(Axis("kv", 2), Axis("group", 2), Axis("head_dim", width))
    site = Site("", stream, BuildContext(0, Spec("linear", "dense")))
    made = site.build("position", Spec.of("position", "clex", settings)).double()
    with torch.no_grad():
        made.down.copy_(loud * normal(*made.down.shape))
    return made


def other(name, width=16, **settings):
    stream = Prod(Axis("kv", 2), Axis("group", 2), Axis("head_dim", width))
    return Site("", stream, BuildContext(0, Spec("linear", "dense"))).build(
        "position", Spec.of("position", name, settings)
    )


def row(length):
    return Call.plain(torch.zeros(1, length, 1, dtype=F64))


def training(tick, length=8, rows=2):
    call = Call.plain(torch.zeros(rows, length, 1, dtype=F64))
    return call._replace(tick=tick, seed=3)


def turned(made, call, shift=0):
    length = call.positions.shape[1]
    q, k = normal(1, length, 4, 16), normal(1, length, 4, 16, seed=1)
    return made.at_qk(q, k, call._replace(positions=call.positions + shift))


@torch.no_grad()
def test_rows_as_long_as_in_training_are_turned_as_by_rope():
    """(1) To the last bit, whatever the equation has learned; a longer row is not."""
    made, rope = flowing(trained=12, loud=0.05), other("rope")
    for length in (1, 5, 12):
        for one, two in zip(turned(made, row(length)), turned(rope, row(length))):
            assert torch.equal(one, two)
    assert gap(turned(made, row(13))[1], turned(rope, row(13))[1]) > 1e-3


@torch.no_grad()
def test_a_silent_equation_is_a_base_that_grows():
    """(2) W_2 = 0: z(t) = z(1) - r ln(2t - 1), which is dynamic NTK with a factor of 2, here and at transformers."""
    made, cpu = flowing(width=64, trained=100), torch.device("cpu")
    found = made.solve(8, cpu)
    for t in range(1, 9):
        closed = made.start(cpu) - made.reach(cpu) * torch.tensor(2.0 * t - 1, dtype=F64).log()
        assert (found[t - 1] / closed.exp() - 1).abs().max() < 1e-5
        grown = other("dynamic_ntk", width=64, factor=2.0, trained=100).speeds(row(100 * t))
        assert (made.speeds(row(100 * t)) / grown - 1).abs().max() < 1e-5
    utils = pytest.importorskip("transformers.modeling_rope_utils")
    config = pytest.importorskip("transformers.models.llama.configuration_llama").LlamaConfig(
        hidden_size=256, num_attention_heads=4, max_position_embeddings=100,
        rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0),
    )  # fmt: skip
    theirs, _ = utils.ROPE_INIT_FUNCTIONS["dynamic"](config, cpu, seq_len=500)
    assert (found[4] / theirs.double() - 1).abs().max() < 1e-5


def flowed(made, steps, end=4.0):
    return made.flow(made.start(torch.device("cpu")), 1.0, end, steps)


@torch.no_grad()
def test_halving_the_step_divides_the_error_by_sixteen():
    """(3) Of RK4, on a loud equation."""
    made = flowing(loud=0.1)
    exact = flowed(made, 600)
    errors = torch.tensor([float((flowed(made, steps) - exact).abs().max()) for steps in (12, 24, 48)])
    slopes = (errors[:-1] / errors[1:]).log2()
    assert ((slopes - 4).abs() < 0.3).all()
    assert gap(exact, flowed(flowing(loud=0.0), 100)) > 1e-2


@torch.no_grad()
def test_the_equation_is_the_paper_s():
    """dz/dt, number by number."""
    made, z, t, K = flowing(width=8, loud=0.5, base=300.0), normal(4), 2.5, 8
    read = torch.empty(4, dtype=F64)
    for i in range(4):
        nu = 300.0 ** (-2 * i / K) * (2 * t - 1) ** (-2 * i / (K - 2))
        read[i] = z[i] + torch.tensor(nu, dtype=F64).log()
    hidden = made.up @ read
    expected = made.down @ (hidden * hidden.sigmoid())
    expected = expected - torch.tensor([4 * i / ((K - 2) * (2 * t - 1)) for i in range(4)], dtype=F64)
    assert gap(made.slope(t, z), expected) < 1e-12 and made.up.shape == (8, 4)


@torch.no_grad()
@pytest.mark.parametrize("times", [1, 2, 5])
def test_scores_know_the_distance_only_at_every_t(times):
    """(4) At any t; and another t has other scores."""
    made = flowing(loud=0.03, times=times)

    def scores(made, shift):
        return torch.einsum("bthd,bshd->bhts", *turned(made, row(7), shift))

    assert gap(scores(made, 1000), scores(made, 0)) < 1e-10
    assert gap(scores(flowing(loud=0.03, times=times + 1), 0), scores(made, 0)) > 1e-3


@torch.no_grad()
def test_speeds_stay_above_zero_and_flows_compose():
    """(5) From 1 to t to u is from 1 to u."""
    made, cpu = flowing(loud=0.05), torch.device("cpu")
    assert (made.solve(9, cpu) > 0).all()
    way = made.flow(flowed(made, 15, 2.5), 2.5, 6.0, 35)
    assert gap(way, flowed(made, 50, 6.0)) < 1e-12
    assert gap(made.solve(6, cpu)[5].log(), flowed(made, 50, 6.0)) < 1e-12


@torch.no_grad()
def test_t_is_what_a_document_asks():
    """Its length in lengths of training, rounded up, at most `most`; of each row and packed document by itself."""
    made = flowing(loud=0.05, trained=4, most=3)
    table = made.solve(3, torch.device("cpu"))
    for length, t in ((1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (12, 3), (40, 3)):
        assert gap(made.speeds(row(length)).flatten(), table[t - 1]) < 1e-12
    segment = torch.tensor([[0] * 3 + [1] * 9])
    call, _ = by.Batch(torch.zeros(1, 12, dtype=torch.long), segment=segment).call(None, causal=True)
    found = made.speeds(call)[0, :, 0]
    assert gap(found[:3], table[:1].expand(3, 8)) < 1e-12 and gap(found[3:], table[2:].expand(9, 8)) < 1e-12


def test_what_was_solved_is_kept_until_the_equation_changes(monkeypatch):
    """Outside training it is solved once; where gradients flow always."""
    made, solves = flowing(trained=4, loud=0.03), []
    solve = made.solve
    monkeypatch.setattr(made, "solve", lambda *given: solves.append(given[0]) or solve(*given))
    with torch.no_grad():
        for length in (16, 9, 4, 16):
            made.speeds(row(length))
        assert solves == [4] and made.solved == 1
        made.speeds(row(17))
        made.down.data.mul_(2.0)  # no version of a tensor counts this
        changed = made.speeds(row(17))
        assert solves == [4, 5, 5] and gap(changed.flatten(), solve(5, changed.device)[4]) < 1e-12
        made.float().speeds(row(17))
    assert len(solves) == 4
    made.speeds(row(17)).sum().backward()
    assert len(solves) == 5 and made.up.grad.abs().min() > 0 and made.down.grad.abs().min() > 0


def test_training_draws_a_length_and_places_in_it():
    """t evenly from 1 to `most`; T different positions of tT in their order, both ends among them; others each step."""
    made, seen, inner = flowing(most=4), [], []
    for tick in range(200):
        call = training(tick)
        t, places = int(made.drawn(call)), made.places(call)
        assert places.shape == (1, 8) and int(places[0, 0]) == 0 and int(places[0, -1]) == 8 * t - 1
        assert (places.diff() > 0).all()
        assert torch.equal(made.places(call._replace(step=5, loop=1)), places)  # the same for all layers
        seen.append(t)
        inner += places[0, 1:-1].tolist() if t == 4 else []
    assert all(30 < seen.count(t) < 70 for t in (1, 2, 3, 4))
    assert set(inner) == set(range(1, 31))
    assert torch.equal(made.places(training(7, length=1)), torch.zeros(1, 1, dtype=torch.long))
    packed = training(3)._replace(positions=torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]] * 2), aligned=False)
    found = made.places(packed)
    assert torch.equal(found[:, :3], found[:, 3:6]) and (found[:, 3:].diff() > 0).all()


def test_training_turns_by_what_was_drawn(monkeypatch):
    """By the speeds of that t; those of t = 1 are rope's. A compiled forward, which cannot branch, does the same."""
    made, rope = flowing(most=4, loud=0.05), other("rope")
    table, met = made.solve(4, torch.device("cpu")), set()
    for tick in range(12):
        call = training(tick)
        t = int(made.drawn(call))
        met.add(t)
        assert gap(made.speeds(call), table[t - 1]) < 1e-12
        if t == 1:
            assert torch.equal(made.tables(call)[0], rope.tables(call)[0])
        with monkeypatch.context() as patched:
            patched.setattr(module, "is_compiling", lambda: True)
            whole = made.speeds(call)
        assert gap(whole, table[t - 1]) < 1e-12
    assert met == {1, 2, 3, 4}


def model_of(**settings):
    swapped = {f"mixer.{key}": value for key, value in dict(position=Spec.of("position", "clex", settings)).items()}
    return by.build("llama", "tiny", dim=64, **swapped)


def quiet(model):
    """Random values in every parameter, small ones in the equation, which runs away where it is loud."""
    shake(model)
    model.steps[0].part.position.down.data.mul_(0.1)
    return model


def test_all_layers_share_one_equation_and_learn_it():
    """One forward of training draws once; its gradient reaches both matrices through every layer."""
    model = quiet(model_of(trained=4, most=3).double())
    first, second = (model.steps[step].part.position for step in (0, 2))
    assert first.up is second.up and first.down is second.down
    moment = next(Moment(1, tick) for tick in range(20) if int(first.drawn(training(tick)._replace(seed=1))) > 1)
    with model.training_at(moment):
        one, again = model(tokens(2, 6)).logits, model(tokens(2, 6)).logits
    assert torch.equal(one, again)
    one.square().mean().backward()
    assert first.up.grad.abs().max() > 0 and first.down.grad.abs().max() > 0
    model.recompute = True
    with model.training_at(moment):
        assert torch.equal(model(tokens(2, 6)).logits, one)


@torch.no_grad()
def test_a_state_needs_one_t_for_the_whole_text():
    """Without one it is refused in a line; with one, pieces are the whole and decode as recorded instructions."""
    model = model_of(trained=4)
    with pytest.raises(by.UsageError, match="clex"):
        model(tokens(1, 3), model.init_state(1))
    with pytest.raises(by.UsageError, match="times="):
        model.steps[0].part.position.prepare(by.Batch(tokens(1, 3)).call(by.State.empty(1), causal=True)[0])
    made = make_transform(Spec.of("transform", "swap_position", dict(position=Spec.of(
        "position", "clex", dict(trained=4, times=3)
    )))).apply(quiet(model)).model  # fmt: skip
    assert torch.equal(made.steps[0].part.position.up, model.steps[0].part.position.up)
    assert gap(made(tokens(1, 12)).logits, model(tokens(1, 12)).logits) < 1e-5  # twelve tokens ask for t = 3
    assert gap(decode(made, tokens(1, 12), [5, 1, 6])[0], made(tokens(1, 12)).logits) < 1e-5
    for again in (False, True):
        said, state = prefill(made, tokens(2, 5))
        program = Program.of(made, 2, 16)
        program.load(state)
        for _ in range(4):
            written = said.argmax(-1)
            said, state = prefill(made, written[:, None], state)
            assert gap(program.step(written), said) < 1e-4
        if not again:  # what is recorded follows
            made.steps[0].part.position.down.data.mul_(3.0)
    with pytest.raises(by.UsageError, match="times=9 must be at most 4"):
        flowing(times=9, most=4)


def test_the_recipe_changes_positions_on_the_way():
    """The second phase trains the flow; what the first one learned goes on."""

    class Rows:
        def next(self, step):
            return tokens(4, 17, seed=step).numpy()

    system = by.spec("clex", "tiny")
    done = train(system, by.build(system), Rows(), Settings(steps=10, lr=1e-2))
    assert done.status == "finished"
    position = done.model.steps[0].part.position
    assert position.spec.name == "clex" and position.trained == 16 and position.most == 4
    assert position.down.abs().max() > 0
    long = tokens(1, 64)
    assert done.model(long).logits.isfinite().all()
    for then, name in (("same", "rope"), ("interpolated", "interpolated"), ("larger_base", "dynamic_ntk")):
        grown = stages(by.spec("clex", "tiny", then=then))[-1].spec
        assert by.build(grown).steps[0].part.position.spec.name == name
