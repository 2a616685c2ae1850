"""Decoding of every recipe: any split, any padding, any neighbours; stops; what is refused."""

import pytest
import torch
from decode_cases import NAMES, ids, model_of, ragged, tiny, written

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.decode.generate import generate
from blockyard.decode.ragged import compact, concat, padded, prefill
from blockyard.decode.rules import SamplingParams
from tests.cover import each

GREEDY = SamplingParams(temperature=0)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_prefill_and_decoding_equal_the_whole(name):
    model, x = model_of(name), ids()
    whole = model(x).logits
    logits, state = prefill(model, x[:, :13], chunk=5)
    for t in range(13, 20):
        assert (logits - whole[:, t - 1]).abs().max() < 1e-9
        logits, state = prefill(model, x[:, t : t + 1], state)
    assert (logits - whole[:, -1]).abs().max() < 1e-9


@torch.no_grad()
@pytest.mark.parametrize("name", each(NAMES, 5))
def test_padding_on_either_side_reaches_no_state(name):
    model, rows = model_of(name), ragged(3, 17, 9)
    alone = [prefill(model, row[None]) for row in rows]
    for side in ("left", "right"):
        for chunk in (4, 512):
            logits, state = prefill(model, padded(rows, side), chunk=chunk)
            for _ in range(2):  # as it comes, and closed up
                for i, (one, own) in enumerate(alone):
                    assert (logits[i] - one[0]).abs().max() < 1e-9
                    more = model(ids(1, 4, 7), own).logits
                    row = compact(state.select(torch.tensor([i])))
                    assert row.aligned and (model(ids(1, 4, 7), row).logits - more).abs().max() < 1e-9
                more = model(ids(3, 4, 7)[:1].expand(3, -1), state).logits
                for i, (_, own) in enumerate(alone):
                    assert (more[i] - model(ids(3, 4, 7)[:1], own).logits[0]).abs().max() < 1e-9
                state = compact(state)


@torch.no_grad()
@pytest.mark.parametrize("name", each(NAMES, 5))
def test_states_join_as_rows(name):
    model, rows = model_of(name), ragged(3, 17, 9)
    empty = model.init_state(1)
    state = concat([prefill(model, row[None])[1] for row in rows] + [empty])
    more = model(ids(1, 4, 7).expand(4, -1), state).logits
    for i, row in enumerate([*rows, rows[0][:0]]):
        alone = model(torch.cat([row, ids(1, 4, 7)[0]])[None]).logits[0, -4:]
        assert (more[i] - alone).abs().max() < 1e-9


@pytest.mark.parametrize("name", each(NAMES, 5))
def test_rows_of_any_length_get_what_they_get_alone(name):
    model, rows, rules = model_of(name), ragged(3, 17, 9), SamplingParams(temperature=1.2, top_k=50, seed=3)
    alone = [written(generate(model, row[None], 10, rules, seeds=[40 + i])) for i, row in enumerate(rows)]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    left = padded(rows, "left")
    assert left.valid is not None
    for prompt, how in ((rows, {}), (tokens, dict(lengths=[3, 17, 9])), (left, {})):
        together = written(generate(model, prompt, 10, rules, seeds=[40, 41, 42], chunk=6, **how))
        assert torch.equal(together, torch.cat(alone))
    turned = written(generate(model, rows[::-1], 10, rules, seeds=[42, 41, 40]))
    assert torch.equal(turned, torch.cat(alone[::-1]))


@pytest.mark.parametrize("name", each(NAMES, 5))
def test_how_the_prompt_is_divided_changes_nothing(name):
    model, x = model_of(name), ids(1, 23)
    for rules in (GREEDY, SamplingParams(seed=1, repetition_penalty=1.3, min_p=0.01)):
        whole = written(generate(model, x, 12, rules))
        for chunk in (1, 4, 22):
            assert torch.equal(written(generate(model, x, 12, rules, chunk=chunk)), whole)
        first = written(generate(model, x, 5, rules))
        rest = written(generate(model, torch.cat([x, first], 1), 7, rules))
        assert torch.equal(torch.cat([first, rest], 1), whole)


