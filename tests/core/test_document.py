"""Documents go to JSON and come back the same, older ones with their defaults."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from blockyard.core.document import Document
from blockyard.core.errors import UsageError


@dataclass(frozen=True)
class Inner:
    size: int
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outer(Document):
    name: str
    inner: Inner
    more: dict[str, Inner | None]
    pair: tuple[float, float | None] = (1.0, None)
    note: str | None = None


def test_what_is_written_is_read():
    whole = Outer("x", Inner(3, ["a"]), {"b": Inner(4), "c": None}, (np.float64(2.5), 3), "said")
    plain = json.loads(json.dumps(whole.to_json()))
    assert Outer.from_json(plain, "here") == whole and plain["pair"] == [2.5, 3]


def test_what_an_older_document_lacks_is_written_when_it_is_written_again():
    old = Outer.from_json({"name": "x", "inner": {"size": 3, "gone": 1}, "more": {}, "forgotten": 2}, "here")
    assert old == Outer("x", Inner(3), {})
    said = {"name": "x", "inner": {"size": 3, "names": []}, "more": {}, "pair": [1.0, None], "note": None}
    assert old.to_json() == said


@pytest.mark.parametrize("value,says", [
    ({"name": "x", "more": {}}, "inner"), ({"name": 3, "inner": {"size": 1}, "more": {}}, "name"),
    ({"name": "x", "inner": {"size": "y"}, "more": {}}, "size"), ([], "here"),
])  # fmt: skip
def test_what_does_not_fit_is_named(value, says):
    with pytest.raises(UsageError, match=says) as caught:
        Outer.from_json(value, "here")
    assert "here is damaged, or another document" in str(caught.value) and "\n" not in str(caught.value)
