"""A model that reads another one: T5 against transformers with its own weights; the source given once, pieces, rows."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import blockyard as by
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, residual, stem, tower
from blockyard.core.state import Constant
from blockyard.decode.ragged import compact, concat
from blockyard.model.save import load_model, save_model
from blockyard.transform.take import take

SMALL = dict(dim=16, layers=2, heads=2, head_dim=6, ffn=24, vocab=37)


def shaken(made, seed=3):
    draw = torch.Generator().manual_seed(seed)
    for p in made.parameters():
        noise = torch.randn(p.shape, generator=draw, dtype=torch.float64).to(p.dtype)
        p.data = p.data + 0.4 * noise if p.dim() < 2 else noise * p[0].numel() ** -0.5
    return made.eval()


def small(**settings):
    return shaken(by.build("encoder_decoder", **SMALL | settings).double())


def batch(rows=2, length=7, source=9, short=0):
    draw = torch.Generator().manual_seed(rows)
    ids = torch.randint(0, 37, (rows, length), generator=draw)
    more = {"source": torch.randint(0, 37, (rows, source), generator=draw)}
    if short:
        more["source.valid"] = torch.arange(source) < torch.tensor([source, *[short] * (rows - 1)])[:, None]
    return by.Batch(ids, more=more)


def test_it_is_t5(tmp_path):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=37, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, dropout_rate=0.0,
    ))  # fmt: skip
    theirs.lm_head.weight = torch.nn.Parameter(torch.zeros(37, 16))  # it ties what the published model does not
    theirs, ours = shaken(theirs.double()), small(**{"mixer.scale": 1.0})
    theirs.save_pretrained(tmp_path)
    ours.load_state_dict(by.load(tmp_path).state_dict())
    given = batch(short=4)
    mask = given.more["source.valid"]
    expected = theirs(input_ids=given.more["source"], attention_mask=mask.long(), decoder_input_ids=given.tokens)
    assert (ours(given).logits - expected.logits).abs().max() < 1e-5  # its softmax is in float32
    untold = theirs(input_ids=given.more["source"], decoder_input_ids=given.tokens).logits
    assert (ours(given).logits - untold).abs().max() > 1e-3


def test_scores_are_scaled_by_the_root_of_a_heads_channels():
    plain, told, other = small(), small(**{"mixer.scale": 6**-0.5}), small(**{"mixer.scale": 0.5})
    assert torch.equal(plain(batch()).logits, told(batch()).logits)
    assert (plain(batch()).logits - other(batch()).logits).abs().max() > 1e-3


def test_pieces_are_the_whole_and_keys_are_made_once():
    made, given = small(), batch(short=4)
    whole = made(given).logits
    out = made(replace(given, tokens=given.tokens[:, :3]), made.init_state(2))
    said = [out.logits]
    for at in range(3, 7):
        out = made(given.tokens[:, at : at + 1], out.state)
        said.append(out.logits)
    assert torch.allclose(torch.cat(said, 1), whole, atol=1e-10)
    kept = out.state.get((1, 0))["tower"]
    assert isinstance(kept, Constant) and kept.values["k"].shape == (2, 9, 2, 6)
    again = made(given.tokens[:, 4:], out.state.rewind(4)).logits  # a rewind leaves what no token changes
    assert torch.allclose(again, whole[:, 4:], atol=1e-10)
    swapped = made(given.tokens[[1, 0], 4:], out.state.rewind(4).select(torch.tensor([1, 0]))).logits
    assert torch.allclose(swapped, whole[[1, 0], 4:], atol=1e-10)
    with pytest.raises(by.UsageError, match="comes with the first piece"):
        made(given, out.state)


def test_states_of_other_sources_go_on_together():
    made = small()
    one, two = batch(1, source=9), batch(2, length=5, source=4)
    states = [made(each, made.init_state(len(each.tokens))).state for each in (one, two)]
    state = compact(concat(states))
    next_ids = torch.tensor([[3], [4], [5]])
    said = made(next_ids, state).logits[:, 0]
    for row, (given, own) in enumerate([(one, 0), (two, 0), (two, 1)]):
        ids = torch.cat([given.tokens[own : own + 1], next_ids[row : row + 1]], 1)
        alone = made(by.Batch(ids, more={"source": given.more["source"][own : own + 1]})).logits[0, -1]
        assert torch.allclose(said[row], alone, atol=1e-10)


def test_it_writes_what_its_own_logits_say():
    made, given = small(), batch(2, length=3, short=5)
    written = torch.stack([step.tokens for step in by.generate(made, given, 6, by.SamplingParams(temperature=0))], 1)
    ids = given.tokens
    for _ in range(6):
        ids = torch.cat([ids, made(replace(given, tokens=ids)).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(written, ids[:, 3:])
    one = by.Batch(given.tokens[:1], more={name: value[:1] for name, value in given.more.items()})
    best = by.beams(made, one, 6, width=1)[0]
    assert best.tokens == written[0].tolist()
    with pytest.raises(by.UsageError, match="ids alone"):
        list(by.speculate(made, given, 4, by.PromptLookup()))
    with pytest.raises(by.UsageError, match="nothing for it to read"):
        list(by.generate(made, given.tokens, 4))


def test_a_tower_reads_the_question_where_it_is_asked():
    made, given = small(), batch(2, length=7)
    targets = torch.full((2, 7), -1)
    targets[0, 3:5], targets[1, 5] = 2, 1
    asked = by.Batch(given.tokens, targets)
    more = {"source": given.tokens, "source.valid": torch.arange(7) < torch.tensor([[3], [5]])}
    expected = made(by.Batch(given.tokens, more=more)).logits
    assert torch.equal(made(asked).logits, expected)
    assert torch.equal(made(made.blind(asked)).logits, expected) and made.blind(asked).targets is None
    other = asked.tokens.clone()
    other[0, 4], other[1, 6] = (other[0, 4] + 1) % 37, (other[1, 6] + 1) % 37  # answers, which nobody may see before
    told = made(by.Batch(other, targets)).logits
    assert torch.equal(told[0, :4], expected[0, :4]) and torch.equal(told[1, :6], expected[1, :6])


def test_text_that_asks_for_every_token_is_refused():
    from blockyard.task import make_task
    from blockyard.task._exercise import Exercise
    from blockyard.task._material import token_ends

    spec = by.spec("encoder_decoder", "tiny")
    with pytest.raises(by.UsageError, match="every token is asked for"):
        token_ends(9).fit(spec)
    material = Exercise("reverse", make_task("reverse:count=4,offset=2"))
    fitted = by.build(material.fit(spec))
    assert fitted.axes["stem.vocab"].size == 10 and fitted.axes["stem.vocab"] is fitted.axes["towers.source.stem.vocab"]


def test_a_recomputed_tower_and_micro_batches_give_the_same_gradients():
    made, given = small(), batch(4, short=5)

    def gradients(pieces, recompute):
        made.zero_grad()
        made.recompute = recompute
        for index in pieces:
            made(given.rows(index)).logits.square().sum().backward()
        return [p.grad.clone() for p in made.parameters()]

    plain = gradients([slice(0, 4)], False)
    for pieces, recompute in (([slice(0, 4)], True), ([slice(0, 3), slice(3, 4)], False)):
        for a, b in zip(plain, gradients(pieces, recompute)):
            assert torch.allclose(a, b, atol=1e-10)
    assert all(grad.abs().max() > 0 for grad in plain)


def test_a_tower_is_narrowed_and_saved_with_its_model(tmp_path):
    made, given = small(), batch()
    axis = "towers.source.steps.1.part.inner"
    assert made.axes[axis].size == 24
    narrow, _ = take(made, axis, torch.arange(24).flip(0))
    assert torch.allclose(narrow(given).logits, made(given).logits, atol=1e-10)
    fewer, lineage = take(made, axis, range(5))
    assert by.build(fewer.spec).axes[axis].size == 5 and f"{axis.rpartition('.')[0]}.up.weight" in lineage
    words, _ = take(made, "stem.vocab", torch.arange(20))
    kept = by.Batch(given.tokens % 20, more={"source": given.more["source"] % 20})
    assert torch.allclose(words(kept).logits, made(kept).logits[..., :20], atol=1e-10)
    with pytest.raises(by.UsageError, match="two streams share a table"):
        take(made, "towers.source.stream", range(8))
    save_model(fewer.float(), tmp_path / "m")
    assert torch.equal(load_model(tmp_path / "m")(given).logits, fewer(given).logits)


def test_hook_points_reach_into_a_tower():
    made, given = small(), batch()
    out = made(given, points={"towers.source.steps.0.part:context": "read"})
    ((key, value),) = out.captures.items()
    assert key == (0, 0, "towers.source.steps.0.part", "context") and value.shape == (2, 9, 12)


def reader(**changed):
    parts: dict[str, Any] = dict(
        dim=16, stem=stem("tokens", vocab=37), blocks=(block("a", mixer("attention"), channel("mlp")),), causal=False,
        residual=residual("prenorm"), depth=depth("stack", layers=1), head=head("stream"),
    )  # fmt: skip
    return model(**parts | changed)


@pytest.mark.parametrize(
    ("tower_spec", "changed", "said"),
    [
        (reader(head=head("lm")), {}, "head:lm gives tokens, and what is read is head:stream"),
        (reader(dim=8), dict(stem=stem("shared")), "16 wide"),
        (reader(linear=Spec.of("linear", "dense", {"bias": True})), {}, "kind of projection of the model around it"),
        (reader(), dict(blocks=(block("a", mixer("cross", tower="scores")),)), "unknown tower .*scores.*source"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_built(tower_spec, changed, said):
    body = dict(
        blocks=(block("a", mixer("cross")),), causal=True, head=head("lm"), towers=(tower("source", tower_spec),)
    )
    with pytest.raises(by.UsageError, match=said):
        by.build(reader(**body | changed))


def test_a_packed_batch_has_no_one_source():
    given = batch()
    with pytest.raises(by.UsageError, match="mixer:cross does not claim packs"):
        small()(replace(given, segment=torch.zeros_like(given.tokens)))
