"""What is wrong with a request is said before anything is fitted."""

import pytest

from blockyard.compare.plan.plan import Request, make_plan
from blockyard.core.errors import UsageError
from blockyard.task import Material


@pytest.mark.parametrize(
    "asked, says",
    [
        ({"params": 100.0}, "cannot have 100 parameters"),
        ({"against": "gal"}, "gal"),
        ({"seeds": "6,3"}, "rising order"),
    ],
)
def test_no_reference_is_fitted_for_a_request_that_is_refused(asked, says, monkeypatch, text):
    def fitted(*_):
        raise AssertionError("references were fitted")

    monkeypatch.setattr(Material, "tuned_references", fitted)
    with pytest.raises(UsageError, match=says):
        make_plan(Request(("llama", "gla"), (text,), **asked), lambda _: None)
    with pytest.raises(AssertionError, match="references were fitted"):
        make_plan(Request(("llama", "gla"), (text,), params=60e3), lambda _: None)
