"""Every decoder that is read, in random configurations: logits, generation, padding, and each setting by itself.

A model type is tested here as soon as `drawn.py` or `drawn_mixed.py` has a function of its name.
"""

import copy
import json
import random

import pytest
import torch

import blockyard as by
from blockyard import UsageError
from blockyard.interop import from_transformers, load
from blockyard.interop.folder import model_types
from tests.interop import drawn, drawn_mixed
from tests.interop.conftest import built, scored, settings_read

pytest.importorskip("transformers")
DRAWN = vars(drawn) | vars(drawn_mixed)
FAMILIES = [name for name in model_types() if name in DRAWN]
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 24))]
TEXT = drawn.TEXT


def settings_of(family, seed):
    return DRAWN[family](random.Random(f"{family} {seed}"))


def text(rows=2, length=TEXT):
    """Ids without 0, which pads."""
    return torch.randint(1, 37, (rows, length), generator=torch.Generator().manual_seed(0))


def by_length(settings):
    """Whether positions follow from how long a text is, and up to which length they do not."""
    said = settings.get("rope_parameters") or {}
    for scheme in [said, *(value for value in said.values() if isinstance(value, dict))]:
        if scheme.get("rope_type") == "dynamic":
            return settings["max_position_embeddings"]
        if scheme.get("rope_type") == "longrope":
            return settings.get("original_max_position_embeddings", scheme.get("original_max_position_embeddings"))
    return None


@torch.no_grad()
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family, seed, tmp_path):
    theirs = built(family, torch.float64, settings_of(family, seed))
    theirs.save_pretrained(tmp_path)
    ours, tokens = load(tmp_path), text()
    assert {p.dtype for p in ours.parameters()} == {torch.float64}
    expected = scored(theirs, tokens)
    assert expected.std() > 0.02 and expected.std(1).mean() > 0.02
    assert (expected - ours(tokens).logits).abs().max() <= 1e-9
    single = from_transformers(tmp_path, dtype=torch.float32)
    assert (scored(theirs.float(), tokens) - single(tokens).logits).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_of_transformers(family, seed, tmp_path):
    """The likeliest token each time, from a state, as a program where the model can be one."""
    settings, prompt, more = settings_of(family, seed), text(rows=1, length=5), 9
    theirs = built(family, torch.float32, settings)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path)
    written = by.generate(ours, prompt, more, by.SamplingParams(temperature=0))
    most = by_length(settings)
    if most is not None and most < prompt.shape[1] + more - 1:
        with pytest.raises(UsageError, match="goes on from a state"):
            list(written)
        return
    found = [int(step.tokens[0]) for step in written]
    # no token stops them; with a window of one token their cache keeps two
    quiet = dict(do_sample=False, use_cache=False, eos_token_id=None, pad_token_id=0)
    answer = theirs.generate(prompt, max_new_tokens=more, **quiet)
    assert found == answer[0, prompt.shape[1] :].tolist()


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family, seed, tmp_path):
    """Rows of several lengths, padded on either side, equal each row of theirs alone."""
    theirs = built(family, torch.float64, settings_of(family, seed))
    theirs.save_pretrained(tmp_path)
    ours, tokens = load(tmp_path), text(rows=3)
    valid = torch.ones(3, TEXT, dtype=torch.bool)
    valid[0, 11:] = valid[1, :7] = False
    found = ours(by.Batch(tokens, valid=valid)).logits
    for row in range(3):
        alone = copy.deepcopy(theirs)  # some classes remember the longest text that they have read
        expected = scored(alone, tokens[row][valid[row]][None])
        assert (expected[0] - found[row][valid[row]]).abs().max() <= 1e-9


@torch.no_grad()
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["gpt_neox", "gemma"])
def test_every_kind_of_number_is_read_from_many_files(family, kind, tmp_path):
    """The numbers are those that were stored, to the last bit, whatever is done to their order."""
    wide = built(family, torch.float64, settings_of(family, 0) | dict(num_hidden_layers=2))
    stored = copy.deepcopy(wide).to(kind)
    stored.save_pretrained(tmp_path, max_shard_size="1KB")
    wide.load_state_dict(stored.state_dict())
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert {p.dtype for p in load(tmp_path).parameters()} == {kind}
    found = from_transformers(tmp_path, dtype=torch.float64)(text()).logits
    assert (found - scored(wide, text())).abs().max() <= 1e-9


OTHERS = {  # of a value of a type, what else it is tried as
    bool: [True, False],
    int: [1, 2, 3, 4, 6, 12, 0],
    float: [0.0, 0.1, 0.5, 2.0, 7.0],
    str: ["gelu", "silu", "relu", "gelu_pytorch_tanh", "tanh", "relu2", "gelu_new"],
    type(None): [True, 1, 2, 5, 0.5, "gelu", {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}],
}
INSIDE = dict(  # what a scheme of positions may say
    rope_type=["linear", "dynamic", "llama3", "yarn", "longrope", "default", "made_up"], rope_theta=[3.0, 1e5, None],
    factor=[1.5, 8.0, None], partial_rotary_factor=[0.5, 1.0], attention_factor=[0.5, 2.0, None],
    beta_fast=[2.0, 64.0], beta_slow=[0.3, 4.0], mscale=[0.5, 1.0], mscale_all_dim=[0.5], truncate=[False, True],
    low_freq_factor=[0.5, 2.0], high_freq_factor=[8.0], original_max_position_embeddings=[4, 30], made_up=[1.0],
    type=["linear"],
)  # fmt: skip


