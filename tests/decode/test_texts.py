"""Text as it comes: whole characters, stop strings cut exactly, however the text falls into tokens."""

import random

import pytest

from blockyard.core.errors import UsageError
from blockyard.decode.text import TextStream


def of_bytes(ids):
    return bytes(ids).decode("utf-8", errors="replace")


def stream(tokens, decode=of_bytes, stop=()):
    """The text, and the pieces it came in."""
    text, pieces = TextStream(decode, stop), []
    for token in tokens:
        pieces.append(text.push(token))
        if text.stopped:
            break
    return "".join([*pieces, text.finish()]), pieces, text.stopped


SAMPLES = ["plain words", "naïve — 日本語 🦜🦜 end", "", "🦜", "tail \u00e9", "x" * 200 + "🦜" * 40]


@pytest.mark.parametrize("sample", SAMPLES)
def test_bytes_give_whole_characters(sample):
    text, pieces, _ = stream(sample.encode())
    assert text == sample and not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_give_what_decoding_them_at_once_gives(seed):
    draw = random.Random(seed)
    pool = [draw.randrange(256) for _ in range(80)] + list("é🦜日".encode()) * 4
    for tokens in ([draw.choice(pool) for _ in range(60)], list(bytes([0xFF] * 30)) + list("🦜".encode())):
        assert stream(tokens)[0] == of_bytes(tokens)


def naive(sample, stop):
    """The text before the stop string that is complete first; the longest of those that end together."""
    for end in range(len(sample) + 1):
        ending = [s for s in stop if sample[:end].endswith(s)]
        if ending:
            return sample[: end - max(map(len, ending))], True
    return sample, False


@pytest.mark.parametrize("seed", range(60))
def test_a_stop_string_is_caught_over_any_tokens(seed):
    draw = random.Random(seed)
    sample = "".join(draw.choice("abü") for _ in range(30))
    stop = ["".join(draw.choice("abü") for _ in range(draw.randint(1, 5))) for _ in range(draw.randint(1, 3))]
    raw, table = sample.encode(), []
    while raw:
        cut = draw.randint(1, 6)
        table.append(raw[:cut])
        raw = raw[cut:]
    text, _, stopped = stream(range(len(table)), lambda ids: of_bytes(b"".join(table[i] for i in ids)), stop)
    assert (text, stopped) == naive(sample, stop)


def test_nothing_is_held_longer_than_needed():
    text = TextStream(of_bytes, ["<end>"])
    assert [text.push(c) for c in b"a<en"] == ["a", "", "", ""]
    assert text.push(ord("!")) == "<en!" and not text.stopped
    assert [text.push(c) for c in b"<end>"] == [""] * 5 and text.stopped
    assert text.push(ord("x")) == "" and text.finish() == ""


def test_a_decoder_that_strips_the_first_space_is_read_right():
    words = [" the", " cat", " sat"] * 30
    text, _, _ = stream(range(len(words)), lambda ids: "".join(words[i] for i in ids).removeprefix(" "))
    assert text == "".join(words)[1:]


def test_an_empty_stop_string_is_refused():
    with pytest.raises(UsageError, match="stop string"):
        TextStream(of_bytes, [""])
