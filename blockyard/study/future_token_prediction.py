"""Do states that eight tokens must be spelt from tell better what a text is about, at no cost to the next token?

Source   arXiv 2410.18160    Slug  future-token-prediction    Family  objective
Claim    states change more slowly and classify better, at a perplexity that is as good
Differs  a text of six topics, of 48 words; of one token ahead it is the same model; topics are read by the head alone,
         a decoder, of a body that is trained no further; how slowly states change is not looked at
"""

from blockyard.compare.documents import Report
from blockyard.study._base import OPEN, Finding, Prediction, Race, Study, better, by_seed, level

WORDS = "hmm_topics:words=48"
PROBED = f",probing=0.25,first_task={WORDS}"


def near(race: str, figure: str, a: str, b: str, most: float) -> Prediction:
    """A further figure of a is at most so much above that of b, in every seed. The value is the mean of what it is."""

    def judge(result: Report) -> Finding:
        pairs = zip(*([each.get(figure) for each in result.arm(name).also] for name in (a, b)))
        gaps = [one - other for one, other in pairs if one is not None and other is not None]
        return by_seed(gaps, lambda gap: gap <= most, most) if gaps else Finding(OPEN, None, most)

    return Prediction(f"{race}: the figure {figure!r} of {a} is at most {most:g} above that of {b}", race, judge)


def study() -> Study:
    options = {"params": "40k", "tokens": "700k", "batch": 32, "seeds": 2, "tuning": "none", "margin": 0.02}
    ahead = {"one": "ahead=1", "eight": "ahead=8"}
    words = tuple(f"{name}=future_tokens:layers=2,{what}" for name, what in ahead.items())
    topics = tuple(f"{name}=future_tokens:layers=2,{what}{PROBED}" for name, what in ahead.items())
    return Study(
        races=(
            Race("words", ("plain=llama", *words), task=WORDS, options=options),
            Race("topics", topics, task=f"{WORDS},ask=topic", options=options),
        ),
        predictions=(
            better("topics", "eight", "one"),
            near("words", "surprise", "eight", "one", 0.03),
            level("words", "eight", "one"),
            near("words", "surprise", "one", "plain", 0.03),
        ),
    )
