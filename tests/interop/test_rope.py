"""Rotary positions of a config.json: the speeds and the growth that their functions work out, to the last digits."""

import copy
import random

import pytest
import torch

from blockyard import UsageError
from blockyard.core import Axis, Call, Site, Spec
from blockyard.core.site import BuildContext
from blockyard.interop.fields import Fields
from tests.interop import drawn
from tests.interop.conftest import precision

pytest.importorskip("transformers")
WIDTH = 8


def speeds(spec, length):
    """(K/2,) how far each pair turns in a text of so many tokens, and how much queries grow."""
    made = Site("", Axis("head_dim", WIDTH), BuildContext(0, Spec("linear", "dense"))).build("position", spec)
    found = made.speeds(Call.plain(torch.zeros(1, length, 1, dtype=torch.float64))).flatten()
    return found, made.grown


@pytest.mark.parametrize("seed", range(40))
def test_speeds_and_growth_are_theirs(seed):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scheme, most = drawn.ropes(random.Random(seed), WIDTH)
    if scheme["rope_type"] == "default":
        return
    with precision(torch.float64):
        config = LlamaConfig(
            hidden_size=4 * WIDTH, num_attention_heads=4, max_position_embeddings=most,
            rope_parameters=copy.deepcopy(scheme),
        )  # fmt: skip
        spec = Fields(config.to_dict(), "config.json").rope(WIDTH, 2048)
        for length in (5, 200):
            wanted, growth = ROPE_INIT_FUNCTIONS[scheme["rope_type"]](config, torch.device("cpu"), seq_len=length)
            found, grown = speeds(spec, length)
            assert ((found / wanted) - 1).abs().max() < 1e-12 and abs(grown - growth) < 1e-12


def read(head_dim=WIDTH, how=None, **config):
    return Fields(config, "config.json").rope(head_dim, 2048, **(how or {}))


def test_older_words_and_what_stands_beside_a_scheme():
    new = read(rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=50.0))
    assert new == Spec.of("position", "interpolated", dict(factor=2.0, base=50.0))
    assert read(rope_scaling=dict(type="linear", factor=2.0), rope_theta=50.0) == new
    assert read() == Spec.of("position", "rope", dict(base=10000.0))
    assert read(how=dict(base=7.0)) == Spec.of("position", "rope", dict(base=7.0))
    part = read(how=dict(share=0.25), partial_rotary_factor=0.5)
    assert part == Spec.of("position", "partial_rope", dict(share=0.5, base=10000.0))
    inner = read(how=dict(share=1.0), rope_parameters=dict(rope_type="linear", factor=2.0, partial_rotary_factor=0.5))
    assert inner.name == "partial_rope" and inner["of"].name == "interpolated"


def test_each_type_of_layer_has_its_own():
    both = dict(full_attention=dict(rope_type="linear", factor=8.0), sliding_attention=dict(rope_theta=9.0))
    near, far = (read(how=dict(layer=kind, base=5.0), rope_parameters=both) for kind in reversed(both))
    assert near == Spec.of("position", "rope", dict(base=9.0))
    assert far == Spec.of("position", "interpolated", dict(factor=8.0, base=5.0))


@pytest.mark.parametrize("words, config", [
    ("factor=0.5", dict(rope_parameters=dict(rope_type="linear", factor=0.5))),
    ("factor=None", dict(rope_parameters=dict(rope_type="linear"))),
    ("beta_fast=3", dict(rope_parameters=dict(rope_type="linear", factor=2.0, beta_fast=3.0))),
    ("known are", dict(rope_parameters=dict(rope_type="mrope"))),
    ("truncate", dict(rope_parameters=dict(rope_type="yarn", factor=2.0, truncate=False))),
    ("4 numbers above 0", dict(rope_parameters=dict(rope_type="longrope", short_factor=[1.0], long_factor=[1.0] * 4))),
    ("larger than low", dict(rope_parameters=dict(rope_type="llama3", factor=8.0, low_freq_factor=4.0,
                                                  high_freq_factor=4.0))),
    ("partial_rotary_factor=0.5", dict(partial_rotary_factor=0.5)),
    ("leave one out", dict(rope_scaling=dict(type="linear", factor=2.0), rope_parameters=dict(rope_type="default"))),
    ("rope_theta", dict(rope_theta=None)),
])  # fmt: skip
def test_what_a_scheme_cannot_mean_is_refused(words, config):
    with pytest.raises(UsageError, match=words):
        read(**config)
