"""A text that is soon scored."""

import random

import pytest


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "rhyme.txt"
    draw = random.Random(3)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "red", "fox", "over", "dogs", "by", "night"]
    path.write_text("\n".join(" ".join(draw.choices(words, k=9)) for _ in range(1200)))
    return str(path)
