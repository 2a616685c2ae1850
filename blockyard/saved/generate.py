"""A text that goes on where a prompt ends, written by a trained model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.data.tokens import Codec
from blockyard.decode.beams import beams
from blockyard.decode.generate import Step, generate
from blockyard.decode.rules import SamplingParams
from blockyard.decode.speculate import speculate
from blockyard.decoder.prompt_lookup import PromptLookup
from blockyard.saved.open import open_model


@dataclass(frozen=True)
class Found(Document):
    """A text that a search found, with its log-probability and its score, which longer texts are not punished in."""

    text: str
    logprob: float
    score: float


def continue_text(
    folder: str, prompt: str, tokens: int, params: SamplingParams, stop: Sequence[str] = (), num_speculative: int = 0,
    int8_cache: bool = False,
) -> Iterator[Step]:  # fmt: skip
    """Steps with the text that continues the prompt, as they come; `num_speculative` are guessed at once."""
    model, codec = open_model(folder)
    ids, how = _prompt(codec, prompt), {"stop": stop, "decode": codec.decode}
    if num_speculative and int8_cache:
        raise UsageError("--num-speculative needs the past to the last bit, not --int8-cache; leave one out")
    if num_speculative:
        return speculate(model, ids, tokens, PromptLookup(), params, num_speculative=num_speculative, **how)
    return generate(model, ids, tokens, params, int8_cache=int8_cache, **how)


def search_text(folder: str, prompt: str, tokens: int, width: int) -> list[Found]:
    """The likeliest continuations that a beam search finds."""
    model, codec = open_model(folder)
    found = beams(model, _prompt(codec, prompt), tokens, width=width)
    return [Found(codec.decode(beam.tokens), beam.logprob, beam.score) for beam in found]


def _prompt(codec: Codec, prompt: str) -> torch.Tensor:
    ids = codec.encode(prompt)
    if not len(ids):
        raise UsageError("the prompt is empty; give at least one character")
    return torch.from_numpy(ids.astype("int64"))[None]