@torch.no_grad()
@pytest.mark.parametrize("name", each(NAMES, 5))
def test_rewinding_equals_never_having_gone(name):
    model, x = model_of(name), ids(3, 24)
    state = model(x[:, :6], model.init_state(3)).state.mark()
    back = compact(model(x[:, 6:], state).state.rewind(torch.tensor([6, 24, 15])))
    assert all(6 <= n <= goal for n, goal in zip(back.length.tolist(), (6, 24, 15)))
    rest = [torch.cat([row[n:], row[:2]]) for row, n in zip(x, back.length.tolist())]
    logits, _ = prefill(model, padded(rest), back)
    whole = model(torch.cat([x, x[:, :2]], 1)).logits[:, -1]
    assert (logits - whole).abs().max() < 1e-9


def text_of(ids):
    return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize("name", ["llama", "gated_deltanet", "olmo_hybrid"])
def test_rows_that_stop_leave_and_the_others_do_not_notice(name):
    model, rows, rules = tiny(name), ragged(4, 9, 6, 7), SamplingParams(seed=2)
    free = written(generate(model, rows, 14, rules))
    stops = {int(free[0, 3]), int(free[2, 6])}
    steps = list(generate(model, rows, 14, rules, stop=tuple(stops)))
    tokens = written(steps)
    for row, line in enumerate(free.tolist()):
        met = next((i for i, token in enumerate(line) if token in stops), 13)
        assert tokens[row].tolist() == [*line[: met + 1], *[-1] * (13 - met)][: len(steps)]
        ended = [i >= met and line[met] in stops for i in range(len(steps))]
        assert [bool(step.finished[row]) for step in steps] == ended
        assert all(step.logprobs[row] == 0 for i, step in enumerate(steps) if i > met)


def test_logprobs_are_the_models_own():
    model, x = tiny("llama"), ids(2, 9)
    steps = list(generate(model, x, 5, SamplingParams(temperature=0.7, top_k=9)))
    tokens = written(steps)
    p = model(torch.cat([x, tokens], 1)).logits[:, 8:-1].log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    assert (torch.stack([step.logprobs for step in steps], 1) - p).abs().max() < 1e-9


def test_stop_strings_end_a_row_and_cut_its_text():
    model, rows = tiny("gla"), ragged(4, 9)
    free = list(generate(model, rows, 40, SamplingParams(seed=1), decode=text_of))
    texts = ["".join(step.text[row] for step in free) for row in (0, 1)]
    assert texts == [text_of(line) for line in written(free).tolist()]
    stop = texts[0][10:13]
    steps = list(generate(model, rows, 40, SamplingParams(seed=1), stop=stop, decode=text_of))
    for row, text in enumerate(texts):
        assert "".join(step.text[row] for step in steps) == text.partition(stop)[0]
    assert bool(steps[-1].finished[0]) and int((written(steps)[0] >= 0).sum()) < 40


def test_no_tokens_are_no_steps():
    assert list(generate(tiny("llama"), ids(2, 9), 0)) == []


def test_wrong_requests_are_named_in_a_line():
    model, x = tiny("llama"), ids(2, 5)
    seeing = by.build(by.spec("llama", "tiny"))
    seeing.causal = False
    for call, words in [
        (lambda: generate(model, x[:, :0], 3), "empty"),
        (lambda: generate(model, [], 3), "empty"),
        (lambda: generate(model, x[0], 3), "shape"),
        (lambda: generate(model, x + 300, 3), "ids from 0 to 255"),
        (lambda: generate(model, x.float(), 3), "ids"),
        (lambda: generate(model, x, -1), "tokens"),
        (lambda: generate(model, x, 3, chunk=0), "chunk"),
        (lambda: generate(model, x, 3, seeds=[1]), "seeds"),
        (lambda: generate(model, x, 3, lengths=[1, 9]), "lengths"),
        (lambda: generate(model, by.Batch(x, segment=torch.zeros_like(x)), 3), "unpacked"),
        (lambda: generate(model, x, 3, stop="end"), "decode"),
        (lambda: generate(seeing, x, 3), "future"),
        (lambda: generate(tiny("gpt2"), x, 253), "positions are learned for 256"),
    ]:
        with pytest.raises(UsageError, match=words) as error:
            call()
        assert "\n" not in str(error.value)
