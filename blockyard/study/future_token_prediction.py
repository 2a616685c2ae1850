"""Do states that eight tokens must be spelt from change more slowly and tell better what a text is about?

Source   arXiv 2410.18160    Slug  future-token-prediction    Family  objective
Claim    states change more slowly and classify better, at a perplexity that is as good
Differs  a text of six topics, of 48 words; of one token ahead it is the same model; states are those that the decoder
         is given
"""

from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from blockyard.compare.documents import Report
from blockyard.probe import linear_probe
from blockyard.study._base import OPEN, Finding, Given, Prediction, Race, Study, Trial, by_seed, figure
from blockyard.study._shown import asked, shown

WORDS = "hmm_topics:words=48"
AHEAD = {"one": "ahead=1", "eight": "ahead=8"}
READ = "head:normed"


def inside(given: Given) -> dict[str, float]:
    """How much more alike neighbouring states are, and how much more often one matrix finds the topic."""
    tokens, topics = shown(asked(WORDS, ask="topic"), given.seed, 256 if given.tier == "small" else 16)
    alike, right = {}, {}
    for name in AHEAD:
        model = given.trained("words", name)
        alike[name] = _alike(model, tokens)
        right[name] = float(linear_probe(model, tokens, topics[:, -1], at=READ)[READ])
    return {"alike": alike["eight"] - alike["one"], "topics": right["eight"] - right["one"]}


@torch.no_grad()
def _alike(model: Any, tokens: torch.Tensor) -> float:
    """The mean cosine of neighbouring states."""
    (h,) = model(tokens, points={READ: "read"}).captures.values()
    return float(cosine_similarity(h[:, :-1], h[:, 1:], dim=-1).mean())


def near(race: str, figure_name: str, a: str, b: str, most: float) -> Prediction:
    """A further figure of a is at most so much above that of b, in every seed. The value is the mean of what it is."""

    def judge(result: Report) -> Finding:
        pairs = zip(*([each.get(figure_name) for each in result.arm(name).also] for name in (a, b)))
        gaps = [one - other for one, other in pairs if one is not None and other is not None]
        return by_seed(gaps, lambda gap: gap <= most, most) if gaps else Finding(OPEN, None, most)

    return Prediction(f"{race}: the figure {figure_name!r} of {a} is at most {most:g} above that of {b}", race, judge)


def study() -> Study:
    options = {"params": "40k", "tokens": "500k", "batch": 32, "seeds": 2, "tuning": "none", "margin": 0.02}
    arms = tuple(f"{name}=future_tokens:layers=2,{ahead}" for name, ahead in AHEAD.items())
    return Study(
        races=(Race("words", ("plain=llama", *arms), task=WORDS, options=options),),
        trials=(Trial("inside", inside),),
        predictions=(
            figure("inside", "alike", least=0.05),
            figure("inside", "topics", least=0.02),
            near("words", "surprise", "eight", "one", 0.03),
            near("words", "surprise", "one", "plain", 0.03),
        ),
    )
