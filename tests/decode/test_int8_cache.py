"""Keys and values in 8 bits: nearly the same numbers, a quarter of the bytes, and a state like any other."""

import pytest
import torch
from decode_cases import ids, model_of, ragged, tiny, written

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.core.state import Coded
from blockyard.decode.generate import generate
from blockyard.decode.prefix import PrefixStore
from blockyard.decode.program import Program
from blockyard.decode.ragged import concat, padded, prefill
from blockyard.decode.rules import SamplingParams

NAMES = ["llama", "gpt2", "olmo_hybrid"]
LIKELIEST = SamplingParams(temperature=0)


def test_a_line_is_off_by_half_a_code_of_its_largest_number():
    x = torch.randn(3, 5, 2, 64) * torch.logspace(-8, 8, 5)[:, None, None]
    x[0, 0, 0] = 0
    coded = Coded.of(x)
    assert coded.codes.dtype == torch.int8 and coded.codes.abs().amax(-1).flatten()[1:].eq(127).all()
    off = (coded.numbers(torch.float32) - x).abs()
    assert (off <= 0.501 * x.abs().amax(-1, keepdim=True) / 127).all()
    assert coded.numbers(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("name", NAMES)
def test_pieces_are_the_whole_and_the_whole_is_near(name):
    model, tokens = model_of(name), ids(2, 24)
    with torch.no_grad():
        plain = model(tokens, model.init_state(2))
        whole = model(tokens, model.init_state(2, int8_cache=True))
        state, found = model.init_state(2, int8_cache=True), []
        for piece in tokens.split([1, 7, 1, 15], 1):
            out = model(piece, state)
            state = out.state
            found.append(out.logits)
    assert (torch.cat(found, 1) - whole.logits).abs().max() < 1e-9
    apart = (whole.logits - plain.logits).abs().max() / plain.logits.abs().max()
    assert 1e-6 < apart < 0.05
    assert state.nbytes < plain.state.nbytes


def test_bytes_of_a_cache():
    """A code a number, and one scale a head and token."""
    model = tiny("llama", dtype=torch.float32, dim=128, heads=2)
    layers = sum(step.part.spec.name == "attention" for step in model.steps)
    held = model(ids(1, 10), model.init_state(1, int8_cache=True)).state.nbytes
    assert held == layers * 10 * 2 * 2 * (64 + 4)
    assert model(ids(1, 10), model.init_state(1)).state.nbytes == layers * 10 * 2 * 2 * 64 * 4


@pytest.mark.parametrize("name", NAMES)
def test_states_go_back_part_and_come_together(name):
    model = model_of(name)
    one, two = (prefill(model, row[None], model.init_state(1, int8_cache=True))[1] for row in ragged(9, 14))
    both = concat([one, two])
    alone = [prefill(model, torch.tensor([[5]]), state)[0] for state in (one, two)]
    assert torch.allclose(prefill(model, torch.tensor([[5], [5]]), both)[0], torch.cat(alone), atol=1e-9)
    swapped = prefill(model, torch.tensor([[5], [5]]), both.select(torch.tensor([1, 0])))[0]
    assert torch.allclose(swapped, torch.cat(alone[::-1]), atol=1e-9)
    further = prefill(model, ids(1, 6, 3), one.mark())[1].rewind(9)
    assert int(further.length) == 9
    assert torch.allclose(prefill(model, torch.tensor([[5]]), further)[0], alone[0], atol=1e-9)
    with pytest.raises(UsageError, match="8 bits"):
        concat([one, prefill(model, ids(1, 4))[1]])


@pytest.mark.parametrize("name", NAMES)
def test_text_does_not_depend_on_neighbours_or_on_a_store(name):
    model, rows = model_of(name), ragged(12, 5, 9)
    together = written(generate(model, rows, 10, LIKELIEST, int8_cache=True))
    for row, line in zip(rows, together):
        assert torch.equal(written(generate(model, row[None], 10, LIKELIEST, int8_cache=True))[0], line)
    store = PrefixStore(model, block_size=4, int8_cache=True)
    for _ in range(2):
        assert torch.equal(written(generate(model, rows, 10, LIKELIEST, store=store, int8_cache=True)), together)
    assert store.open(rows[0])[0].int8_cache
    with pytest.raises(UsageError, match="alike"):
        generate(model, rows, 10, store=store)
    with pytest.raises(UsageError, match="precision"):
        store.keep(rows[0], prefill(model, rows[0][None])[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_program_keeps_the_same_codes(name):
    heads = {"heads": 2}
    model = by.build(by.spec(name, "tiny", dim=128, layers=4, **heads)).eval()
    rows = ragged(3, 11, 7)
    logits, state = prefill(model, padded(rows), model.init_state(3, int8_cache=True))
    program = Program.of(model, 3, 64, int8_cache=True)
    assert program is not None
    program.load(state)
    kinds = {made["keys"].dtype for made in program.builder.states.values() if "keys" in made}
    assert kinds == {torch.int8}
    for _ in range(12):
        tokens = logits.argmax(-1)
        logits, state = prefill(model, tokens[:, None], state)
        found = program.step(tokens)
        # a number between two codes may fall to either side
        assert (found - logits).abs().max() < 3e-3 * max(1, float(logits.abs().max()))


def test_a_window_is_kept_as_it_is():
    model, tokens = model_of("windowed"), ids(1, 20)
    plain, coded = (model(tokens, model.init_state(1, int8_cache=kept)).logits for kept in (False, True))
    assert torch.equal(plain, coded)
