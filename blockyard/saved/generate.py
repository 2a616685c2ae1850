"""A text that goes on where a prompt or a conversation ends, written by a trained model.

What the caller does not say, the folder may (`interop/defaults.py`); what neither says is `USUAL`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.decode.beams import beams
from blockyard.decode.generate import Step, generate
from blockyard.decode.rules import SamplingParams
from blockyard.decode.speculate import speculate
from blockyard.decode.text import going_on
from blockyard.decoder.prompt_lookup import PromptLookup
from blockyard.interop.defaults import Defaults, generation_defaults
from blockyard.interop.tokenizer import Tokenizer
from blockyard.model.model import Model
from blockyard.saved.open import open_model

USUAL = {"temperature": 0.8}
TOKENS = 200


@dataclass(frozen=True)
class Found(Document):
    """A text that a search found, with its log-probability and its score, which longer texts are not punished in."""

    text: str
    logprob: float
    score: float


@dataclass(frozen=True)
class Request:
    """What is to be gone on with: a text as it stands, or a conversation of what the system and a user say."""

    prompt: str | None = None
    chat: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if self.prompt is not None and self.chat is not None:
            raise UsageError("a text to continue and a conversation are two requests; leave one out")
        if self.system is not None and self.chat is None:
            raise UsageError("--system belongs to a conversation; say with --chat what is asked")

    def text(self, words: Tokenizer) -> str:
        """The text that a model is given."""
        if self.chat is None:
            return "\n" if self.prompt is None else self.prompt
        said = [] if self.system is None else [{"role": "system", "content": self.system}]
        return words.chat([*said, {"role": "user", "content": self.chat}])


class Writing:
    """A model at the end of a prompt.

    prompt   the text that it is given        tokens   new ones at most
    params   how a token is chosen            notes    what the folder says of it, and what of that is not followed
    """

    def __init__(self, folder: str, request: Request, tokens: int | None = None, **asked: Any) -> None:
        """`asked`: arguments of `SamplingParams`; what is None or not said is the folder's, or the usual."""
        self.model, words = open_model(folder)
        self.prompt = request.text(words)
        bare = request.chat is not None  # a template writes the tokens that begin a text itself
        ids = words.encode(self.prompt, whole=False) if bare else words.prompt(self.prompt)
        if not ids:
            raise UsageError("the prompt is empty; give at least one character")
        self.ids, self.decode = torch.tensor([ids]), going_on(words.decode, ids)
        said = generation_defaults(Path(words.where))
        asked = {name: value for name, value in asked.items() if value is not None}
        self.params = SamplingParams(**{**USUAL, **said.params, **asked})
        self.tokens = _length(said, len(ids)) if tokens is None else tokens
        self.stop = _stops(self.model, said)
        self.notes = [*words.notes, *_told(said, asked, tokens, self.tokens, words)]

    def steps(self, stop: Sequence[str] = (), num_speculative: int = 0, int8_cache: bool = False) -> Iterator[Step]:
        """Tokens with their text as they come; `num_speculative` are guessed at once."""
        how: Any = {"stop": [*self.stop, *stop], "decode": self.decode}
        if num_speculative and int8_cache:
            raise UsageError("--num-speculative needs the past to the last bit, not --int8-cache; leave one out")
        if num_speculative:
            lookup = PromptLookup()
            return speculate(
                self.model, self.ids, self.tokens, lookup, self.params, num_speculative=num_speculative, **how
            )
        return generate(self.model, self.ids, self.tokens, self.params, int8_cache=int8_cache, **how)

    def search(self, width: int) -> list[Found]:
        """The likeliest continuations that a beam search finds; strings end none of them."""
        stop = [each for each in self.stop if isinstance(each, int)]
        found = beams(self.model, self.ids, self.tokens, width=width, stop=stop)
        texts = [beam.tokens[:-1] if beam.tokens[-1] in stop else beam.tokens for beam in found]
        return [Found(self.decode(ids), beam.logprob, beam.score) for ids, beam in zip(texts, found)]


def _length(said: Defaults, prompt: int) -> int:
    """How many tokens are written where nobody asks for a number."""
    if said.tokens is not None:
        return said.tokens
    return TOKENS if said.length is None or said.length <= prompt else min(TOKENS, said.length - prompt)


def _stops(model: Model, said: Defaults) -> list[int | str]:
    size = model.axes["stem.vocab"].size
    if odd := [each for each in said.stop if isinstance(each, int) and each >= size]:
        raise UsageError(f"{said.where}: a text ends at {odd[0]}, and the model has {size} tokens")
    return list(said.stop)


def _told(said: Defaults, asked: dict[str, Any], wanted: int | None, tokens: int, words: Tokenizer) -> list[str]:
    """In a line each: the defaults of the folder that hold here, and what it asks for in vain."""
    holds = [f"{name} {value:g}" for name, value in said.params.items() if name not in asked]
    if wanted is None and tokens != TOKENS:
        holds.append(f"{tokens} tokens")
    ends = [f"{each} ({words.decode([each])!r})" if isinstance(each, int) else repr(each) for each in said.stop]
    holds += [f"the text ends at {', '.join(ends)}"] if ends else []
    told = [f"{said.where}: {'; '.join(holds)}"] if holds else []
    return told + ([f"{said.where}: not followed: {', '.join(said.passed)}"] if said.passed else [])
