"""A model as a program says what the model says, token by token."""

import gc
import itertools
import weakref

import pytest
import torch
from decode_cases import RECIPES, going_on, wide

import blockyard as by
from blockyard.core import registry
from blockyard.core.flow import Flow
from blockyard.core.part import Depth
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, position, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.decode.generate import program_for
from blockyard.decode.graph import leaves_of
from blockyard.decode.program import Program, refusal
from blockyard.decode.ragged import padded, prefill
from blockyard.kernels import rotate
from blockyard.kernels.dispatch import count_flops, force
from tests.cover import each


def band(**settings):
    return dict(pattern=Spec.of("pattern", "band", settings))


def agree(model, lengths=(9, 9), steps=12, tolerance=1e-4, **how):
    if any(part.unrecorded for part in model.parts()):
        assert refusal(model) is not None, "it can be repeated now: its part says otherwise"
        return None
    rows = [torch.randint(model.axes["stem.vocab"].size, (n,)) for n in lengths]
    logits, state = prefill(model, padded(rows))
    program = Program.of(model, len(rows), max(lengths) + steps)
    assert program is not None
    program.load(state)
    for _ in range(steps):
        tokens = logits.argmax(-1)
        logits, state = prefill(model, tokens[:, None], state)
        found = program.step(tokens)
        assert (found - logits).abs().max() < tolerance * max(1, float(logits.abs().max()))
    return program


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe(name):
    agree(wide(name))


@pytest.mark.parametrize("name", ["llama", "mamba2_hybrid", "gated_deltanet"])
def test_rows_of_any_length(name):
    agree(wide(name), (3, 11, 7, 1, 8))


def small(part, rule="prenorm", first=None, activation="silu"):
    return by.build(model_spec(
        dim=64, stem=stem("tokens", vocab=96, position=first),
        blocks=(block("a", part, channel("mlp", inner=96, activation=Spec("activation", activation))),),
        residual=residual(rule) if isinstance(rule, str) else rule, depth=depth("stack", layers=2),
        head=head("lm", tied=rule != "append"),
    ))  # fmt: skip


STEPS = [(kind, name) for kind in ("mixer", "channel") for name in going_on(kind)]


@pytest.mark.parametrize("kind,name", STEPS)
def test_every_mixer_and_channel_past_a_block_of_slots(kind, name):
    settings = {"heads": 1} if "heads" in registry.find(kind, name).schema else {}
    agree(small(Spec.of(kind, name, settings)), (5, 66), steps=70)


@pytest.mark.parametrize("name", going_on("norm"))
def test_every_norm(name):
    agree(small(mixer("attention", heads=2), rule=residual("prenorm", norm=Spec("norm", name))))


@pytest.mark.parametrize("where", [None, *going_on("position")])
def test_every_position(where):
    """In the stem where it acts on the input, else in attention."""
    if where is not None and "at_input" in vars(registry.find("position", where).load_named()):
        agree(small(mixer("attention", heads=2, position=None), first=position(where)))
    else:
        agree(small(mixer("attention", heads=4, kv_heads=2, position=where and position(where))), (5, 9))


@pytest.mark.parametrize("settings", [
    band(window=5), band(window=4, sinks=2), dict(norm=Spec("norm", "rms")), dict(norm_all=Spec("norm", "rms")),
    dict(gate=Spec("activation", "silu")), dict(kv_heads=1), dict(weigh=Spec.of("weigh", "softmax", dict(scale=0.3))),
])  # fmt: skip
def test_settings_of_attention(settings):
    agree(small(mixer("attention", heads=4, **settings)), (3, 12))


@pytest.mark.parametrize("rule", going_on("residual"))
def test_residual_rules(rule):
    agree(small(mixer("attention", heads=2), rule=rule))


@pytest.mark.parametrize("settings", [dict(), band(window=70, sinks=3), band(window=5, sinks=130), band(window=200)])
def test_blocks_of_a_long_past(settings):
    """Those that nobody sees are passed over; those at both ends are seen in part."""
    agree(small(mixer("attention", heads=4, kv_heads=2, **settings)), (317, 250), steps=70)


