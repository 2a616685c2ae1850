"""Every test has a cache of its own, so that none reads or writes the user's."""

import random

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BLOCKYARD_CACHE", str(folder))
    return folder


@pytest.fixture
def words():
    """A text of about `size` bytes with lines, accents and repeated words."""

    def make(size: int, seed: int = 0) -> str:
        rng = random.Random(seed)
        lexicon = ["".join(rng.choices("aeiouklmnprstéß日", k=rng.randint(2, 7))) for _ in range(150)] + ["42", "🙂"]
        text = ""
        while len(text) < size:
            text += " ".join(rng.choices(lexicon, k=rng.randint(3, 12))) + ".\n"
        return text

    return make
