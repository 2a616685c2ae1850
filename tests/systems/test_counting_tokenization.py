"""What must hold of counting letters behind a tokenizer: no cut changes the letters, and none of them the answer."""

from itertools import pairwise

import numpy as np
import pytest

import blockyard as by
from blockyard.task import make_task
from blockyard.task._base import Examples
from blockyard.task._check import score
from blockyard.task._policies import Between, Chunks, policy
from tests.asked import hold_what_is_written

CUTS = {"characters": 1, "chunks": 2, "merged": 12, "separated": 1, "quoted": 1}


def strings(letters=3, rows=200, count=13, seed=0):
    """Strings of 1 to `count` letters, -1 behind them."""
    draw = np.random.default_rng(seed)
    return np.where(
        np.arange(count) < draw.integers(1, count + 1, (rows, 1)), draw.integers(0, letters, (rows, count)), -1
    )


def spelt(row):
    """The text of a row of letters."""
    return "".join("abcdefghij"[i] for i in row if i >= 0)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("letters", [2, 3])
def test_decoding_undoes_encoding(cut, letters):
    """(1) Every policy gives the letters back, and says of each id how many it holds."""
    made, text = policy(cut, letters, CUTS[cut]), strings(letters)
    ids = made.encode(text)
    back = made.decode(ids)
    assert [spelt(row) for row in back] == [spelt(row) for row in text]
    assert ids.max() < len(made.table) and ((ids >= 0).sum(1) <= made.wide * (text >= 0).sum(1)).all()


def test_chunks_of_one_are_characters():
    """(2) To the last id, and the tasks make the same rows of them."""
    text = strings()
    assert np.array_equal(Chunks(3, 1).encode(text), text)
    one, other = (
        make_task(f"counting:letters=3,tokens={cut},size=1").sample(0, 50) for cut in ("characters", "chunks")
    )
    assert np.array_equal(one.tokens, other.tokens) and np.array_equal(one.targets, other.targets)


def test_chunks_are_as_long_as_they_say():
    """(2) abcab in chunks of two is ab, ca and b, each with an id of its own."""
    made = Chunks(3, 2)
    ids = made.encode(np.array([[0, 1, 2, 0, 1]]))
    assert ids.tolist() == [[3 + 0 * 3 + 1, 3 + 2 * 3 + 0, 1]]
    assert made.table[ids[0]].tolist() == [[0, 1], [2, 0], [1, -1]]
    assert len({tuple(row) for row in Chunks(2, 4).table.tolist()}) == 2 + 4 + 8 + 16


def test_merged_tokens_are_those_of_the_library():
    """(1) The pairs that are merged are those of `tokenizers` on the same text, and there are as many as asked for."""
    lib = pytest.importorskip("tokenizers")
    made, text = policy("merged", 2, 12), strings(2, rows=30)
    assert len(made.table) == 14
    theirs = lib.Tokenizer.from_str(made._codec.to_json().decode())
    for row, ids in zip(text, made.encode(text)):
        assert ["".join("ab"[i] for i in made.table[i] if i >= 0) for i in ids[ids >= 0]] == theirs.encode(
            spelt(row)
        ).tokens