@pytest.mark.parametrize("activation", registry.entries("activation"))
def test_activations(activation):
    agree(small(mixer("attention", heads=2), activation=activation))


@pytest.mark.parametrize("name,tolerance", [("gla", 1e-4), ("llama", 1e-2)])
def test_matrices_in_half_precision_are_read_as_they_are(name, tolerance):
    """The same numbers in float32, for vectors keep that precision here, but for those that attention remembers."""
    model = wide(name).bfloat16()
    rounded = by.build(model.spec)
    rounded.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    logits, state = prefill(rounded, torch.randint(256, (2, 9)))
    program = Program.of(model, 2, 16)
    program.load(state)
    for _ in range(6):
        tokens = logits.argmax(-1)
        logits, state = prefill(rounded, tokens[:, None], state)
        assert (program.step(tokens) - logits).abs().max() < tolerance * float(logits.abs().max())


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr("blockyard.decode.program.LITTLE", 0)
    model, found = wide("mamba2_hybrid"), []
    for threads in (1, 3, 9):  # also more than there are cores
        torch.set_num_threads(threads)
        try:
            program = Program.of(model, 2, 32)
        finally:
            torch.set_num_threads(1)
        assert program.threads == threads
        found.append(torch.stack([program.step(torch.tensor([i, 7 * i])).clone() for i in range(20)]))
    assert all(torch.equal(found[0], each) for each in found[1:])


def test_a_program_keeps_its_model():
    model = wide("llama")
    kept, program = weakref.ref(model), Program.of(model, 1, 8)
    del model
    gc.collect()
    assert program is not None and kept() is not None


def test_rows_leave():
    model = wide("olmo_hybrid")
    programs = [Program.of(model, n, 16) for n in (3, 2)]
    for i in range(4):
        programs[0].step(torch.tensor([i, 5, 2 * i]))
        programs[1].step(torch.tensor([2 * i, i]))
    programs[0].keep(torch.tensor([2, 0]))
    assert torch.equal(programs[0].step(torch.tensor([3, 4])), programs[1].step(torch.tensor([3, 4])))


def one_by_one(model, rows, **how):
    return [prefill(model, row[None], model.init_state(1, **how)) for row in rows]


def flat(state):
    return [(path, x) for path, x in leaves_of(state.leaves)]


@pytest.mark.parametrize("int8_cache", [False, True])
@pytest.mark.parametrize("name", ["llama", "windowed", "olmo_hybrid", "mamba", "mamba2_hybrid", "hgrn2"])
def test_rows_come_and_go_and_are_the_same_alone(name, int8_cache):
    """To the last bit: whoever stands beside a row, and on whichever line."""
    model = wide("llama", mixer__window=6, mixer__sinks=2) if name == "windowed" else wide(name)
    rows = [torch.randint(256, (n,)) for n in (5, 70, 9)]
    begun = one_by_one(model, rows, int8_cache=int8_cache)
    fed = torch.randint(256, (3, 6))
    alone = []
    for (_, state), tokens in zip(begun, fed):
        program = Program.of(model, 1, 8, int8_cache)
        program.load(state)
        alone.append([program.step(token[None]).clone()[0] for token in tokens])
    program = Program.of(model, 1, 8, int8_cache)
    program.load(begun[0][1])
    lines, at = [0], [0, 0, 0]

    def step():
        logits = program.step(torch.stack([fed[row, at[row]] for row in lines]))
        for row, line in zip(lines, logits):
            assert torch.equal(line, alone[row][at[row]])
            at[row] += 1

    step()
    program.join(begun[1][1])
    lines.append(1)
    step()
    program.join(begun[2][1])
    lines.append(2)
    step()
    program.leave(0)
    lines[:] = [2, 1]
    step()
    for line, row in enumerate(lines):
        state = program.row(line)
        tokens = torch.cat([rows[row], fed[row, : at[row]]])
        _, told = prefill(model, fed[row, None, : at[row]], begun[row][1])
        assert torch.equal(state.positions, told.positions) and torch.equal(state.length, told.length)
        assert [path for path, _ in flat(state)] == [path for path, _ in flat(told)]
        for (path, mine), (_, theirs) in zip(flat(state), flat(told)):
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape, path
            gap = (mine.double() - theirs.double()).abs().max()
            assert gap <= (1.01 if mine.dtype == torch.int8 else 2e-4 * max(1, float(theirs.abs().max()))), path
        again = Program.of(model, 1, 8, int8_cache)
        again.load(state)
        assert torch.equal(again.step(fed[row, at[row]][None])[0], alone[row][at[row]])
        assert len(tokens) == int(state.length)


