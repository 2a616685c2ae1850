"""Mix-LN: the lines of its card; layers of another library laid by hand; the two probes over depth."""

import numpy as np
import pytest
import torch
from system_cases import F64, gap, shake, tokens

import blockyard as by
from blockyard.core.spec import (
    activation,
    block,
    channel,
    depth,
    head,
    mixer,
    norm,
    residual,
    stem,
)
from blockyard.core.spec import model as model_spec
from blockyard.model.count import count_params
from blockyard.probe.step_gradients import step_gradients_probe
from blockyard.probe.step_skip import step_skip_probe
from blockyard.transform.cut import without

SIZE = dict(dim=16, heads=2, vocab=32)


def mixed(alpha, layers=4, **settings):
    return by.spec("mix_ln", **SIZE, alpha=alpha, layers=layers, **settings)


def rules(spec):
    """The residual rule of every layer."""
    made = by.build(spec)
    return [made.steps[steps[0]].rule.spec.name for steps in made.depth.blocks]


@torch.no_grad()
def test_the_ends_are_the_pure_placements():
    """(1) alpha=0 is pre-norm exactly; alpha=1 is post-norm, and the norm behind it changes nothing."""
    x = tokens(2, 12, 32)
    none, whole = by.build(mixed(0.0)), by.build(mixed(1.0))
    assert torch.equal(none(x).logits, by.build("llama", **SIZE, layers=4)(x).logits)
    post = by.spec("llama", **SIZE, layers=4).map(
        lambda s: residual("postnorm", norm="rms") if s.kind == "residual" else s
    )
    assert torch.equal(whole(x).logits, by.build(post)(x).logits)
    whole = whole.double()
    normed = whole(x).logits
    bare = by.build(post.map(lambda s: s.but(norm="none") if s.kind == "head" else s)).double()
    assert gap(bare(x).logits, normed) < 1e-4 and gap(none(x).logits, normed) > 1e-3


@pytest.mark.parametrize("alpha", [0.0, 0.29, 1.0])
def test_post_norm_layers_are_counted_exactly(alpha):
    """(2) floor(alpha L) of them for every L up to 48, in hundredths, where floats would lose one; first in order."""
    for layers in range(1, 49):
        spec = mixed(alpha, layers)  # no model is built
        post = round(alpha * 100) * layers // 100
        pattern = spec["model"]["depth"]["pattern"]
        assert pattern == " + ".join(f"{n}*{name}" for n, name in ((post, "post"), (layers - post, "pre")) if n)
    assert rules(mixed(0.29, 7)) == ["postnorm"] * 2 + ["prenorm"] * 5
    assert rules(mixed(0.29, 100))[28:30] == ["postnorm", "prenorm"]


def test_the_share_costs_no_parameters():
    """(2)"""
    assert len({count_params(mixed(alpha, 8)) for alpha in (0.0, 0.25, 0.6, 1.0)}) == 1


@torch.no_grad()
def test_what_the_first_pre_norm_layer_reads_has_unit_size():
    """(3) for every token, at the start and for any weights; a layer further on no more."""
    for made in (by.build(mixed(0.5)).double(), by.build(mixed(0.5), seed=3).double()):
        for p in made.steps.parameters():
            p.mul_(3.0) if p.dim() > 1 else None
        flow = made.run(made.start(tokens(2, 20, 32)), range(4))
        assert (flow.x.square().mean(-1).sqrt() - 1).abs().max() < 1e-3
        assert (made.run(flow, range(4, 8)).x.square().mean(-1).sqrt() - 1).abs().max() > 1e-2


@torch.no_grad()
def test_a_post_norm_layer_knows_no_scale():
    """(4) x and F(x) scaled together leave what it writes; a pre-norm layer's grows with them."""
    made = by.build(mixed(0.5, eps=1e-12)).double()
    x, y = torch.randn(2, 2, 5, 16, dtype=F64, generator=torch.Generator().manual_seed(0))
    call = by.core.Call.plain(x)
    post, pre = made.steps[0].rule, made.steps[-1].rule
    assert gap(post.write(7.5 * x, 7.5 * y, call), post.write(x, y, call)) < 1e-9
    assert gap(pre.write(7.5 * x, 7.5 * y, call), 7.5 * (x + y)) < 1e-9