@pytest.mark.parametrize("cut", CUTS)
def test_a_trace_replays_to_the_count(cut):
    """(3) Whoever reads it letter by letter finds the string, the count behind every match, and the answer."""
    task = make_task(f"counting:count=13,letters=3,trace=yes,tokens={cut},size={CUTS[cut]}")
    text = strings(3, 60)
    text = text[(text >= 0).sum(1) >= 4]
    for row, reply in zip(text, task.replies(task.asked(text))):
        said = reply[reply >= 0].tolist()
        assert said[-3] == 10
        found, count, at = [], 0, 0
        while at < len(said) - 3:
            found.append(said[at] - 11)
            at += 1
            if found[-1] == 0:
                count += 1
                assert said[at : at + 2] == [count // 10, count % 10]
                at += 2
        assert spelt(found) == spelt(row) and said[-2] * 10 + said[-1] == count == spelt(row).count("a")


@pytest.mark.parametrize("cut", CUTS)
def test_copies_in_tokens_add_up_to_the_answer(cut):
    """(4) The sum over the vocabulary of copies times occurrences is what the string holds of each letter."""
    made, text = policy(cut, 3, CUTS[cut]), strings()
    often = np.stack([np.bincount(row[row >= 0], minlength=len(made.table)) for row in made.encode(text)])
    for letter in range(3):
        assert (often @ made.copies(letter)).tolist() == [spelt(row).count("abc"[letter]) for row in text]


@pytest.mark.parametrize("quoted", [False, True])
def test_separators_never_merge_with_letters(quoted):
    """(5) Every token is a mark or one letter, and the text is what Python writes of the list."""
    made, text = Between(3, quoted), strings()
    assert ((made.table >= 0).sum(1) <= 1).all()
    signs = ["a", "b", "c", ",", '"']
    for row, ids in zip(text, made.encode(text)):
        written = ",".join(f'"{letter}"' if quoted else letter for letter in spelt(row))
        assert "".join(signs[i] for i in ids if i >= 0) == written


@pytest.mark.parametrize("cut", CUTS)
def test_boundaries_are_where_tokens_begin(cut):
    """(5) They need no model: cut there, the string falls into the letters of its tokens."""
    made, text = policy(cut, 3, CUTS[cut]), strings()
    for row, ids, starts in zip(text, made.encode(text), made.boundaries(text)):
        assert starts.shape == row.shape and not starts[row < 0].any()
        cuts = [*np.flatnonzero(starts).tolist(), len(spelt(row))]
        pieces = [spelt(row)[a:b] for a, b in pairwise(cuts)]
        assert pieces == [spelt(made.table[i]) for i in ids if i >= 0 and (made.table[i] >= 0).any()]


@pytest.mark.parametrize("cut", CUTS)
def test_the_order_of_letters_is_nothing_to_the_answer(cut):
    """(6) Shuffled strings have other tokens and the same answer."""
    task, draw = make_task(f"counting:letters=3,tokens={cut},size={CUTS[cut]}"), np.random.default_rng(1)
    text = draw.integers(0, 3, (100, 16))
    mixed = draw.permuted(text, axis=1)
    one, other = task.asked(text), task.asked(mixed)
    assert not np.array_equal(one, other) and np.array_equal(task.replies(one), task.replies(other))
    assert task.replies(one)[:, -2:].tolist() == [[*divmod(spelt(row).count("a"), 10)] for row in text]


def test_the_commonest_count_is_a_baseline():
    """(7) It stands beside the score, is no better than what counts do at best, and far from the oracle."""
    task = make_task("counting:count=10,least=10")
    examples = task.sample(3, 4000)
    counts = (task.strings(3, 4000) == 0).sum(1)
    best = 1 - np.bincount(counts).max() / 4000
    for name in ("commonest", "by length"):
        assert score(task, task.predictors()[name], examples) == pytest.approx(best)
    mixed = make_task("counting")
    by_length, commonest = (
        score(mixed, mixed.predictors()[n], mixed.sample(0, 2000)) for n in ("by length", "commonest")
    )
    assert 0.5 < by_length < commonest < 0.95


def test_budgets_of_tokens_and_of_strings():
    """Chunks make shorter rows; with `even` all rows are as wide, whatever the cut."""
    short, long = (make_task(f"counting:tokens={cut},size=4").length for cut in ("chunks", "characters"))
    assert (short, long) == (4 + 2, 16 + 2)
    assert {make_task(f"counting:even=yes,tokens={cut},size=2").length for cut in CUTS} == {64 + 2}


def test_answers_too_large_are_told_from_those_too_small():
    """Whatever digits follow the first wrong one."""
    task = make_task("counting:count=20,least=20")
    text = np.array([[0] * 12 + [1] * 8] * 4)
    asked = task.asked(text)
    examples = task._laid(asked, task.replies(asked))
    said = examples.targets.copy()
    said[0, -2:], said[1, -2:], said[2, -2:] = (2, 0), (0, 9), (1, 1)
    found = task.figures(task.priced({"ids": said}, examples).sum(0).astype(float), 4.0)
    assert (found["over"], found["under"]) == (0.25, 0.5) and found["error at letters up to 20"] == 0.75


def test_errors_are_told_by_the_letters_of_the_string():
    task = make_task("counting:tokens=chunks,size=4")
    examples = task.sample(0, 300)
    sizes = (task.strings(0, 300) >= 0).sum(1)
    (slicing,) = task.slicings
    assert slicing.pieces == ("6", "9", "12", "16")
    assert np.array_equal(slicing.index(Examples(*examples)), np.digitize(sizes, [6, 9, 12, 16], right=True))


@pytest.mark.parametrize("text, says", [
    ("tokens=words", "one of characters, chunks"), ("least=20", "least <= count"), ("letters=27", "at most 26"),
    ("letters=9,tokens=chunks,size=8", "too many"),
])  # fmt: skip
def test_what_cannot_be_cut_is_refused(text, says):
    with pytest.raises(by.UsageError, match=says):
        make_task(f"counting:{text}")


@pytest.mark.parametrize("text", ["counting", "counting:trace=True", "counting:tokens=chunks"])
def test_a_model_is_right_exactly_where_it_writes_the_reply(text):
    """What greedy decoding writes behind a question is what the score takes for right."""
    hold_what_is_written(make_task(text))