def changes(family, settings):
    """Every setting by itself to another value: of the class, of its sources, and inside the scheme of positions."""
    import transformers

    config = transformers.AutoConfig.for_model(family, **copy.deepcopy(settings))
    values = {name: getattr(config, name, None) for name in settings_read(family)}
    for name, value in values.items():
        if isinstance(value, list) and len(value) > 1:
            yield name, value[::-1]
        for other in OTHERS.get(type(value), []):
            if other != value:
                yield name, other
        if isinstance(value, str | int | float):
            yield name, None
    scheme = settings.get("rope_parameters") or {}
    inner = [name for name, value in scheme.items() if isinstance(value, dict)]
    for name, others in INSIDE.items():
        for other in others:
            if not inner:
                yield "rope_parameters", scheme | {name: other}
            for kind in inner:
                yield "rope_parameters", scheme | {kind: scheme[kind] | {name: other}}


def agree_in_double(family, settings, tokens, folder):
    theirs = built(family, torch.float64, settings)
    theirs.save_pretrained(folder)
    return bool((scored(theirs, tokens) - load(folder)(tokens).logits).abs().max() <= 1e-8)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.02, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_setting_is_passed_over(family, share, tmp_path):
    """A model of theirs with one setting changed is read as what it has become, or refused."""
    draw, tokens = random.Random(5), text(rows=1)
    settings = settings_of(family, 1)
    before = scored(built(family, torch.float32, settings), tokens)
    tried = list(changes(family, settings))
    equal = 0
    for name, other in tried if share == 1 else draw.sample(tried, max(6, int(share * len(tried)))):
        try:
            theirs = built(family, torch.float32, settings | {name: other})
            expected = scored(theirs, tokens)
            theirs.save_pretrained(tmp_path)
        except Exception:  # they refuse in many ways
            continue
        try:
            found = load(tmp_path)(tokens).logits
        except UsageError:
            continue
        close = torch.allclose(found, expected, atol=1e-4)  # not, where many layers add up their roundings
        assert close or agree_in_double(family, settings | {name: other}, tokens, tmp_path), (name, other)
        equal += expected.shape != before.shape or not torch.allclose(expected, before, atol=1e-4)
    assert equal >= (4 if share == 1 else 0)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_setting_that_is_left_out_is_what_their_class_says(family, share, tmp_path):
    """Configurations that were written before a setting was thought of do not have it."""
    import transformers

    theirs = built(family, torch.float32, settings_of(family, 2))
    theirs.save_pretrained(tmp_path)
    path, tokens, draw = tmp_path / "config.json", text(rows=1), random.Random(6)
    config = json.loads(path.read_text())
    for name in config if share == 1 else draw.sample(sorted(config), max(3, int(share * len(config)))):
        path.write_text(json.dumps({key: value for key, value in config.items() if key != name}))
        try:
            found = load(tmp_path)(tokens).logits
            other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
        except Exception:  # sizes that do not fit, refused by either
            continue
        other.config._experts_implementation = "eager"  # another one takes no odd widths
        assert torch.allclose(found, scored(other, tokens), atol=1e-4), name


# without rotary positions in every configuration, or with words of their own
OTHERWISE = ("gpt2", "gpt_neox", "falcon_mamba", "jamba", "granitemoehybrid", "xlstm")


def older(config):
    """A configuration in the words of before: rope_theta beside rope_scaling, with `type` for rope_type."""
    scheme = config.pop("rope_parameters")
    if any(isinstance(value, dict) for value in scheme.values()):
        return None
    config["rope_theta"] = scheme.pop("rope_theta")
    if "partial_rotary_factor" in scheme:
        config["partial_rotary_factor"] = scheme.pop("partial_rotary_factor")
    if scheme["rope_type"] != "default":
        config["rope_scaling"] = {"type": scheme.pop("rope_type"), **scheme}
    return config


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in OTHERWISE])
def test_the_older_words_for_positions_mean_the_same(family, tmp_path):
    compared = 0
    for seed in range(4):
        theirs = built(family, torch.float32, settings_of(family, seed))
        theirs.save_pretrained(tmp_path)
        first, path = load(tmp_path).spec, tmp_path / "config.json"
        config = older(json.loads(path.read_text()))
        if config is not None:
            path.write_text(json.dumps(config))
            assert load(tmp_path).spec == first
            compared += 1
    assert compared or family in ("gemma3_text", "olmo3")