def ours():
    """A post-norm encoder's layer, then a pre-norm decoder's, in one model."""
    exact = norm("layer", eps=1e-12)
    return by.build(model_spec(
        dim=32, stem=stem("tokens", vocab=64), head=head("lm", tied=False, norm=norm("rms", eps=1e-6)),
        blocks=(
            block(
                "post", mixer("attention", heads=2, position=None),
                channel("mlp", inner=48, activation=activation("gelu_exact")),
                residual=residual("postnorm", norm=exact),
            ),
            block("pre", mixer("attention", heads=2), channel("gated", inner=48)),
        ),
        residual=residual("prenorm", norm=norm("rms", eps=1e-6)), depth=depth("hybrid", pattern="post + pre"),
    )).double()  # fmt: skip


@torch.no_grad()
def test_the_layers_of_another_library_laid_by_hand():
    transformers = pytest.importorskip("transformers")
    from transformers.models.bert.modeling_bert import BertLayer
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

    made = shake(ours())
    for step in made.steps[:2]:
        step.rule.norm.bias.copy_(torch.randn(32, dtype=F64, generator=torch.Generator().manual_seed(2)))
    sizes = dict(hidden_size=32, intermediate_size=48, num_attention_heads=2, attn_implementation="eager")
    bert = BertLayer(transformers.BertConfig(**sizes)).double().eval()
    config = transformers.LlamaConfig(**sizes, num_key_value_heads=2)
    llama = LlamaDecoderLayer(config, 0).double().eval()
    for name, p in bert.named_parameters():
        if name.endswith("bias"):
            p.zero_()  # but for those of the norms
    a, b, c, d = (step.part for step in made.steps)
    own = bert.attention.self
    for to, value in zip((own.query, own.key, own.value), a.qkv.weight.chunk(3)):
        to.weight.copy_(value)
    bert.attention.output.dense.weight.copy_(a.out.weight)
    bert.intermediate.dense.weight.copy_(b.up.weight)
    bert.output.dense.weight.copy_(b.down.weight)
    for to, step in ((bert.attention.output.LayerNorm, 0), (bert.output.LayerNorm, 1)):
        to.weight.copy_(made.steps[step].rule.norm.gain)
        to.bias.copy_(made.steps[step].rule.norm.bias)
    attention = llama.self_attn
    for to, value in zip((attention.q_proj, attention.k_proj, attention.v_proj), c.qkv.weight.chunk(3)):
        to.weight.copy_(value)
    attention.o_proj.weight.copy_(c.out.weight)
    for to, value in zip((llama.mlp.gate_proj, llama.mlp.up_proj), d.up.weight.chunk(2)):
        to.weight.copy_(value)
    llama.mlp.down_proj.weight.copy_(d.down.weight)
    llama.input_layernorm.weight.copy_(made.steps[2].rule.norm.gain)
    llama.post_attention_layernorm.weight.copy_(made.steps[3].rule.norm.gain)

    x = tokens(2, 9, 64)
    h, places = made.start(x).x, torch.arange(9)[None]
    mask = torch.full((9, 9), -torch.inf, dtype=F64).triu(1)[None, None]
    h = bert(h, attention_mask=mask)
    turns = LlamaRotaryEmbedding(config)(h, places)
    h = llama(h, attention_mask=mask, position_ids=places, position_embeddings=turns)
    h = h[0] if isinstance(h, tuple) else h
    assert gap(made.run(made.start(x)).x, h) < 1e-6


