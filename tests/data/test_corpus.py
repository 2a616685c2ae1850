"""The corpus and its cache of token shards: same content every time, whatever happens to the files."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import blockyard.data
from blockyard.data import corpus, load_text
from blockyard.data.split import NAMES
from blockyard.data.tokens import Bpe, Bytes

ROOT = Path(blockyard.data.__file__).parents[2]


@pytest.fixture
def path(tmp_path, words):
    file = tmp_path / "story.txt"
    file.write_text(words(30_000))
    return file


def same(a, b) -> bool:
    return a.hash == b.hash and a.codec.hash == b.codec.hash and a.bytes == b.bytes and all(
        np.array_equal(getattr(a, n).tokens, getattr(b, n).tokens)
        and np.array_equal(getattr(a, n).offsets, getattr(b, n).offsets)
        and getattr(a, n).hash == getattr(b, n).hash
        for n in NAMES
    )  # fmt: skip


def mapped(split) -> bool:
    base = split.tokens
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    return base is not None


@pytest.mark.parametrize("codec", ["bytes", "bpe:300"])
def test_a_corpus_holds_the_whole_text(path, codec):
    corpus = load_text(path, codec=codec)
    ids = np.concatenate([corpus.train.tokens, corpus.tune.tokens, corpus.test.tokens])
    assert corpus.codec.decode(ids) == path.read_text()
    assert sum(corpus.bytes.values()) == path.stat().st_size and corpus.split_by == "position"
    for name in NAMES:
        split = getattr(corpus, name)
        assert split.bytes == split.token_bytes[split.tokens].sum() == corpus.bytes[name]
        assert split.offsets[0] == 0 and split.offsets[-1] == len(split) and split.name == name
    line = corpus.summary()
    assert "\n" not in line and "story.txt" in line and corpus.hash[:12] in line and codec in line


def test_offsets_separate_the_documents(tmp_path, words):
    for n in range(60):
        (tmp_path / f"{n:02}.txt").write_text(words(300, seed=n))
    corpus = load_text(tmp_path, codec="bpe:300")
    test = corpus.test
    texts = [corpus.codec.decode(test.tokens[a:b]) for a, b in zip(test.offsets, test.offsets[1:])]
    assert corpus.split_by == "document" and len(texts) >= 2
    assert set(texts) <= {file.read_text() for file in tmp_path.iterdir()}


def copies_in_train(corpus):
    """The share of the test's lines that stand in train."""
    lines = [set(corpus.codec.decode(split.tokens).split("\n")) for split in (corpus.train, corpus.test)]
    return len(lines[0] & lines[1] - {""}) / len(lines[1] - {""})


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("change", [lambda t: t, lambda t: t + "\n", lambda t: t.replace("\n", "\r\n")])
def test_a_text_that_stands_twice_is_on_one_side_of_the_split(tmp_path, words, count, change):
    for n in range(count):
        (tmp_path / f"{n}.txt").write_text(text := words(40_000 // count, seed=n), newline="")
        (tmp_path / f"copy of {n}.txt").write_text(change(text), newline="")
    corpus = load_text(tmp_path)
    assert copies_in_train(corpus) < 0.05
    assert f"{count} of {2 * count} documents repeat another one and are left out" in corpus.notes[-1]


def test_one_file_that_holds_a_text_twice_says_so(tmp_path, words):
    (tmp_path / "a.txt").write_text(words(30_000) * 2)
    corpus = load_text(tmp_path / "a.txt")
    assert copies_in_train(corpus) > 0.9 and "of the test stand word for word in train" in corpus.notes[-1]
    (tmp_path / "b.txt").write_text(words(60_000))
    assert load_text(tmp_path / "b.txt").notes == ()


def test_bpe_learns_from_the_train_split_only(tmp_path):
    text = "plain words here\n" * 900 + "zyxwvut " * 200
    (tmp_path / "a.txt").write_text(text)
    corpus = load_text(tmp_path / "a.txt", codec="bpe:300")
    assert isinstance(corpus.codec, Bpe) and "zyx" in corpus.codec.decode(corpus.test.tokens)
    assert "zyx" not in corpus.codec.to_json().decode()
    assert any("of the 300 tokens" in note for note in corpus.notes)


def test_a_ready_codec_is_used_as_it_is(path):
    codec = load_text(path, codec="bpe:300").codec
    again = load_text(path, codec=codec)
    assert again.codec.hash == codec.hash and same(again, load_text(path, codec="bpe:300"))
    assert isinstance(load_text(path, codec=Bytes()).codec, Bytes)


def test_the_hash_follows_text_and_split_only(path, tmp_path, words):
    base = load_text(path)
    assert load_text(path, codec="bpe:300").hash == base.hash
    assert load_text(path, fractions=(0.8, 0.1, 0.1)).hash != base.hash
    copy = tmp_path / "copy.txt"
    copy.write_text(path.read_text())
    assert load_text(copy).hash == base.hash
    copy.write_text(path.read_text()[:-1])
    assert load_text(copy).hash != base.hash


@pytest.mark.parametrize("codec", ["bytes", "bpe:300"])
def test_shards_are_mapped_and_reused(path, cache, codec, monkeypatch):
    first = load_text(path, codec=codec)
    assert mapped(first.train) and not first.train.tokens.flags.writeable
    monkeypatch.setattr("blockyard.data.corpus.encode_split", lambda *a: pytest.fail("tokenised again"))
    second = load_text(path, codec=codec)
    assert same(first, second) and not second.notes and not list(cache.rglob("*.tmp"))


@pytest.mark.parametrize("file", ["train.bin", "test.bin", "tune.documents.bin", "tokenizer.json", "shards.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "emptied"])
def test_a_damaged_shard_is_found_and_rebuilt(path, cache, file, damage):
    first = load_text(path, codec="bpe:300")
    (victim,) = cache.rglob(file)
    whole = victim.read_bytes()
    half = len(whole) // 2
    if damage == "gone":
        victim.unlink()
    else:
        flipped = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
        broken = {"cut": whole[:half], "flip": flipped, "emptied": b""}
        victim.unlink()  # a new file: the first corpus still reads the old one
        victim.write_bytes(broken[damage])
    again = load_text(path, codec="bpe:300")
    rebuilt = any("rebuilt" in note for note in again.notes)
    assert same(first, again) and (rebuilt or file == "shards.json") and victim.read_bytes() == whole
    assert not load_text(path, codec="bpe:300").notes


def test_a_cache_that_cannot_be_written_costs_a_note(path, tmp_path):
    blocker = tmp_path / "blocker"
    blocker.write_text("a file where a folder should be")
    corpus = load_text(path, cache=blocker)
    assert not mapped(corpus.train) and any("kept in memory" in note for note in corpus.notes)
    assert same(corpus, load_text(path))


def test_a_full_disk_leaves_nothing_half_written(path, cache, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    corpus = load_text(path)
    assert any("No space left" in note for note in corpus.notes)
    assert not [p for p in cache.rglob("*") if p.is_file()]
    monkeypatch.undo()
    assert same(corpus, load_text(path, cache=cache))


def test_what_a_killed_process_left_is_swept_once_old(path, cache):
    load_text(path)
    (index,) = cache.rglob("shards.json")
    old, young = index.with_name(".train.bin.1.aa.tmp"), index.with_name(".train.bin.2.bb.tmp")
    for file in (old, young):
        file.write_text("half")
    os.utime(old, (time.time() - 90_000,) * 2)
    index.unlink()
    load_text(path)
    assert not old.exists() and young.exists()


def test_two_processes_may_prepare_one_corpus_at_once(path, cache, tmp_path):
    code = (
        "import sys, time, pathlib\nfrom blockyard.data import load_text\n"
        "gate = pathlib.Path(sys.argv[2])\nprint('ready', flush=True)\n"
        "while not gate.exists(): time.sleep(0.001)\n"
        "for _ in range(6):\n"
        "    c = load_text(sys.argv[1], codec='bpe:320')\n"
        "    assert not any('memory' in n for n in c.notes), c.notes\n"
        "    print(c.codec.hash, c.train.hash, c.tune.hash, c.test.hash, c.bytes)\n"
        "    [p.unlink(missing_ok=True) for p in pathlib.Path(sys.argv[3]).rglob('shards.json')]\n"
    )
    gate = tmp_path / "gate"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(path), str(gate), str(cache)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) for _ in "ab"]
    assert all(process.stdout.readline() == "ready\n" for process in both)
    gate.touch()
    results = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    lines = {line for out, _ in results for line in out.splitlines()}
    assert len(lines) == 1 and not list(cache.rglob("*.tmp"))
    here = load_text(path, codec="bpe:320")
    assert not any("rebuilt" in note for note in here.notes)
    assert lines == {f"{here.codec.hash} {here.train.hash} {here.tune.hash} {here.test.hash} {here.bytes}"}


def test_the_default_text_is_python_s_own(tmp_path, monkeypatch):
    corpus = load_text()
    assert 1.0e6 < sum(corpus.bytes.values()) < 2.0e6 and corpus.split_by == "document"
    assert "CPython" in corpus.name and len(corpus.train.offsets) > 200
    assert not corpus.notes  # no note that much of the test stands in train: every paragraph is there once
    held_out = corpus.codec.decode(corpus.test.tokens) + corpus.codec.decode(corpus.tune.tokens)
    assert "def " in held_out and "statement" in held_out
    (tmp_path / "statistics.py").write_text("mine = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_text([]).hash == corpus.hash


def test_importing_and_the_default_text_load_neither_the_tokenizers_nor_the_topics():
    code = (
        "import sys\nfrom blockyard.data import load_text\nload_text()\n"
        "assert not {'tokenizers', 'pydoc_data.topics', 'doctest'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_another_rule_of_the_split_is_another_text(monkeypatch):
    """Else a cache would go on serving the old order under the name of the new one."""
    documents = [b"the same documents"] * 3
    before = corpus._content_hash(documents, (0.9, 0.05, 0.05))
    monkeypatch.setattr(corpus, "RULE", corpus.RULE + 1)
    assert corpus._content_hash(documents, (0.9, 0.05, 0.05)) != before