def test_a_memory_as_wide_as_it_is_long_is_not_turned_wrong():
    model = small(mixer("mamba", inner=16, state=16))
    agree(model)


def test_an_op_that_no_instruction_does_is_left_to_the_model(monkeypatch):
    model = wide("llama")
    assert Program.of(model.double(), 1, 8) is None
    monkeypatch.setattr(rotate, "emit", None)
    assert Program.of(model.float(), 1, 8) is None
    narrow = by.build(by.spec("llama", "tiny", dim=24, layers=2))
    assert Program.of(narrow, 1, 8) is None


def test_who_asks_for_other_kernels_gets_no_program():
    """A program is a compiled form of the whole model: what governs the kernels governs it."""
    model = wide("llama")
    contexts = [by.exact(), force("chunked"), count_flops(), torch.autocast("cpu")]
    for context in contexts:
        assert Program.of(model, 1, 8) is not None
        with context:
            assert Program.of(model, 1, 8) is None


def test_hooks_and_weights_elsewhere_are_not_passed_over():
    model, seen = wide("llama"), []
    hook = model.steps[1].part.register_forward_hook(lambda *_: seen.append(1))
    assert Program.of(model, 1, 8) is None
    hook.remove()
    assert Program.of(model, 1, 8) is not None
    model.head.to("meta")
    assert Program.of(model, 1, 8) is None


class Reading(Depth):
    """Of two ways, the one that the stream asks for."""

    def forward(self, flow, run):
        return run(flow, 0) if float(flow.x.mean()) > 1e9 else super().forward(flow, run)


class Asserting(Depth):
    def forward(self, flow, run):
        assert isinstance(flow, Flow)
        return super().forward(flow, run)


class Again(Depth):
    """All steps once more, on states of their own."""

    def forward(self, flow, run):
        return super().forward(super().forward(flow, run), lambda flow, step, loop: run(flow, step, loop + 1))


class Trying(Depth):
    """What the first step gives at first is thrown away."""

    def forward(self, flow, run):
        run(flow, 0)
        return super().forward(flow, run)


@pytest.mark.parametrize("program", [Reading, Asserting, Again, Trying])
def test_a_depth_program_of_any_kind_decodes_as_it_trains(program, monkeypatch):
    monkeypatch.setattr("blockyard.decode.generate.WORTH", (0, 0))
    model, prompt = wide("mamba2"), torch.randint(256, (2, 9))
    model.depth.__class__ = type("Program", (program, type(model.depth)), {})
    found = torch.stack([step.tokens for step in by.generate(model, prompt, 20, by.SamplingParams(temperature=0))], 1)
    with torch.no_grad():
        whole = model(torch.cat([prompt, found], 1)).logits[:, 8:-1]
    assert torch.equal(whole.argmax(-1), found)


