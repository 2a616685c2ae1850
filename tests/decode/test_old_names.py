"""Old names do what the new ones do, with a warning that says so."""

import pytest
import torch
from decode_cases import ids, tiny, written

import blockyard as by
from blockyard.decode import propose, rules
from blockyard.decode.speculate import speculate


def test_old_names_are_the_new_ones():
    with pytest.warns(DeprecationWarning, match="Rules is SamplingParams now") as found:
        assert by.Rules is rules.Rules is by.SamplingParams
    assert {one.filename for one in found} == {__file__}
    with pytest.warns(DeprecationWarning, match="PromptLookup"):
        assert propose.Lookup is propose.PromptLookup
    with pytest.warns(DeprecationWarning, match="SelfSpeculative"):
        assert propose.Skip is propose.SelfSpeculative
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = rules.Nothing


def test_old_keywords_are_the_new_ones():
    with pytest.warns(DeprecationWarning, match="repetition= is repetition_penalty= now"):
        assert by.SamplingParams(repetition=1.5) == by.SamplingParams(repetition_penalty=1.5)
    model, x = tiny("llama"), ids(1, 9)
    new = speculate(model, x, 6, propose.PromptLookup(), num_speculative=3, tolerance=0.0)
    with pytest.warns(DeprecationWarning, match="now"):
        old = speculate(model, x, 6, propose.PromptLookup(), ahead=3, tie=0.0)
    assert torch.equal(written(old), written(new))
    with pytest.warns(DeprecationWarning, match="block_size="):
        assert by.PrefixStore(model, granule=8).block_size == 8
