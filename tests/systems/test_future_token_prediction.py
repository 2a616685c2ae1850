"""What must hold of spelling several tokens from one state: who sees what, what is scored, and a text with topics."""

import math

import numpy as np
import pytest
import torch
from system_cases import F64, gap, model, normal, tokens
from torch.nn.functional import cross_entropy

import blockyard as by
from blockyard.core.spec import activation, channel, head, linear, mixer, norm, objective, position
from blockyard.task import make_task
from blockyard.task._exercise import Exercise
from blockyard.train.loop import Run, Settings, build_objective

SMALL = dict(dim=16, layers=1, heads=2, vocab=20)
N = 4


def made(seed=1, **settings):
    """A small model whose head spells, and its objective, in double precision, nothing at its start."""
    body = model("future_tokens", seed, **SMALL)
    return body, build_objective(objective("future_tokens", count=N, **settings), body).double()


def spelt(body, ids, count=N, **points):
    """(B,T,N,V): what is said of the next tokens of every place, those before each shown."""
    shown = torch.stack([ids.roll(-n, 1) for n in range(count)], 2)[:, :, 1:]
    return body.finish(body.run(body.start(ids, points=points or None)), shown).logits


@torch.no_grad()
@pytest.mark.parametrize("spelling", ["attention", "gla"])
def test_a_token_is_said_from_those_before_it(spelling):
    """(1) another x_{t+2} leaves the first two predictions from t as they are, to the bit, and changes the third; each
    prediction depends on every token that is shown before it."""
    body = model(by.spec("future_tokens", **SMALL).map(
        lambda s: s.but(mixer=mixer(spelling, heads=2)) if s.kind == "head" else s
    ))  # fmt: skip
    ids, t = tokens(2, 9, 20), 3
    for ahead in range(1, N):
        other = ids.clone()
        other[:, t + ahead] = (other[:, t + ahead] + 1) % 20
        before, after = spelt(body, ids)[:, t], spelt(body, other)[:, t]
        assert torch.equal(before[:, :ahead], after[:, :ahead])
        assert all((before[:, n] - after[:, n]).abs().max() > 1e-6 for n in range(ahead, N))


@torch.no_grad()
def test_of_the_text_only_the_own_state_is_seen():
    """(2) other states in all other places leave the predictions from t as they are; another own state changes each."""
    body, ids, t = made()[0], tokens(2, 9, 20), 4
    whole = spelt(body, ids)[:, t]
    elsewhere = torch.arange(9) != t

    def others(h):
        return torch.where(elsewhere[:, None], normal(*h.shape, seed=3), h)

    def own(h):
        return torch.where(elsewhere[:, None], h, normal(*h.shape, seed=3))

    assert gap(spelt(body, ids, **{"head:normed": others})[:, t], whole) < 1e-12
    changed = spelt(body, ids, **{"head:normed": own})[:, t]
    assert all((changed[:, n] - whole[:, n]).abs().max() > 1e-6 for n in range(N))


@pytest.mark.parametrize("length", [3, 9])
def test_every_token_is_asked_from_each_place_before_it(length):
    """(3) of B rows of T tokens B sum over n of max(0, T - n) predictions are scored, each of the right token."""
    body, teach = made()
    rows = tokens(3, length, 20)
    for batch in (by.Batch(rows), by.Batch(rows[:, :-1], rows[:, 1:])):
        terms = teach(body, batch)
        assert sum(int(count) for _, count, _ in terms.values()) == 3 * sum(max(0, length - n) for n in range(1, N + 1))
        assert {name: int(n) for name, n in teach.counts(batch).items()} == {k: int(v[1]) for k, v in terms.items()}
        labels = teach.labels(batch)
        for t in range(batch.tokens.shape[1]):
            for n in range(N):
                wanted = rows[:, t + n + 1] if t + n + 1 < length else torch.full((3,), -1)
                assert torch.equal(labels[:, t, n], wanted)


