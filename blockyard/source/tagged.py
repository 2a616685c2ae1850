"""Sentences with a tag for every word: .conll and .conllu files, and .jsonl with tokens and tags.

    .conll     a word a line, its tag last, an empty line behind each sentence; # and -DOCSTART- lines are passed over
    .conllu    ten columns a line: the word is the second, its part of speech the fourth
    .jsonl     {"tokens": ["a", "word"], "tags": ["DET", "NOUN"]} a line

Source   none    Family  text
Differs  words of several tokens in .conllu are read token by token
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError, missing
from blockyard.data.annotated import Tagged
from blockyard.data.formats import ROWS, bare, json_rows, opened
from blockyard.source._base import Source
from blockyard.source._files import named

Sentence = tuple[tuple[str, ...], tuple[str, ...]]


class TaggedWords(Source):
    gives = "tagged"
    usual = False
    endings = (".conll", ".conllu", ".iob", ".bio", ".jsonl", ".ndjson")

    def read(self, paths: Sequence[str], **how: Any) -> Tagged:
        if not paths:
            raise UsageError("name the sentences: --data FILE.conll, or a .jsonl with tokens and tags")
        found: dict[Sentence, None] = {}
        count = 0
        for path in paths:
            if not Path(path).is_file():
                raise UsageError(f"{path} is a folder; name the files") if Path(path).is_dir() else missing(Path(path))
            for sentence in (_objects if bare(path).endswith(ROWS) else _lines)(path):
                found.setdefault(sentence)
                count += 1
        if not found:
            raise UsageError(f"{named(paths)} has no sentence with tags")
        lost = count - len(found)
        notes = (f"{lost} of {count} sentences repeat another one and are left out",) if lost else ()
        words, tags = zip(*found)
        return Tagged(named(paths), words, tags, how.get("codec") or "bytes", notes)


def _lines(path: str) -> Iterator[Sentence]:
    """The sentences of a file with a word a line."""
    wide = bare(path).endswith(".conllu")
    words: list[str] = []
    tags: list[str] = []
    with opened(path) as file:
        for number, line in enumerate((*file, ""), 1):
            cells = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
            if not line.strip():
                if words:
                    yield tuple(words), tuple(tags)
                words, tags = [], []
            elif line.startswith(("#", "-DOCSTART-")) or (wide and not cells[0].isdigit()):
                continue
            elif len(cells) < (4 if wide else 2):
                raise UsageError(f"{path} line {number} has a word and no tag: {line.strip()[:60]!r}")
            else:
                words.append(cells[1] if wide else cells[0])
                tags.append(cells[3] if wide else cells[-1])


def _objects(path: str) -> Iterator[Sentence]:
    """The sentences of a file with an object a line."""
    for number, row in json_rows(path, path):
        words, tags = row.get("tokens"), row.get("tags")
        if not isinstance(words, list) or not isinstance(tags, list) or not all(isinstance(w, str) for w in words):
            shown = '{"tokens": ["a", "word"], "tags": ["DET", "NOUN"]}'
            raise UsageError(f"{path} line {number} has no lists of tokens and tags; each row must look like {shown}")
        if len(words) != len(tags):
            raise UsageError(f"{path} line {number} has {len(words)} tokens and {len(tags)} tags")
        if words:
            yield tuple(words), tuple(map(str, tags))
