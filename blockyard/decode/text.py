"""From tokens to text as they come: whole characters only, cut exactly where a stop string begins."""

from collections.abc import Callable, Sequence

from blockyard.core.errors import UsageError

Decode = Callable[[list[int]], str]
BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character, or not yet
CONTEXT = 16  # tokens after which the ones before them are no longer decoded again
TAIL = 16  # tokens of the prompt that are written again with what follows: a space may belong to both


class TextStream:
    """`push(token)` gives the text that is now certain; `finish()` what was held back; `stopped` is set by a stop.

    Held back: up to three broken characters at the end (the first bytes of one), and whatever may be the beginning of
    a stop string. Of several stop strings the one that ends first counts, the longer of two that end together, so the
    cut does not depend on how the text is divided into tokens.

    `decode` maps ids to text, and ids that end with a whole character to the beginning of what more ids give.
    """

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        if any(not isinstance(text, str) or not text for text in stop):
            raise UsageError("a stop string holds at least one character")
        self.decode, self.stop, self.stopped = decode, tuple(stop), False
        self._context: list[int] = []  # decoded before, kept because a decoder may look back
        self._fresh: list[int] = []
        self._sent = 0  # characters of both that were passed on
        self._held = ""

    def push(self, token: int) -> str:
        if self.stopped:
            return ""
        self._fresh.append(token)
        text = self.decode(self._context + self._fresh)
        whole = text[:-3] + text[-3:].rstrip(BROKEN)
        new, self._sent = whole[self._sent :], max(self._sent, len(whole))
        if len(self._fresh) >= CONTEXT and len(whole) == len(text):
            self._context, self._fresh = self._fresh, []
            self._sent = len(self.decode(self._context))
        return self._pass(new)

    def finish(self) -> str:
        """The rest, when no token follows."""
        if self.stopped:
            return ""
        new = self.decode(self._context + self._fresh)[self._sent :]
        self._context, self._fresh, self._sent = [], [], 0
        text = self._pass(new)
        text, self._held = text + self._held, ""
        return text

    def _pass(self, new: str) -> str:
        text = self._held + new
        ends = [(text.find(stop) + len(stop), -len(stop)) for stop in self.stop if stop in text]
        if ends:
            end, size = min(ends)
            self.stopped, self._held = True, ""
            return text[: end + size]
        keep = max((_overlap(text, stop) for stop in self.stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def going_on(decode: Callable[[list[int]], str], prompt: Sequence[int]) -> Callable[[list[int]], str]:
    """From ids behind a prompt to the text behind that of the prompt: tokenizers write a first token otherwise."""
    tail = list(prompt[-TAIL:])
    known = len(decode(tail))
    return lambda ids: decode([*tail, *ids])[known:]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
