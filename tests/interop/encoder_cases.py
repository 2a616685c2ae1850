"""Random encoders of transformers: settings of each family, batches, and what both libraries say of them."""

import random
import warnings

import torch

import blockyard as by
from blockyard.interop import load
from tests.interop.conftest import precision, shake

TASKS = ("", "MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering")
ACTS = ("gelu", "gelu_new", "relu", "silu")
EPS = (1e-12, 1e-5, 0.1)


def named(kind, task):
    return f"{kind}For{task}" if task else f"{kind}Model"


def text(kind, r, even=False, tasks=TASKS):
    """A BERT or one of its kin; heads of an odd number of channels too."""
    task, heads = r.choice(tasks), r.randint(1, 4)
    settings = dict(
        vocab_size=r.randint(30, 40), hidden_size=heads * r.choice([4, 6] if even else [3, 4, 5, 7]),
        num_hidden_layers=r.randint(1, 3), num_attention_heads=heads, intermediate_size=r.randint(10, 30),
        max_position_embeddings=r.randint(20, 30), pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    if task in ("SequenceClassification", "TokenClassification"):
        settings["num_labels"] = r.randint(1, 5)
    return named(kind, task), settings


def bert(r, kind="Bert"):
    name, settings = text(kind, r)
    return name, settings | dict(
        type_vocab_size=r.randint(1, 3), layer_norm_eps=r.choice(EPS), hidden_act=r.choice(ACTS)
    )


def roberta(r):
    name, settings = bert(r, "Roberta")
    return name, settings | dict(pad_token_id=r.randint(0, 2))


def electra(r):
    name, settings = bert(r, "Electra")
    return name, settings | dict(embedding_size=r.choice([settings["hidden_size"], 7]))


def albert(r):
    name, settings = bert(r, "Albert")
    return name, settings | dict(embedding_size=r.choice([settings["hidden_size"], 7]))


def distilbert(r):
    name, s = text("DistilBert", r)
    own = dict(dim=s["hidden_size"], n_layers=s["num_hidden_layers"], n_heads=s["num_attention_heads"])
    own |= dict(hidden_dim=s["intermediate_size"], activation=r.choice(ACTS))
    return name, own | {key: s[key] for key in ("vocab_size", "max_position_embeddings", "num_labels") if key in s}


def modernbert(r):
    name, s = text("ModernBert", r, even=True, tasks=TASKS[:3])
    s["num_hidden_layers"] = layers = r.randint(1, 4)
    types = ["full_attention", "sliding_attention"]
    s |= dict(layer_types=[r.choice(types) for _ in range(layers)], local_attention=r.choice([2, 5, 6]))
    s |= {flag: r.random() < 0.3 for flag in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")}
    s |= dict(norm_eps=r.choice(EPS), hidden_activation=r.choice(ACTS), classifier_activation=r.choice(ACTS))
    s |= dict(rope_parameters={kind: dict(rope_theta=r.choice([50.0, 9e3]), rope_type="default") for kind in types})
    return name, s | dict(sep_token_id=0, cls_token_id=0)


def vit(r):
    heads, patch = r.randint(1, 4), r.choice([2, 3, 4])
    return named("ViT", r.choice(["", "ImageClassification"])), dict(
        hidden_size=heads * r.choice([3, 4, 5, 7]), num_hidden_layers=r.randint(1, 3), num_attention_heads=heads,
        intermediate_size=r.randint(10, 30), patch_size=patch, num_channels=r.randint(1, 3), num_labels=r.randint(1, 5),
        image_size=[patch * r.randint(1, 4), patch * r.randint(1, 4)], qkv_bias=r.random() < 0.5,
        layer_norm_eps=r.choice(EPS), hidden_act=r.choice(ACTS),
    )  # fmt: skip


def swin(r):
    """Windows that divide the grid of a stage, and windows that do not."""
    window, stages = r.choice([2, 3, 4]), r.randint(1, 2)
    heads = [r.randint(1, 3), r.choice([1, 2, 4])]
    width = heads[0] * r.choice([3, 4, 6])
    least = -(-window // 2) * 2  # the second stage holds a window too
    return named("Swin", r.choice(["", "ImageClassification"])), dict(
        image_size=[2 * stages * (least + r.randint(0, 5)) for _ in "hw"], patch_size=2, embed_dim=2 * width,
        depths=[r.choice([2, 2, 4]) for _ in range(stages - 1)] + [r.randint(1, 3)],
        num_heads=[heads[0], heads[0] * heads[1]][:stages], window_size=window, num_labels=r.randint(1, 5),
        mlp_ratio=r.choice([1.5, 4.0]), qkv_bias=r.random() < 0.5, hidden_act=r.choice(ACTS),
        layer_norm_eps=r.choice(EPS), num_channels=r.randint(1, 3),
    )  # fmt: skip


def convnext(r):
    stages, patch = r.randint(1, 3), r.choice([2, 3])
    return "ConvNextForImageClassification", dict(
        num_channels=r.randint(1, 3), patch_size=patch, num_stages=stages, num_labels=r.randint(1, 5),
        hidden_sizes=[r.randint(5, 12) for _ in range(stages)], depths=[r.randint(1, 2) for _ in range(stages)],
        image_size=[patch * r.choice([4, 8, 12]) for _ in "hw"], hidden_act=r.choice(ACTS),
        layer_norm_eps=r.choice(EPS),
    )  # fmt: skip


def t5(r):
    """Version 1.0 and 1.1, tied or with a head of its own, few buckets of distance."""
    task = r.choice(["ForConditionalGeneration"] * 3 + ["EncoderModel"])
    proj = r.choice(["relu", "gated-gelu", "gated-silu"])
    return f"T5{task}", dict(
        vocab_size=r.randint(30, 40), d_model=r.randint(10, 20), d_kv=r.choice([3, 5, 6]), d_ff=r.randint(10, 30),
        num_layers=r.randint(1, 3), num_decoder_layers=r.randint(1, 3), num_heads=r.randint(1, 4),
        feed_forward_proj=proj,
        relative_attention_num_buckets=r.choice([4, 8, 32]), relative_attention_max_distance=r.choice([9, 12, 128]),
        layer_norm_epsilon=r.choice([1e-6, 0.1]), tie_word_embeddings=r.random() < 0.5, pad_token_id=0,
    )  # fmt: skip


def whisper(r):
    heads, other = r.randint(1, 4), r.choice([1, 2])
    width = 12 if heads == 4 else 2 * heads * r.choice([2, 3])
    return "WhisperForConditionalGeneration", dict(
        vocab_size=r.randint(30, 40), d_model=width, encoder_layers=r.randint(1, 3), decoder_layers=r.randint(1, 3),
        encoder_attention_heads=heads, decoder_attention_heads=other, encoder_ffn_dim=r.randint(10, 30),
        decoder_ffn_dim=r.randint(10, 30), num_mel_bins=r.randint(3, 9), max_source_positions=r.randint(5, 12),
        max_target_positions=r.randint(12, 20), activation_function=r.choice(ACTS), pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip


FAMILIES = {
    each.__name__: each
    for each in (bert, roberta, electra, albert, distilbert, modernbert, vit, swin, convnext, t5, whisper)
}


def drawn(family, seed):
    """The name of a class and its settings; the first seeds are the first tasks."""
    return FAMILIES[family](random.Random(f"{family} {seed}"))


def made(name, settings, dtype):
    """A model of theirs with no number at its start."""
    import transformers

    kind = getattr(transformers, name)
    with precision(dtype):
        theirs = kind(kind.config_class(**settings)).to(dtype).eval()
    if name.startswith("T5For") and not settings.get("tie_word_embeddings", True):
        theirs.lm_head.weight = torch.nn.Parameter(torch.zeros_like(theirs.lm_head.weight))  # theirs ties it always
    shake(theirs)
    return theirs


def opened(theirs, folder):
    """Ours, from the folder that theirs wrote."""
    theirs.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pools is left out of a bare body
        return load(folder)


def batches(theirs, seed=0):
    """(their arguments, our batch) of a model of theirs: padded rows, kinds of sentences, images, frames."""
    draw, config = torch.Generator().manual_seed(seed), theirs.config
    dtype = next(theirs.parameters()).dtype
    if theirs.main_input_name == "pixel_values":
        sides = config.image_size if isinstance(config.image_size, list) else [config.image_size] * 2
        images = torch.randn(3, *sides, config.num_channels, generator=draw, dtype=dtype)
        return dict(pixel_values=images.permute(0, 3, 1, 2)), by.Batch(images)
    asked = torch.randint(3, config.vocab_size, (3, 9), generator=draw)
    if theirs.main_input_name == "input_features":
        frames = torch.randn(3, 2 * config.max_source_positions, config.num_mel_bins, generator=draw, dtype=dtype)
        given = dict(input_features=frames.transpose(1, 2), decoder_input_ids=asked)
        return given, by.Batch(asked, more={"source": frames})
    valid = torch.arange(17) < torch.tensor([[17], [11], [1]])
    ids = torch.randint(3, config.vocab_size, (3, 17), generator=draw).masked_fill(~valid, config.pad_token_id or 0)
    given = dict(input_ids=ids, attention_mask=valid.long())
    if config.is_encoder_decoder and hasattr(theirs, "decoder"):
        more = {"source": ids, "source.valid": valid}
        return given | dict(decoder_input_ids=asked), by.Batch(asked, more=more)
    more = {}
    if getattr(config, "type_vocab_size", 0):
        more["kinds"] = given["token_type_ids"] = torch.randint(0, config.type_vocab_size, (3, 17), generator=draw)
    return given, by.Batch(ids, valid=valid, more=more)


def heard(theirs, seed=0):
    """What theirs says of the batch of a seed."""
    given, _ = batches(theirs, seed)
    with precision(next(theirs.parameters()).dtype):
        return theirs(**given, return_dict=True)


def both(theirs, out, ours, seed=0):
    """(theirs, ours): what both say of that batch, of the tokens that count."""
    _, batch = batches(theirs, seed)
    said = ours(batch).prediction
    (name, got), *_ = said.items()
    if name == "span":
        wanted = torch.stack([out.start_logits, out.end_logits], -1)
    else:
        wanted = out.last_hidden_state if name == "stream" else out.logits
    if batch.valid is not None and wanted.shape[:2] == batch.valid.shape:
        wanted, got = wanted[batch.valid], got[batch.valid]
    return wanted, got


def answers(theirs, ours, seed=0):
    """(theirs, ours): what both say of the batch of a seed, of the tokens that count."""
    return both(theirs, heard(theirs, seed), ours, seed)