def test_one_token_ahead_is_the_next_token():
    """(4) with N = 1 loss and gradients are those of the next token under the same head."""
    body = model("future_tokens", **SMALL)
    batch, found = by.Batch(tokens(3, 8, 20)), []
    for each in (objective("future_tokens", count=1), objective("next_token")):
        body.zero_grad()
        ((total, count, weight),) = build_objective(each, body)(body, batch).values()
        (weight * total / count).backward()
        found.append([total / count, *(p.grad for p in body.parameters())])
    assert len(found[0]) > 10 and all(gap(a, b) < 1e-12 for a, b in zip(*found))
    logits = body(batch).logits[:, :-1]
    assert gap(found[0][0], cross_entropy(logits.flatten(0, 1), batch.tokens[:, 1:].flatten())) < 1e-12
    eight = build_objective(objective("future_tokens", count=3), body)(body, batch)
    assert gap(eight["token 1"][0] / eight["token 1"][1], found[0][0]) < 1e-12


@torch.no_grad()
def test_the_state_enters_by_cross_attention_alone():
    """(5) with nothing written by cross-attention the first prediction is one for all states, later ones depend on what
    is shown alone."""
    body, ids = made()[0], tokens(2, 9, 20)
    whole = spelt(body, ids)[:, :, 0]
    assert (whole - whole[:1, :1]).abs().max() > 1e-3
    body.head.parts[1].out.weight.zero_()
    blind = spelt(body, ids)
    assert torch.equal(blind[:, :, 0], blind[:1, :1, 0].expand_as(whole))
    same = ids.clone()
    same[0, 5] = same[1, 7]
    blind = spelt(body, same)
    assert torch.equal(blind[0, 4, 1], blind[1, 6, 1]) and not torch.equal(blind[0, 4, 1], blind[0, 3, 1])


@torch.no_grad()
def test_the_decoder_is_that_of_transformers():
    """(6) with its weights a decoder of transformers that reads the pieces says the same of every place."""
    library = pytest.importorskip("transformers")
    config = library.MBartConfig(
        vocab_size=20, d_model=16, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=24,
        max_position_embeddings=8, activation_function="gelu", dropout=0.0, attn_implementation="eager",
    )  # fmt: skip
    theirs = library.models.mbart.modeling_mbart.MBartDecoder(config).double().eval()
    theirs.layernorm_embedding = torch.nn.Identity()
    fine = norm("layer")
    spelling = head(
        "future_decoder", layers=2, slots=3, norm=fine, position=position("learned", length=8),
        mixer=mixer("attention", heads=2, position=None), cross=mixer("cross", heads=2),
        channel=channel("mlp", inner=24, activation=activation("gelu_exact")),
    )  # fmt: skip
    spec = by.spec("llama", **SMALL)
    body = model(spec.but(model=spec["model"].but(head=spelling, linear=linear("dense", bias=True))))
    for i, layer in enumerate(theirs.layers):
        own, cross, wide = body.head.parts[3 * i : 3 * i + 3]
        for line, end in ((layer.self_attn, own), (layer.encoder_attn, cross)):
            fill(line.out_proj, end.out.weight, end.out.bias)
        for name, *piece in zip("qkv", own.qkv.weight.chunk(3), own.qkv.bias.chunk(3)):
            fill(getattr(layer.self_attn, f"{name}_proj"), *piece)
        fill(layer.encoder_attn.q_proj, cross.q.weight, cross.q.bias)
        for name, *piece in zip("kv", cross.kv.weight.chunk(2), cross.kv.bias.chunk(2)):
            fill(getattr(layer.encoder_attn, f"{name}_proj"), *piece)
        fill(layer.fc1, wide.up.weight, wide.up.bias), fill(layer.fc2, wide.down.weight, wide.down.bias)
        for line, mine in zip(
            (layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm),
            body.head.norms[3 * i :],
        ):
            fill(line, mine.gain, mine.bias)
    fill(theirs.layer_norm, body.head.last.gain, body.head.last.bias)
    theirs.embed_positions.weight[2:] = body.head.position.table
    ids = tokens(2, 6, 20)
    out = body(ids, points={"head:pieces": "read"})
    (pieces,) = out.captures.values()
    first = body.head.start.expand(12, 1, 16)
    z = torch.cat([first, body.stem.table[torch.stack([ids.roll(-n, 1) for n in (1, 2)], 2).flatten(0, 1)]], 1)
    said = theirs(inputs_embeds=z, encoder_hidden_states=pieces.flatten(0, 1), use_cache=False).last_hidden_state
    assert gap(spelt(body, ids, 3), (said @ body.stem.table.T).unflatten(0, (2, 6))) < 1e-10