def line(made, x):
    logits = made(x).logits.double()
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_by_depth_are_those_of_backward(recompute):
    made, x = shake(by.build(mixed(0.5, layers=2)).double()), tokens(5, 9, 32)
    made.steps[0].part.out.weight.requires_grad_(False)  # one that does not train is looked at as well
    made.recompute = recompute
    found = step_gradients_probe(made, x, batch=2)
    assert made.recompute is recompute and not made.steps[0].part.out.weight.requires_grad
    assert all(p.grad is None for p in made.parameters())
    made.requires_grad_()
    made.recompute = False
    kept = []
    hooks = [step.part.register_forward_hook(lambda _, __, out: kept.append(out[0])) for step in made.steps]
    loss = line(made, x)
    for hook in hooks:
        hook.remove()
    written = torch.autograd.grad(loss, kept, retain_graph=True)
    matrices = [getattr(step.part, "out", None) or step.part.down for step in made.steps]
    slopes = torch.autograd.grad(loss, [m.weight for m in matrices])
    assert len(found) == 8
    for i, (y, w) in enumerate(zip(written, slopes)):
        assert np.isclose(found[f"steps.{i}.part:written"], y.norm().item(), rtol=1e-9)
        assert np.isclose(found[f"steps.{i}.part:projection"], w.norm().item(), rtol=1e-9)


def test_a_step_that_runs_twice_counts_both_runs():
    looped = by.spec("llama", **SIZE, layers=1)["model"].but(depth=depth("shared", loops=2))
    made, x = by.build(looped).double(), tokens(3, 8, 32)
    kept = []
    hook = made.steps[0].part.register_forward_hook(lambda _, __, out: kept.append(out[0]))
    both = torch.autograd.grad(line(made, x), kept)
    hook.remove()
    size = sum(float(g.square().sum()) for g in both) ** 0.5
    assert len(both) == 2 and np.isclose(step_gradients_probe(made, x)["steps.0.part:written"], size)


def test_a_step_that_does_not_run_gets_no_gradient():
    spec = by.spec("llama", **SIZE)["model"].but(depth=depth("sampled", of=depth("stack", layers=3), usual=2))
    found = step_gradients_probe(by.build(spec), tokens(2, 8, 32))
    for what in ("written", "projection"):
        assert [bool(found[f"steps.{i}.part:{what}"] > 0) for i in range(6)] == [True] * 4 + [False] * 2


@torch.no_grad()
def test_what_leaving_out_costs_is_what_cutting_costs():
    made, x = shake(by.build(mixed(0.5)).double()), tokens(5, 9, 32)
    found = step_skip_probe(made, x, batch=2)
    assert len(found) == 1 + 8 + 4 and all(value.shape == (5,) for value in found.values())
    each = torch.stack([line(made, row[None]) for row in x]).numpy()
    assert np.allclose(found["loss"], each)
    for name, steps in (("steps.1.part", [1]), ("steps.6.part", [6]), ("layers.0", [0, 1]), ("layers.3", [6, 7])):
        cut = without(made, steps).model
        assert np.allclose(found[name], torch.stack([line(cut, row[None]) for row in x]).numpy() - each)
    silent = made.steps[4].part.out.weight
    silent.zero_()  # a pre-norm step that writes nothing; of a post-norm one the norm would be missed
    assert np.abs(step_skip_probe(made, x)["steps.4.part"]).max() == 0


@torch.no_grad()
@pytest.mark.parametrize("plan", [depth("shared", loops=3), depth("halting", loops=3)], ids=lambda p: p.name)
def test_a_step_that_loops_is_skipped_in_every_loop(plan):
    looped = by.spec("llama", **SIZE, layers=1)["model"].but(depth=plan)
    made, x = by.build(looped).double(), tokens(2, 9, 32)
    found = step_skip_probe(made, x)
    made.steps[1].part.down.weight.zero_()  # pre-norm: what writes nothing is not there
    silent = step_skip_probe(made, x)["loss"]
    assert np.abs(silent - found["loss"] - found["steps.1.part"]).max() < 1e-12
    assert np.abs(found["steps.1.part"]).min() > 1e-3


@pytest.mark.parametrize("probe", [step_gradients_probe, step_skip_probe])
def test_what_sees_ahead_is_refused(probe):
    both = by.build("llama", **SIZE, layers=1, **{"model.causal": False})
    with pytest.raises(by.UsageError, match="lets no token see what comes after it"):
        probe(both, tokens(2, 5, 32))
    with pytest.raises(by.UsageError, match="rows of 2 tokens"):
        probe(by.build("llama", **SIZE, layers=1), tokens(2, 1, 32))
