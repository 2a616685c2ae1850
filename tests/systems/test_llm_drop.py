"""LLM-Drop: the lines of its card; scores by hand with hooks, decoding after, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from system_cases import gap, shake

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.core.spec import depth
from blockyard.probe import step_cosine_probe
from blockyard.probe.step_cosine import _alike
from blockyard.transform._base import make_transform
from blockyard.transform.cut import without
from blockyard.transform.drop import scores_of


def model(name="llama", layers=4, **settings):
    return shake(by.build(name, "tiny", layers=layers, **settings).double()).eval()


def batch(seed=0, rows=4, length=12):
    return by.Batch(torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(seed)))


def mixers(made):
    return [i for i, step in enumerate(made.steps) if step.part.spec.kind == "mixer"]


@torch.no_grad()
def silenced(made, *steps):
    """The model whose named steps write nothing."""
    for step in steps:
        part = made.steps[step].part
        (getattr(part, "out", None) or part.down).weight.zero_()
    return made


@torch.no_grad()
def test_1_what_writes_nothing_scores_one_goes_first_and_is_not_missed():
    made, data = silenced(model(), 4), batch()
    scores = step_cosine_probe(made, data.tokens)
    assert np.abs(scores["steps.4.part"] - 1).max() < 1e-6 and scores["steps.2.part"].max() < 1 - 1e-6
    found = make_transform("drop").apply(made, [data])
    assert set(found.covered) == {"steps.4"} and len(found.left) == 7
    told = {f"{name}.part": score for name, score in found.report["cosine"].items()}
    assert told == pytest.approx({name: scores[name].mean() for name in told}) and len(told) == 4
    assert gap(found.model(data).logits, made(data).logits) < 1e-12
    with pytest.raises(by.UsageError, match="at least one step must stay"):
        without(made, range(8))
    either = make_transform("drop:steps=2,of=either").apply(silenced(made, 1), [data])
    assert set(either.covered) == {"steps.1", "steps.4"}
    assert gap(either.model(data).logits, made(data).logits) < 1e-12


def test_a_stream_of_zeros_scores_one_where_it_stays_zero():
    """And nothing where it does not; elsewhere the cosine counts, whatever the sizes."""
    zero, x, y = torch.zeros(4), torch.tensor([3.0, 4.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0, 0.0])
    before, after = torch.stack([zero, zero, x, x, x]), torch.stack([zero, x, zero, 5 * x, y])
    scores, counts = _alike(before[:, None], after[:, None], by.Batch(torch.zeros(5, 1, dtype=torch.long)))
    assert scores.tolist() == pytest.approx([1, 0, 0, 1, 0.8]) and counts.tolist() == [1] * 5


@torch.no_grad()
def test_2_attention_and_mlp_of_a_block_are_the_block():
    """(2)"""
    made, data = model(), batch()
    block = silenced(silenced(made, 2), 3)  # a block that goes first
    whole = make_transform("drop:of=block").apply(block, [data])
    parts = without(without(block, [2]).model, [2]).model
    assert set(whole.covered) == {"steps.2", "steps.3"}
    assert torch.equal(whole.model(data).logits, parts(data).logits)
    assert len(parts.steps) == len(whole.model.steps) == 6 and sum(1 for _ in whole.model.parameters()) == sum(
        1 for _ in parts.parameters()
    )


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gpt2", "gla", "mamba2_hybrid"])
def test_3_decoding_with_the_smaller_cache_is_the_whole_forward(name):
    made, data = model(name), batch(length=10)
    found = make_transform("drop:steps=2").apply(made, [data]).model
    state, pieces = found.init_state(4), []
    for piece in data.tokens.split([4, 1, 5], 1):
        out = found(piece, state)
        state = out.state
        pieces.append(out.logits)
    assert gap(torch.cat(pieces, 1), found(data).logits) < 1e-5
    assert not torch.allclose(found(data).logits, made(data).logits)


@torch.no_grad()
def test_4_the_cache_has_room_for_what_is_left():
    made, length = model(layers=4, heads=2), 9
    heads, wide = (made.axes[f"steps.0.part.{name}"].size for name in ("kv", "head_dim"))
    for dropped in range(3):
        left = without(made, mixers(made)[:dropped]).model if dropped else made
        state = left(batch(rows=1, length=length), left.init_state(1)).state
        assert state.nbytes == (4 - dropped) * 2 * length * heads * wide * 8


@torch.no_grad()
def test_5_scores_depend_on_no_order_and_no_padding():
    """(5)"""
    made, units = model(), [(i,) for i in range(8)]
    a, b = batch(0), batch(1)
    both = scores_of(made, [a, b], units)
    assert np.allclose(both, scores_of(made, [b, a], units), rtol=1e-12)
    assert np.allclose(both, scores_of(made, [by.Batch(torch.cat([b.tokens, a.tokens]).flip(0))], units), rtol=1e-12)
    padded = torch.nn.functional.pad(a.tokens, (0, 5))
    valid = torch.arange(17).expand(4, 17) < 12
    assert np.allclose(scores_of(made, [a], units), scores_of(made, [by.Batch(padded, valid=valid)], units), rtol=1e-12)


@torch.no_grad()
def test_the_oracle_of_hooks_on_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    ids = torch.randint(0, 64, (3, 11))
    stream, want = [], {}
    for layer in theirs.model.layers:
        layer.register_forward_pre_hook(lambda _, args: stream.append(args[0]))
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _, args: stream.append(args[0]))
    theirs.model.norm.register_forward_pre_hook(lambda _, args: stream.append(args[0]))
    theirs(ids)
    want = [torch.cosine_similarity(x, y, dim=-1).mean(1) for x, y in pairwise(stream)]
    theirs.save_pretrained(tmp_path / "m", safe_serialization=True)
    found = step_cosine_probe(by.load(tmp_path / "m").eval(), ids)
    assert len(want) == 6 and all(np.allclose(found[f"steps.{i}.part"], each, atol=1e-5) for i, each in enumerate(want))


@torch.no_grad()
def test_a_cut_model_runs_as_one_whose_step_is_passed_over(tmp_path):
    made, data = model(), batch()
    found = make_transform("cut:steps=(1,6)").apply(made, [])
    flow = made.run(made.start(data), [0, 2, 3, 4, 5, 7])
    assert torch.equal(found.model(data).logits, made.finish(flow).logits)
    assert found.lineage["steps.1.part.qkv.weight"].path == "steps.2.part.qkv.weight"
    held = dict(made.named_parameters())
    came = {name: origin.path for name, origin in found.lineage.items()}
    assert all(torch.equal(p, held[came.get(name, name)]) for name, p in found.model.named_parameters())
    said = found.model(data).logits
    found.model.save(tmp_path / "m")
    assert torch.equal(by.load(tmp_path / "m")(data).logits, said)


@torch.no_grad()
def test_edits_follow_their_modules():
    made = by.take(model(), "steps.3.part.inner", range(40))[0]
    made = by.quantise(made.float(), 8, keep=("steps.1.*", "stem", "head"))[0]
    data = batch()
    found = without(made, [0, 1]).model
    assert found.axes["steps.1.part.inner"].size == 40
    flow = made.run(made.start(data), range(2, 8))
    assert gap(found(data).logits, made.finish(flow).logits) < 1e-5


@torch.no_grad()
def test_what_all_layers_share_outlives_its_first_owner():
    made, data = model("llama", **{"mixer.position": "t5"}), batch()
    found = without(made, [0]).model
    assert gap(found(data).logits, made.finish(made.run(made.start(data), range(1, 8))).logits) < 1e-12


@pytest.mark.parametrize("what,says", [
    ("cut:steps=9", "the model has steps 0 to 7; 9 cannot be cut"),
    ("cut:steps=(0,1,2,3,4,5,6,7)", "at least one step must stay"),
    ("drop:steps=5", "5 of 4 mixers cannot go"),
    ("drop:steps=4,of=block", "4 of 4 blocks cannot go"),
])  # fmt: skip
def test_what_cannot_go_is_named(what, says):
    with pytest.raises(UsageError, match=says):
        make_transform(what).plan(model())


def test_what_cannot_be_laid_anew_is_named():
    spec = by.spec("llama", "tiny")["model"].but(depth=depth("shared", loops=3))
    with pytest.raises(UsageError, match="depth:shared decides what runs when"):
        make_transform("drop").plan(by.build(spec))
    with pytest.raises(UsageError, match="has a place for each of the steps that share it"):
        make_transform("cut:steps=0").apply(by.build("hgrn2", "tiny", layers=3))
    with pytest.raises(UsageError, match="transform:cut needs steps="):
        make_transform("cut")