def fill(line, weight, bias):
    line.weight.data.copy_(weight), line.bias.data.copy_(bias)


def test_the_loss_is_the_weighed_mean_of_every_slot():
    """Rows with an end, packed documents and places that are not asked, one prediction at a time."""
    body, teach = made(decay=0.8)
    batch = by.Batch(tokens(2, 8, 20), tokens(2, 8, 20, 4).masked_fill(torch.arange(8) < 2, -1),
                     valid=torch.arange(8) < torch.tensor([[8], [6]]))  # fmt: skip
    terms = teach(body, batch)
    sums, counts = [0.0] * N, [0] * N
    said = spelt(body, batch.tokens).log_softmax(-1)
    for row, end in ((0, 8), (1, 6)):
        for t in range(end):
            for n in range(N):
                if t + n < end and batch.targets[row, t + n] >= 0:
                    sums[n] -= said[row, t, n, batch.targets[row, t + n]].item()
                    counts[n] += 1
    whole = sum(0.8**n for n in range(N))
    for n, (total, count, weight) in enumerate(terms.values()):
        assert total.item() == pytest.approx(sums[n], rel=1e-9) and count == counts[n]
        assert weight == pytest.approx(0.8**n / whole)


def test_some_places_are_a_sample_of_all():
    """With a share below 1 so many places of every row are asked, others in every step, and say what they said."""
    body, teach = made(share=0.5)
    batch, draws = by.Batch(tokens(3, 9, 20)), []
    for seed in range(2):
        draw = torch.Generator().manual_seed(seed)
        draws.append(teach.prepare(batch, lambda _, shape, draw=draw: torch.rand(shape, generator=draw)))
    asked = [each.more["places"] for each in draws]
    assert all(each.sum(1).tolist() == [5, 5, 5] for each in asked) and not torch.equal(*asked)
    whole = spelt(body, batch.tokens)
    for each in draws:
        labels = teach.labels(each)
        assert (labels[~each.more["places"]] == -1).all()
        nats = (
            cross_entropy(whole.flatten(0, 2), labels.flatten(), ignore_index=-1, reduction="none").view(-1, N).sum(0)
        )
        terms = teach(body, each)
        assert all(gap(terms[f"token {n + 1}"][0], nats[n]) < 1e-10 for n in range(N))
    assert not build_objective(objective("future_tokens", share=1.0), body).prepare(batch, None).more


class Rows:
    def next(self, step):
        return np.random.default_rng(step).integers(0, 20, (4, 9))


def test_pieces_of_a_batch_add_up():
    system = by.spec("future_tokens", **SMALL)
    run, found = Run(system, by.build(system), Rows(), Settings(steps=4, lr=1e-2)), []
    run.advance()
    batch = run.objective.prepare(by.Batch(tokens(5, 8, 20)), lambda _, shape: torch.rand(shape))
    for micro in (None, 2):
        run.micro = micro
        loss = run._gradient([batch])
        found.append((loss, {name: p.grad.clone() for name, p in run.params.items()}))
    (whole, slopes), (summed, others) = found
    assert whole == pytest.approx(summed, rel=1e-5) and whole < 2 * math.log(20)
    assert all(torch.allclose(slopes[name], others[name], rtol=1e-3, atol=1e-5) for name in slopes)


