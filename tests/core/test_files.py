"""Documents as they are stored."""

import json

import pytest

from blockyard.core.files import read_document, sealed


def test_a_document_is_json_for_every_reader(tmp_path):
    """What JSON has no number for is null, in the file and under the checksum."""
    path = tmp_path / "found.json"
    path.write_bytes(sealed({"format": 2, "loss": float("nan"), "each": [1.5, float("inf"), (-float("inf"), None)]}))
    json.loads(path.read_bytes(), parse_constant=pytest.fail)
    assert read_document(path, 2, 2) == {"format": 2, "loss": None, "each": [1.5, None, [None, None]]}