@pytest.mark.parametrize("int8_cache", [False, True])
@pytest.mark.parametrize("name", ["llama", "olmo_hybrid", "gpt2"])
def test_more_tokens_than_there_was_room_for(name, int8_cache):
    model = wide(name, position__length=400) if name == "gpt2" else wide(name)
    prompt = torch.randint(256, (3, 70))
    _, state = prefill(model, prompt, model.init_state(3, int8_cache=int8_cache))
    small, large = (Program.of(model, 3, capacity, int8_cache, 4) for capacity in (64, 400))  # the prompt is longer
    for program in (small, large):
        program.load(state)
    for i in range(50):
        tokens = torch.randint(256, (3 - i // 40, 1 + i % 4 * 2 % 4))
        if i == 40:
            small.keep(torch.tensor([2, 0]))
            large.keep(torch.tensor([2, 0]))
        assert torch.equal(small.feed(tokens), large.feed(tokens))
    assert small.builder.capacity > 64


def test_room_is_taken_as_it_is_needed(monkeypatch):
    """Whatever was asked for."""
    monkeypatch.setattr("blockyard.decode.generate.WORTH", (0, 0))
    model, held = wide("llama"), []
    for tokens in (1000, 10**6, 10**15):
        program = program_for(model, [torch.arange(9)], tokens)
        held.append(sum(t.nbytes for made in program.builder.states.values() for t in made.values()))
    assert held[0] == held[1] == held[2] < 1 << 24
    assert len(list(itertools.islice(by.generate(model, torch.arange(9)[None], 10**15), 3))) == 3


@pytest.mark.parametrize("name", ["llama", "hgrn2", "mamba2_hybrid"])
def test_text_from_the_program_is_text_from_the_model(name, monkeypatch):
    """Also where rows have a length of their own, end early, and are drawn from a distribution."""
    model, found = wide(name), []
    rows = [torch.randint(256, (n,)) for n in (3, 9, 5)]
    for worth in ((0, 0), (1 << 60, 0)):
        monkeypatch.setattr("blockyard.decode.generate.WORTH", worth)
        for rules in (by.SamplingParams(temperature=0), by.SamplingParams(top_k=20, repetition_penalty=1.2, seed=3)):
            steps = by.generate(model, rows, 24, rules, stop=[7])
            found.append([step.tokens.tolist() for step in steps])
    assert found[:2] == found[2:]


@pytest.mark.parametrize("int8_cache", [False, True])
@pytest.mark.parametrize("name", each(RECIPES, 5))
def test_some_tokens_at_once_are_the_same_to_the_last_bit(name, int8_cache):
    model = wide(name)
    if any(part.unrecorded for part in model.parts()):
        return  # it has no program: `test_every_recipe` sees to that
    model = model if name in ("llama", "mamba2") else model.bfloat16()
    rows = [torch.randint(model.axes["stem.vocab"].size, (n,)) for n in (5, 9)]
    _, state = prefill(model, padded(rows), model.init_state(2, int8_cache=int8_cache))
    program, other = (Program.of(model, 2, 40, int8_cache, at_once) for at_once in (1, 7))
    assert program is not None and other is not None
    program.load(state)
    other.load(state)
    for many in (7, 1, 2, 5, 3):
        tokens = torch.randint(model.axes["stem.vocab"].size, (2, many))
        one = torch.stack([program.step(column).clone() for column in tokens.t()], 1)
        assert torch.equal(other.feed(tokens), one)


@pytest.mark.parametrize("name", ["llama", "gated_deltanet", "mamba2_hybrid", "hgrn2", "mamba"])
def test_going_back_is_never_having_been_there(name):
    model = wide(name)
    rows = [torch.randint(model.axes["stem.vocab"].size, (n,)) for n in (5, 9)]
    _, state = prefill(model, padded(rows))
    program = Program.of(model, 2, 40, at_once=4)
    assert program is not None
    program.load(state)
    tokens, other = torch.randint(model.axes["stem.vocab"].size, (2, 2, 4))
    program.mark()
    expected = program.feed(tokens)[1].clone()
    program.rewind(torch.tensor([5, 13]))  # the first row to the mark, the second one not at all
    assert program.length.tolist() == [5, 13]
    program.rewind(torch.tensor([5, 9]))
    program.feed(other)
    goal = torch.tensor([7, 9])
    program.rewind(goal)
    assert program.length.tolist() == ([5, 9] if program.recurrent else [7, 9])
    assert torch.equal(program.feed(tokens)[1], expected)
