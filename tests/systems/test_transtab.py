"""What must hold of an encoder of tables that reads columns by their names (TransTab)."""

import math
import sys
import types
from dataclasses import replace

import pytest
import torch
from system_cases import F64, gap, inner, model, normal, part, shake

import blockyard as by
from blockyard.core import Spec
from blockyard.core.spec import head, objective, stem
from blockyard.parts.objective.contrastive import contrast
from blockyard.train.loop import build_objective

NAMES = ("age", "fare paid", "port", "alone", "deck")
WORDS = ((), (), ("cherbourg", "queenstown bay"), ("no", "yes"), ("a", "b", "c"))
NAN = math.nan
CELLS = torch.tensor([[0.3, -1.0, 1, 2, 3], [NAN, 2.0, NAN, 1, NAN], [1.2, NAN, 2, NAN, 0]], dtype=F64)


def system(names=NAMES, words=WORDS, **settings):
    """The recipe on a table of these columns."""
    spec = by.spec("transtab", **dict(dim=16, layers=2, heads=2, vocab=512) | settings)
    read = dict(names=names, words=words, levels=tuple(map(len, words)))
    return spec.map(lambda one: one.but(**read) if one.kind == "stem" else one)


def built(*args, **settings):
    return model(system(*args, **settings))


def scores(made, cells):
    return made(by.Batch(cells)).prediction["classes"]


def turned(order):
    return tuple(NAMES[i] for i in order), tuple(WORDS[i] for i in order)


@torch.no_grad()
def test_the_order_of_columns_does_not_matter():
    """(1) column reordering leaves what the head reads unchanged."""
    order, cells = [4, 2, 0, 3, 1], CELLS.nan_to_num(1)
    a, b = built(), built(*turned(order))
    b.load_state_dict({n: t for n, t in a.state_dict().items() if n in dict(a.named_parameters())}, strict=False)
    first, second = (m(by.Batch(c)) for m, c in ((a, cells), (b, cells[:, order])))
    assert gap(second.hidden[:, 0], first.hidden[:, 0]) < 1e-12
    assert gap(second.prediction["classes"], first.prediction["classes"]) < 1e-12
    assert (scores(b, cells) - scores(a, cells)).abs().max() > 1e-3  # cells under other names are another row


@torch.no_grad()
def test_positions_would_make_the_order_matter():
    """(1) fails with positions in the attention."""
    order, cells = [4, 2, 0, 3, 1], CELLS.nan_to_num(1)
    turn = Spec("position", "rope")
    a, b = (
        model(system(*columns).map(lambda s: s.but(position=turn) if s.kind == "mixer" else s))
        for columns in ((), turned(order))
    )
    b.load_state_dict({n: t for n, t in a.state_dict().items() if n in dict(a.named_parameters())}, strict=False)
    assert (scores(b, cells[:, order]) - scores(a, cells)).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("column,cell", [(3, 1.0), (3, NAN), (2, NAN), (4, NAN), (0, NAN)])
def test_no_and_nothing_are_a_column_that_is_not_there(column, cell):
    """(2) a binary 0 or a missing cell equals dropping that column; a yes or a word does not."""
    left = [i for i in range(5) if i != column]
    a, b = built(), built(*turned(left))
    b.load_state_dict({n: t for n, t in a.state_dict().items() if n in dict(a.named_parameters())}, strict=False)
    cells = CELLS.nan_to_num(1).clone()
    cells[:, column] = cell
    assert gap(scores(a, cells), scores(b, cells[:, left])) < 1e-12
    cells[:, column] = 2.0
    assert (scores(a, cells) - scores(b, cells[:, left])).abs().max() > 1e-3


@torch.no_grad()
def test_a_gate_without_weights_is_half_open():
    """(3) gate weights 0 give g = 1/2 exactly."""
    gated, x = part("channel:token_gate"), normal(2, 5, 16)
    _, _, seen = inner(gated, x, "gate")
    assert seen["gate"].shape == (2, 5, 1) and seen["gate"].std() > 0.05
    gated.gate.zero_()
    y, _, seen = inner(gated, x, "gate")
    assert bool((seen["gate"] == 0.5).all())
    wide = torch.relu(gated.up(x, None) / 2)
    assert gap(y, gated.down(wide, None)) < 1e-12


