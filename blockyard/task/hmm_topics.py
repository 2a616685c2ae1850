"""A text whose topic changes now and then, where the next word is asked, or what it is about.

    z_{t+1} = z_t, or any other topic with a chance of 1 - stay        x_t ~ p(. | z_t)        asked everywhere: x_{t+1}

Words of a topic are drawn by e^(peak N(0,1)), made even to 1, the same in all examples. The best there is keeps the
chance of every topic as words come (a forward filter) and names the likeliest word. With `ask=topic` it is asked, from
the middle of a row on, which topic z_t is: the same rows, for whoever reads it off a model that learned the words.

Shapes   ids: the words; then the topics, which stand in no row    T = length    chance 1/words, of topics 1/topics
Source   arXiv 2410.18160    Slug  future-token-prediction    Family  mixtures
Differs  topics of a hidden Markov chain in place of those of Wikipedia
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np

from blockyard.core.settings import Count, Fraction, Positive
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, blank
from blockyard.task._metric import Metric


class HMMTopics(Task):
    """`chances` (Z,W): of every word in every topic. `moves` (Z,Z): of every topic after every other."""

    exact = False
    first = "0bb6ec7e30f0"
    variants = ({}, dict(topics=3, words=12, stay=0.9, length=40), dict(ask="topic"))

    def __init__(
        self, *, topics: Annotated[Count, "how many topics"] = 6, words: Annotated[Count, "different words"] = 64,
        stay: Annotated[Fraction, "how likely the topic is to stay at each word"] = 0.97,
        peak: Annotated[Positive, "how far the words of a topic differ in how common they are"] = 2.0,
        length: Annotated[Count, "words of a row"] = 96,
        ask: Annotated[Literal["word", "topic"], "what is asked"] = "word",
    ) -> None:  # fmt: skip
        at_least(2, topics=topics, words=words, length=length)
        self.topics, self.words, self.stay, self.peak, self.length, self.ask = topics, words, stay, peak, length, ask
        self.vocab = words + topics
        self.answers = range(words, words + topics) if ask == "topic" else range(words)
        common = np.exp(peak * Draw(0, topics, stream=2).normal(words))
        self.chances = common / common.sum(1, keepdims=True)
        self.moves = np.full((topics, topics), (1 - stay) / (topics - 1))
        np.fill_diagonal(self.moves, stay)

    def sample(self, seed: int, n: int) -> Examples:
        draw, size = Draw(seed, n), self.length + 1
        first, steps = draw.below(self.topics, 1), 1 + draw.below(self.topics - 1, size - 1)
        turns = draw.uniform(size - 1) >= self.stay
        topic = (first + np.pad(np.where(turns, steps, 0), ((0, 0), (1, 0))).cumsum(1)) % self.topics
        edges = (self.chances.cumsum(1) + np.arange(self.topics)[:, None]).reshape(-1)  # of all words of all topics
        places = np.searchsorted(edges, topic + draw.uniform(size), side="right") - self.words * topic
        words = np.clip(places, 0, self.words - 1)
        if self.ask == "word":
            return Examples(words[:, :-1], words[:, 1:])
        late = np.arange(self.length) >= self.length // 2
        return Examples(words[:, :-1], np.where(late, self.words + topic[:, :-1], blank(words[:, :-1])))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        belief = self.filtered(tokens)
        if self.ask == "topic":
            return self.words + belief.argmax(-1)
        return (belief @ self.moves @ self.chances).argmax(-1)

    def filtered(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T,Z) the chance of every topic, given the words (n,T) at and before each place."""
        found = np.zeros((*tokens.shape, self.topics))
        belief = np.full((len(tokens), self.topics), 1 / self.topics)
        for t, word in enumerate(tokens.T):
            belief = belief * self.chances[:, np.clip(word, 0, self.words - 1)].T
            belief = belief / belief.sum(1, keepdims=True)
            found[:, t] = belief
            belief = belief @ self.moves
        return found

    def amounts(self, said: Mapping[str, Any], targets: Any) -> Any:
        """(n,2) wrong answers, and nats where it was said how likely each was."""
        wrong = super().amounts(said, targets)
        if "logits" not in said:
            return np.stack([wrong, np.full(len(wrong), np.nan)], 1)
        log_p = said["logits"].double().log_softmax(-1)
        nats = -log_p.gather(-1, targets.clamp(min=0)[..., None])[..., 0].masked_fill(targets < 0, 0).sum(1)
        return wrong.new_tensor([1, 0]) * wrong[:, None] + nats.new_tensor([0, 1]) * nats[:, None]

    @property
    def also(self) -> tuple[Metric, ...]:
        return (Metric("surprise", "nats/answer", "lower", 0.0),)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {"surprise": float(sums[1] / asked)}

    def baselines(self) -> dict[str, Predictor]:
        if self.ask == "topic":
            return {"last word": lambda tokens: self.words + self.chances[:, tokens].argmax(0)}
        common = int(self.chances.mean(0).argmax())
        return {"commonest": lambda tokens: np.full_like(tokens, common)}
