"""Encoders, pyramids and encoders with a decoder, read from folders, against transformers."""

import json
import random
import warnings

import pytest
import torch
from conftest import precision
from encoder_cases import FAMILIES, answers, batches, drawn, made, opened
from test_oracles import ODD, settings_read

from blockyard import Batch, UsageError
from blockyard.interop import load

SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))]
LIMITS = {torch.float32: 1e-4, torch.float64: 1e-9}
pytest.importorskip("transformers")


@torch.no_grad()
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_said_agrees_with_transformers(family, seed, tmp_path):
    for dtype, limit in LIMITS.items():
        name, settings = drawn(family, seed)
        theirs = made(name, settings, dtype)
        ours = opened(theirs, tmp_path / str(dtype))
        assert {p.dtype for p in ours.parameters()} == {dtype}
        wanted, got = answers(theirs, ours, seed)
        assert wanted.shape == got.shape
        assert wanted.std() > 0.01, "a model that says nothing proves nothing"
        assert (wanted - got).abs().max() <= limit, (name, settings)
