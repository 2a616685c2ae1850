"""BERT and ALBERT, and naming masked tokens: against transformers with its own weights, and against the definition."""

import pytest
import torch
from system_cases import gap, model, normal, shake, tokens
from torch.nn.functional import cross_entropy

import blockyard as by
from blockyard.core.spec import corrupt, objective
from blockyard.train.loop import build_objective

SMALL = dict(hidden_size=16, num_attention_heads=2, intermediate_size=24, vocab_size=37, hidden_act="gelu_new")
SMALL |= dict(max_position_embeddings=24, type_vocab_size=2, pad_token_id=0)


def pair(kind, folder):
    """A recipe with the numbers of theirs, as its folder is read, and theirs."""
    transformers = pytest.importorskip("transformers")
    size = dict(dim=16, heads=2, ffn=24, vocab=37, length=24)
    more, own = (
        (dict(num_hidden_layers=2), dict(layers=2))
        if kind == "Bert"
        else (dict(num_hidden_layers=3, embedding_size=8), dict(loops=3, embed=8))
    )
    config = getattr(transformers, f"{kind}Config")(**SMALL | more)
    made = shake(getattr(transformers, f"{kind}ForMaskedLM")(config).eval())
    made.save_pretrained(folder)
    ours = by.build(by.spec(kind.lower(), **size, **own))
    ours.load_state_dict(by.load(folder).state_dict())
    return ours.eval(), made


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Bert", "Albert"])
def test_logits_loss_and_gradients_are_those_of_transformers(kind, tmp_path):
    ours, made = pair(kind, tmp_path)
    x = tokens(3, 19, 36) + 1  # their token 0 has no gradient
    kinds = torch.arange(19).expand(3, 19) // 8 % 2
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[1, 12:] = False
    targets = torch.where((torch.arange(57).view(3, 19) % 4 == 0) & valid, x, -1)
    theirs_said = made(
        input_ids=x, token_type_ids=kinds, attention_mask=valid.long(), labels=torch.where(targets < 0, -100, targets)
    )
    batch = by.Batch(x, targets, valid=valid, more={"kinds": kinds})
    assert theirs_said.logits.std() > 0.3
    assert gap(ours(batch).logits[valid], theirs_said.logits[valid]) < 1e-4
    total, count, _ = build_objective(objective("masked"), ours)(ours, batch)["masked"]
    assert gap(total / count, theirs_said.loss) < 1e-5
    (total / count).backward()
    theirs_said.loss.backward()
    assert gap(ours.stem.table.grad, made.get_input_embeddings().weight.grad) < 1e-5


def test_the_head_speaks_of_the_asked_tokens_only_and_nothing_else_changes():
    """The loss and every gradient are those of all logits; the vocabulary is multiplied by the asked tokens alone."""
    made = model("bert", dim=16, layers=2, vocab=33, length=32)
    teach = build_objective(objective("masked", corrupt=corrupt("mask", share=0.3, vocab=33)), made)
    batch = teach.prepare(by.Batch(tokens(3, 20, 32)), lambda name, shape: normal(*shape).sigmoid())
    asked, seen = batch.targets >= 0, []
    linear = made.head.store.linear
    made.head.store.linear = lambda x, *rest: seen.append(x.shape[:-1].numel()) or linear(x, *rest)
    total, count, weight = teach(made, batch)["masked"]
    assert seen == [int(asked.sum())] and 5 < count < 30 and weight == 1 and count == teach.counts(batch)["masked"]
    wanted = cross_entropy(made(batch).logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-1, reduction="sum")
    assert gap(total, wanted) < 1e-12
    for p, a, b in zip(made.parameters(), *(torch.autograd.grad(x, [*made.parameters()]) for x in (total, wanted))):
        assert (a - b).abs().max() <= 1e-12 * max(1, p.abs().max())


@torch.no_grad()
def test_a_head_that_reads_several_tokens_gets_them_all():
    made = model("bert", dim=16, layers=1, vocab=33, length=32)
    plain, teach = made.head.forward, build_objective(objective("masked"), made)
    batch = by.Batch(tokens(2, 12, 32), torch.where(torch.arange(24).view(2, 12) % 5 == 0, 7, -1))
    made.head.claims = {}
    made.head.forward = lambda x, call, state: plain(x.cumsum(1), call, state)
    wanted = cross_entropy(made(batch).logits[batch.targets >= 0], batch.targets[batch.targets >= 0], reduction="sum")
    assert gap(teach(made, batch)["masked"][0], wanted) < 1e-12


def test_a_batch_that_asks_nothing_costs_nothing():
    made = model("bert", dim=16, layers=1, vocab=33, length=32)
    batch = by.Batch(tokens(2, 12, 32), torch.full((2, 12), -1))
    total, count, _ = build_objective(objective("masked"), made)(made, batch)["masked"]
    total.backward()
    assert total == 0 and count == 0 and not any(p.grad.any() for p in made.parameters() if p.grad is not None)


def test_a_model_that_reads_from_left_to_right_is_refused():
    with pytest.raises(by.UsageError, match="needs a model that lets a token see what comes after it"):
        build_objective(objective("masked"), by.build("llama", "tiny"))
    with pytest.raises(by.UsageError, match=r"mixer:gla does not claim bidirectional.*mixers that do: .*attention"):
        by.build("gla", "tiny", **{"model.causal": False})


def test_a_shared_layer_counts_once_whatever_the_depth_and_the_narrow_table_as_it_should():
    """ALBERT: parameters do not grow with loops; V E + E D of the tables; gradients are sums over the loops."""
    few, many = by.build("albert", "tiny"), by.build("albert", "tiny", loops=7)
    assert sum(p.numel() for p in few.parameters()) == sum(p.numel() for p in many.parameters())
    assert few.stem.table.shape == (257, 16) and few.stem.widen.weight.shape == (32, 16)
    shared = model("albert", dim=16, loops=3, heads=2, embed=8, vocab=33, length=32)
    stacked = shared.spec.but(depth=by.Spec.of("depth", "stack", dict(layers=3)))
    untied = by.build(stacked).double()
    mine = shared.state_dict()
    names = {name: f"steps.{int(name.split('.')[1]) % 2}.{name.split('.', 2)[2]}" for name in untied.state_dict()
             if name.startswith("steps.")}  # fmt: skip
    untied.load_state_dict({name: mine[names.get(name, name)] for name in untied.state_dict()})
    x = tokens(2, 10, 32)
    assert gap(untied(x).logits, shared(x).logits) < 1e-12
    for made in (shared, untied):
        made(x).logits.square().mean().backward()
    summed = sum(p.grad for name, p in untied.named_parameters() if names.get(name) == "steps.1.part.up.weight")
    assert gap(shared.steps[1].part.up.weight.grad, summed) < 1e-9
