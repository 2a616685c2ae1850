"""The engine of a `tokenizer.model`: normaliser, pieces and byte fallback, by the `sentencepiece` library.

What the folder adds is looked for in a text first, the longest where several begin; the pieces of text between are read
each by itself. A space is put before the first of them, and before each where `every` says so, if the model puts any.

Source   https://github.com/google/sentencepiece
Differs  control symbols are tokens of the text where the folder or the model names them: the library spells them out
"""

import base64
import importlib
import json
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.data.foreign import Token

NEWLINE = "\n"  # no space is put behind one: what follows is read as the middle of a text


class TokenizerModel:
    """The `sentencepiece` library with the content of a file; ValueError where it cannot be.

    added    tokens that are looked for first, each with its id, or a piece of the model
    bos      whether the model's own first token is put before a text; eos: its last one behind it
    every    whether each stretch between added tokens gets the space of a beginning, not the first alone
    literal  special tokens that stand in a text are read as plain text
    """

    kind = "sentencepiece"

    def __init__(
        self, content: bytes, added: Sequence[Token] = (), bos: bool = True, eos: bool = False, every: bool = True,
        literal: bool = False,
    ) -> None:  # fmt: skip
        self._content, self._every = content, every
        self._pieces = _library().SentencePieceProcessor()
        try:
            if not content:
                raise ValueError("it is empty")
            self._pieces.LoadFromSerializedProto(content)
            self._pieces.encode("a")
        except Exception as error:  # the library raises bare ones
            why = "it is a pickle, which is never opened" if content[:1] == b"\x80" else "it is no SentencePiece model"
            raise ValueError(f"{why} ({str(error)[:80]})") from None
        size, first, last = self._pieces.get_piece_size(), self._pieces.bos_id(), self._pieces.eos_id()
        self.before = (first,) if bos and first >= 0 else ()
        self.after = (last,) if eos and last >= 0 else ()
        self.unknown: int | None = self._pieces.unk_id()
        own = [Token(self._pieces.id_to_piece(i), i) for i in range(size) if self._pieces.is_control(i)]
        self._added = dict[str, int]()
        for each in (*own, *added):
            if not (literal and each.special):
                self._added[each.content] = self._id(each, size)
        self._written = {i: content for content, i in self._added.items()}
        self._find = re.compile("|".join(re.escape(each) for each in sorted(self._added, key=len, reverse=True)))
        self.vocab = max(size, *(i + 1 for i in self._added.values()), 0)

    def read(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        return [self._read(text) for text in texts]

    def write(self, ids: list[int]) -> str:
        """Stretches of pieces, each written by the library, and the added tokens between them."""
        said, held, first = list[str](), list[int](), True
        size = self._pieces.get_piece_size()
        for i in [*ids, -1]:
            if i >= 0 and i not in self._written:
                held += [i] if i < size else []
                continue
            if held:
                said.append(self._stretch(held, first or self._every))
                held, first = [], False
            if i >= 0:
                said.append(self._written[i])
                first = False
        return "".join(said)

    def saved(self) -> bytes:
        model = base64.b64encode(self._content).decode()
        around = {"before": self.before, "after": self.after, "every": self._every, "added": self._added}
        return json.dumps({"sentencepiece": model, **around}).encode()

    def _id(self, token: Token, size: int) -> int:
        if token.lstrip or token.rstrip or token.single_word:
            raise ValueError(f"the added token {token.content!r} takes in the text beside it: save a tokenizer.json")
        own = self._pieces.piece_to_id(token.content)
        known = self._pieces.id_to_piece(own) == token.content
        if token.id is not None and token.id < size and (not known or own != token.id):
            raise ValueError(f"tokenizer_config.json has {token.content!r} at {token.id}, where another piece stands")
        if token.id is None:
            return own if known else max([size, *(i + 1 for i in self._added.values())])
        return token.id

    def _read(self, text: str) -> tuple[list[int], list[int]]:
        ids, ends, first = list[int](), list[int](), True
        for start, piece in self._split(text):
            if piece in self._added:
                ids.append(self._added[piece])
                ends.append(start + len(piece))
                first = False
                continue
            inner = not first and not self._every
            found: Any = self._pieces.encode(NEWLINE * inner + piece, out_type="offset_mapping")
            skip = self._skipped() if inner else 0
            ids += found["ids"][skip:]
            ends += [start + max(0, end - inner) for _, end in found["offsets"][skip:]]
            first = False
        return ids, ends

    def _split(self, text: str) -> Iterator[tuple[int, str]]:
        """Added tokens, and the text between them, with their places."""
        start = 0
        for match in self._find.finditer(text) if self._added else ():
            if match.start() > start:
                yield start, text[start : match.start()]
            yield match.start(), match[0]
            start = match.end()
        if start < len(text):
            yield start, text[start:]

    def _skipped(self) -> int:
        return len(self._pieces.encode(NEWLINE))

    def _stretch(self, ids: list[int], begins: bool) -> str:
        """What a stretch of pieces says; one inside a text keeps the space that it begins with."""
        if begins:
            return self._pieces.decode(ids)
        return self._pieces.decode([*self._pieces.encode(NEWLINE), *ids]).removeprefix(NEWLINE)


def _library() -> Any:
    if find_spec("sentencepiece") is None:
        raise UsageError("a tokenizer.model is read with the sentencepiece library: pip install "
                         "'blockyard[sentencepiece]'; or save the folder with a tokenizer.json")  # fmt: skip
    return importlib.import_module("sentencepiece")