def test_labels_that_are_all_different_tell_rows_apart():
    """(4) the supervised loss with distinct labels equals the self-supervised one; with equal labels it does not."""
    z = normal(6, 2, 8)
    alone = contrast(z, None, 10.0)
    assert gap(contrast(z, torch.arange(6), 10.0), alone) < 1e-12
    assert gap(contrast(z, torch.full((6,), -1), 10.0), alone) < 1e-12  # what nobody knows is alike to nothing
    assert (contrast(z, torch.arange(6) // 2, 10.0) - alone).abs().max() > 1e-3


def test_parts_that_are_all_alike_give_the_log_of_the_others():
    """(5) the log-sum runs over 2B - 1 others: identical parts give exactly log(2B - 1)."""
    z = normal(1, 1, 8).expand(5, 2, 8)
    for labels in (None, torch.tensor([0, 0, 1, 1, 2])):
        assert gap(contrast(z, labels, 10.0), torch.full((10,), math.log(9), dtype=F64)) < 1e-12


def test_the_loss_is_its_definition():
    """Every anchor, loop by loop; colder scores tell more apart."""
    z, labels, tau = normal(3, 2, 4), torch.tensor([0, 1, 0]), 0.7
    flat, own = torch.cat([z[:, 0], z[:, 1]]), torch.cat([labels, labels])
    for i, value in enumerate(contrast(z, labels, tau)):
        others = [j for j in range(6) if j != i]
        bottom = sum(torch.exp(flat[i] @ flat[j] / tau) for j in others)
        terms = [torch.log(torch.exp(flat[i] @ flat[j] / tau) / bottom) for j in others if own[j] == own[i]]
        assert abs(value + sum(terms) / len(terms)) < 1e-10


@torch.no_grad()
def test_padding_has_no_influence():
    """(6) a word column with longer words elsewhere changes no row that has short ones; nor does what pads hold."""
    long = (*WORDS[:2], ("cherbourg", "one two three four five"), *WORDS[3:])
    a, b = built(), built(words=long)
    b.load_state_dict({n: t for n, t in a.state_dict().items() if n in dict(a.named_parameters())}, strict=False)
    cells = CELLS.clone()
    cells[:, 2] = 1
    one, two = a.stem(by.Batch(cells), *start(cells)), b.stem(by.Batch(cells), *start(cells))
    assert two[0].shape[1] > one[0].shape[1] and (two[1].valid.sum(1) == one[1].valid.sum(1)).all()
    assert gap(scores(a, cells), scores(b, cells)) < 1e-12
    x, call, _ = two
    filled = torch.where(call.valid[..., None], x, 1e3)
    runs = [
        b.finish(b.run(b.start(by.Batch(cells))._replace(carry=each))).prediction["classes"] for each in (x, filled)
    ]
    assert gap(*runs) < 1e-12


def start(cells):
    return by.Batch(cells).call(None, causal=False)


@torch.no_grad()
def test_a_name_that_was_never_seen_is_read():
    """(7) an unseen column name still encodes, and by its own words."""
    a = built()
    other = built(names=("weight", *NAMES[1:]))
    other.load_state_dict({n: t for n, t in a.state_dict().items() if n in dict(a.named_parameters())}, strict=False)
    said = scores(other, CELLS)
    assert said.isfinite().all() and (said[0] - scores(a, CELLS)[0]).abs().max() > 1e-4
    assert gap(said[1], scores(a, CELLS)[1]) < 1e-12  # this row has no age


def test_views_are_parts_that_reach_into_the_next_one():
    made = objective_of(views=3, overlap=0.3)
    cells = torch.zeros(4, 12)
    cells[:, [1, 5]] = NAN  # nobody has these: ten columns, 4 + 3 + 3, two of overlap
    found = [piece.tolist() for piece in made.parts(cells)]
    assert found == [[0, 2, 3, 4, 6, 7], [6, 7, 8, 9, 10], [9, 10, 11, 7, 8]]


def objective_of(**settings):
    return build_objective(objective("contrastive", **settings), by.build(system()))


def test_rows_cannot_be_split_and_rows_beside_are_what_pretrains():
    made = objective_of()
    assert made.couples
    more = {"beside": CELLS.float(), "beside_targets": torch.tensor([0, 1, 1])}
    batch = by.Batch(torch.zeros(3, 5), torch.tensor([1, 1, 1]), more=more)
    got = made.prepare(batch, None)
    assert got.tokens is more["beside"] and got.targets is more["beside_targets"]
    assert made.prepare(replace(batch, more={}), None).tokens is batch.tokens


def test_what_pretrains_reads_no_column_outside_its_part():
    """Both views of a row, by what they become: a cell counts in its own part alone."""
    m = shake(by.build(system()).double())
    made = build_objective(objective("contrastive", positives="row"), m).double()
    cells = CELLS.nan_to_num(0.5).clone().requires_grad_()

    def first_view(x):
        hidden = torch.ones(5, dtype=torch.bool)
        hidden[made.parts(x)[0]] = False
        return m(by.Batch(x.masked_fill(hidden, NAN)), points={"head:pooled": "read"}).captures

    pooled = next(iter(first_view(cells).values()))
    slope = torch.autograd.grad(pooled.square().sum(), cells)[0]
    assert [p.tolist() for p in made.parts(cells)] == [[0, 1, 2, 3], [3, 4, 2]]
    assert (slope[:, :2].abs() > 1e-9).all() and slope[:, 4].abs().max() == 0
    ((total, count, weight),) = made(m, by.Batch(cells)).values()
    assert count == 6 and weight == 1.0 and torch.isfinite(total)


def test_other_systems_can_be_pretrained_so():
    """The loss reads the row as any head does: an unchanged body with columns of its own sort."""
    spec = by.spec("llama", "tiny")
    fitted = spec["model"].but(stem=stem("columns", levels=(0, 0, 2, 2, 3)), head=head("classes"))
    m = by.build(fitted)
    terms = build_objective(objective("contrastive"), m)(m, by.Batch(CELLS.float(), torch.tensor([0, 1, 1])))
    assert terms["contrastive"][0].isfinite()


@torch.no_grad()
def test_columns_of_the_plain_stem_have_no_order_either():
    """A body that sees both ways, without positions: columns turned with their vectors give the same classes."""
    levels, order = (0, 3, 0, 2), [2, 3, 0, 1]
    body = by.spec("llama", "tiny", **{"model.causal": False, "mixer.position": None})["model"]
    a, b = (
        shake(by.build(body.but(stem=stem("columns", levels=lv), head=head("classes"))).double())
        for lv in (levels, tuple(levels[i] for i in order))
    )
    cells = torch.tensor([[0.5, 2, -1.0, 1], [NAN, 3, 0.2, 0], [1.0, NAN, NAN, 2]], dtype=F64)
    told = a.state_dict()
    for name in ("stem.name", "stem.missing"):
        told[name] = told[name][order]
    told["stem.slope"] = told["stem.slope"][[1, 0]]
    told["stem.table"] = torch.cat([told["stem.table"][4:], told["stem.table"][:4]])
    told |= {n: t for n, t in b.state_dict().items() if n in dict(b.named_buffers())}
    b.load_state_dict(told)
    assert gap(scores(b, cells[:, order]), scores(a, cells)) < 1e-12
    for j in range(4):  # every cell counts, and nothing is not zero
        other = cells.clone()
        other[0, j] = NAN
        assert (scores(a, other)[0] - scores(a, cells)[0]).abs().max() > 1e-4


def oracle():
    """The module of the authors' package, without what only fetches data."""
    for name in ("loguru", "pandas", "transformers"):
        pytest.importorskip(name)
    pytest.importorskip("transtab.modeling_transtab", exc_type=ImportError)
    return sys.modules["transtab.modeling_transtab"]


@pytest.fixture
def without_downloads(monkeypatch):
    if "openml" not in sys.modules:
        monkeypatch.setitem(sys.modules, "openml", types.ModuleType("openml"))


@pytest.mark.slow
@torch.no_grad()
def test_the_package_of_the_authors_agrees(without_downloads):
    """Numbers, words and yes or no through stem, two layers, head, with the package's own weights; and its loss."""
    theirs = oracle()
    torch.manual_seed(0)
    processor = theirs.TransTabFeatureProcessor(512, 16, device="cpu").double()
    processor.num_embedding.num_bias.data.normal_()
    cls, encoder = theirs.TransTabCLSToken(16).double(), theirs.TransTabEncoder(16, 2, 2, 0, 32).double().eval()
    classifier = theirs.TransTabLinearClassifier(3, 16).double()
    ours = by.build(system(ffn=32).map(lambda s: s.but(classes=3) if s.kind == "head" else s)).double()
    copy_weights(ours, processor, cls, encoder, classifier)
    cells = CELLS.nan_to_num(1)
    stemmed = ours.stem
    words = stemmed.cells[cells[:, stemmed.worded].long() + stemmed.first].flatten(1)[:, stemmed.places]
    told = dict(
        x_num=cells[:, :2], num_col_input_ids=stemmed.heads.clamp(min=0), num_att_mask=(stemmed.heads >= 0).long(),
        x_cat_input_ids=words.clamp(min=0), cat_att_mask=(words >= 0).long(),
    )  # fmt: skip
    found = cls(**{k: v.double() for k, v in processor(**told).items()})
    hidden = encoder(**found)
    assert gap(ours(by.Batch(cells)).hidden[:, 0], hidden[:, 0]) < 1e-5  # theirs makes the tokens single
    assert gap(scores(ours, cells), classifier(hidden)) < 1e-5
    z, labels = normal(5, 2, 8), torch.tensor([0, 1, 0, 1, 1])
    fake = types.SimpleNamespace(temperature=10, base_temperature=10, device="cpu")
    whole = theirs.TransTabForCL
    assert gap(whole.self_supervised_contrastive_loss(fake, z), contrast(z, None, 10.0).mean()) < 1e-6
    assert gap(whole.supervised_contrastive_loss(fake, z, labels), contrast(z, labels, 10.0).mean()) < 1e-6


def copy_weights(ours, processor, cls, encoder, classifier):
    stemmed, words = ours.stem, processor.word_embedding
    pairs = [
        (stemmed.table, words.word_embeddings.weight), (stemmed.norm.gain, words.norm.weight),
        (stemmed.norm.bias, words.norm.bias), (stemmed.bias, processor.num_embedding.num_bias.flatten()),
        (stemmed.align.weight, processor.align_layer.weight), (stemmed.cls, cls.weight),
        (ours.head.norm.gain, classifier.norm.weight), (ours.head.norm.bias, classifier.norm.bias),
        (ours.head.proj.weight, classifier.fc.weight), (ours.head.proj.bias, classifier.fc.bias),
    ]  # fmt: skip
    layers = [encoder.transformer_encoder[0], *encoder.transformer_encoder[1].layers]
    for i, layer in enumerate(layers):
        attention, channel = ours.steps[2 * i], ours.steps[2 * i + 1]
        pairs += [
            (attention.part.qkv.weight, layer.self_attn.in_proj_weight),
            (attention.part.qkv.bias, layer.self_attn.in_proj_bias),
            (attention.part.out.weight, layer.self_attn.out_proj.weight),
            (attention.part.out.bias, layer.self_attn.out_proj.bias),
            (channel.part.up.weight, layer.linear1.weight), (channel.part.up.bias, layer.linear1.bias),
            (channel.part.down.weight, layer.linear2.weight), (channel.part.down.bias, layer.linear2.bias),
            (channel.part.gate, layer.gate_linear.weight.flatten()),
            (attention.rule.norm.gain, layer.norm1.weight), (attention.rule.norm.bias, layer.norm1.bias),
            (channel.rule.norm.gain, layer.norm2.weight), (channel.rule.norm.bias, layer.norm2.bias),
        ]  # fmt: skip
    for mine, other in pairs:
        assert mine.shape == other.shape
        mine.copy_(other)
