"""Pieces that make a text likely: how they are chosen, how words are cut, and the codec that is made of them."""

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest

import blockyard as by
from blockyard.data import load_text
from blockyard.data.likelihood import cut, learn
from blockyard.data.tokens import Bpe, codec_from_json, learned_codec, parse_codec

WORDS = {b"banana": 9, b"bandana": 4, b"ban": 6, b"cabana": 2, b"zz": 1, b"qu": 3, b"quay": 2}
TEXT = (
    "the quick brown banana \N{GREEK SMALL LETTER BETA} of the bandana\n" * 30 + "a quay in the cabana, 12 of 14.\n" * 9
)


def literal(words, most):
    """The merges one by one, everything counted anew each time."""
    cuts, pieces = {word: [bytes([b]) for b in word] for word in words}, {bytes([b]) for b in range(256)}
    merged = []
    while len(pieces) < most:
        ones, twos = Counter(), Counter()
        for word, often in words.items():
            for piece in cuts[word]:
                ones[piece] += often
            for pair in itertools.pairwise(cuts[word]):
                twos[pair] += often
        total = sum(ones.values())
        scores = {p: n * math.log(n * total / (ones[p[0]] * ones[p[1]])) for p, n in twos.items()}
        if not scores or max(scores.values()) <= 0:
            break
        top = max(scores.values())
        pair = next(p for p, score in scores.items() if score > top - 1e-9)
        merged.append(b"".join(pair))
        pieces.add(merged[-1])
        for word, old in cuts.items():
            new = []
            while old:
                size = 2 if tuple(old[:2]) == pair else 1
                new.append(b"".join(old[:size]))
                old = old[size:]
            cuts[word] = new
    return merged, cuts


def test_merges_are_those_of_the_highest_score():
    """Counted anew each time by somebody slow; and not those that are merely the most frequent."""
    pieces = learn(WORDS, 262)
    merged, cuts = literal(WORDS, 262)
    assert [piece for piece in pieces if len(piece) > 1] == merged and len(merged) == 6
    counts = Counter()
    for word, often in WORDS.items():
        for piece in cuts[word]:
            counts[piece] += often
    held = {piece: max(counts[piece], 0.5) for piece in pieces}
    total = sum(held.values())
    assert all(log == pytest.approx(math.log(held[piece] / total)) for piece, log in pieces.items())


def test_what_is_frequent_by_itself_is_no_pair():
    """Of `aaab` ten times and `qu` six times the first piece is `qu`: an a is followed by an a by chance."""
    assert list(learn({b"aaab": 10, b"qu": 6}, 258))[256:] == [b"qu", b"ab"]


def test_learning_ends_where_nothing_gets_likelier():
    """And where every word is one piece."""
    assert len(learn({b"a": 3, b"b": 2}, 300)) == 256
    pieces = learn({b"abc": 5}, 300)
    assert len(pieces) == 258 and b"abc" in pieces
    assert len(learn(WORDS, 258)) == 258


def weight(parts, pieces):
    return sum(pieces[part] for part in parts)


def every_cut(word):
    for ends in itertools.product((False, True), repeat=len(word) - 1):
        borders = [0, *(i + 1 for i, end in enumerate(ends) if end), len(word)]
        yield [word[a:b] for a, b in itertools.pairwise(borders)]


def test_a_word_is_cut_where_that_is_likeliest():
    """Of all ways there are."""
    pieces = learn(WORDS, 264)
    for word in (*WORDS, b"bananaquay", b"nab", b"\xff\x00", b"x"):
        best = max(weight(c, pieces) for c in every_cut(word) if all(part in pieces for part in c))
        found = cut(word, pieces)
        assert b"".join(found) == word and weight(found, pieces) == pytest.approx(best)
    assert cut(b"", pieces) == []


def test_the_codec_cuts_as_this_does():
    """The library's search is this one, word by word, and what is saved is read again."""
    codec = learned_codec("likelihood:280", [TEXT.encode()])
    assert isinstance(codec, Bpe) and codec.name == "likelihood:280" and codec.vocab == 280
    again = codec_from_json(codec.to_json())
    assert again.name == "likelihood:280" and again.vocab == 280
    draw = random.Random(1)
    for text in (TEXT, "", "\N{SNOWMAN} zebra\n\n\t  x", "".join(chr(draw.randrange(1, 900)) for _ in range(300))):
        ids = codec.encode(text)
        assert codec.decode(ids) == text and np.array_equal(again.encode(text), ids)
        assert codec.token_bytes[ids].sum() == len(text.encode())
    assert len(codec.encode(TEXT)) < 0.6 * len(TEXT.encode())
    counted = learned_codec("bpe:280", [TEXT.encode()])
    assert not np.array_equal(counted.token_bytes, codec.token_bytes)


def test_a_text_is_read_by_it_and_a_name_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT * 4)
    corpus = load_text(tmp_path / "a.txt", codec="likelihood:280", cache=tmp_path / "cache")
    assert corpus.codec.vocab == 280 and len(corpus.train) < 0.8 * corpus.bytes["train"]
    again = load_text(tmp_path / "a.txt", codec="likelihood:280", cache=tmp_path / "cache")
    assert again.codec.hash == corpus.codec.hash
    assert load_text(tmp_path / "a.txt", codec="bpe:280", cache=tmp_path / "cache").codec.hash != corpus.codec.hash
    assert parse_codec("likelihood:500") == 500
    with pytest.raises(by.UsageError, match="did you mean likelihood"):
        parse_codec("likelyhood:500")
    with pytest.raises(by.UsageError, match="as in likelihood:4096"):
        parse_codec("likelihood:12")