@torch.no_grad()
def test_it_writes_a_token_at_a_time():
    body = model("future_tokens", **SMALL)
    ids = tokens(1, 5, 20)
    written = [int(step.tokens) for step in by.generate(body, ids, 3, by.SamplingParams(temperature=0))]
    for token in written:
        assert token == int(body(ids).logits[0, -1].argmax())
        ids = torch.cat([ids, torch.tensor([[token]])], 1)


def test_what_does_not_fit_is_refused():
    plain = by.build("llama", "tiny")
    teach = build_objective(objective("future_tokens"), plain)
    with pytest.raises(by.UsageError, match="head:lm says one token from each place"):
        teach(plain, by.Batch(tokens(1, 5)))
    vit = by.spec("vit", "tiny")
    with pytest.raises(by.UsageError, match="it reads none"):
        by.build(vit.but(model=vit["model"].but(head=head("future_decoder"))))


def test_a_text_has_the_topics_that_its_filter_finds():
    """Chances of topics by the sum over all paths of topics; words as common as said; topics that stay as said."""
    task = make_task("hmm_topics:topics=2,words=5,stay=0.8,length=5")
    ids = np.array([[0, 3, 1, 4, 2]])
    paths = np.stack(np.meshgrid(*[range(2)] * 5, indexing="ij"), -1).reshape(-1, 5)
    steps = np.where(paths[:, 1:] == paths[:, :-1], 0.8, 0.2).prod(1) / 2
    weights = steps * task.chances[paths, ids].prod(1)
    last = np.array([weights[paths[:, -1] == z].sum() for z in range(2)])
    assert np.allclose(task.filtered(ids)[0, -1], last / last.sum(), atol=1e-12)
    coming = last / last.sum() @ np.array([[0.8, 0.2], [0.2, 0.8]]) @ task.chances
    assert task.solve(ids)[0, -1] == coming.argmax()
    many = make_task("hmm_topics:ask=topic,words=8,length=200").sample(1, 300)
    topic = many.targets[:, 100:] - 8
    assert abs((topic[:, 1:] == topic[:, :-1]).mean() - 0.97) < 0.004
    common = make_task("hmm_topics:words=8").chances
    for z in range(6):
        seen = np.bincount(many.tokens[:, 100:][topic == z], minlength=8) / (topic == z).sum()
        assert np.abs(seen - common[z]).max() < 0.03
    same = make_task("hmm_topics:words=8,length=200").sample(1, 300)
    assert np.array_equal(same.tokens, many.tokens)


def test_surprise_stands_beside_errors():
    """Of even chances the surprise is the logarithm of the number of words; of the filter's it is what it thinks."""
    task = make_task("hmm_topics:topics=3,words=12,length=30")
    made, drawn = Exercise("", task), task.sample(5, 40)
    batch = by.Batch(*map(torch.from_numpy, drawn))
    filtered = task.filtered(drawn.tokens) @ task.moves @ task.chances
    for p, nats in ((np.full((40, 30, 15), 1 / 15), math.log(15)), (np.pad(filtered, ((0, 0), (0, 0), (0, 3))), None)):
        said = {"logits": torch.from_numpy(np.log(p + 1e-30))}
        sums = made.amounts(said, batch).sum(0).numpy()
        found = task.figures(sums, drawn.targets.size)["surprise"]
        wanted = -np.log(np.take_along_axis(p, drawn.targets[..., None], -1)).mean()
        assert found == pytest.approx(wanted, rel=1e-6) and (nats is None or found == pytest.approx(nats))
    assert sums[0] == (task.solve(drawn.tokens) != drawn.targets).sum() and said["logits"].dtype == F64


def test_of_one_token_ahead_the_recipe_is_the_same_model():
    """`ahead` changes what is taught, not what there is."""
    one, eight = (by.spec("future_tokens", "tiny", ahead=n) for n in (1, 8))
    assert one["model"] == eight["model"] and one["program"] != eight["program"]
