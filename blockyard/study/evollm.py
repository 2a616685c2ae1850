"""Does a model learn to write the next centre of a search, and does it help that it reads the past in order?

Source   arXiv 2402.18381    Slug  evollm    Family  search
Claim    tuning on the contexts of a teacher makes a better optimiser; members listed from the worst to the best are
         read more easily than as they came
Differs  models of sixty thousand parameters from nothing; judged is how often the teacher's centre is written, on
         functions that training does not show, and not what a search with the model finds
"""

from blockyard.study._base import Race, Study, lower, ratio, within

CONTEXTS = "bbob:functions=sphere+rastrigin,scored=rosenbrock,resolution=20,elite=2"


def study() -> Study:
    options = {"params": "60k", "tokens": "1M", "batch": 128, "seeds": 2, "tuning": "none"}
    arms = ("llama", "gla")
    return Study(
        races=(
            Race("in order", arms, task=CONTEXTS, options=options),
            Race("as they came", arms, task=f"{CONTEXTS},ordered=no", options=options),
        ),
        predictions=(
            within("in order", "llama", "best member", 0.8),
            ratio("in order", "as they came", "llama", 0.9),
            ratio("in order", "as they came", "gla", 0.9),
            lower("as they came", "off by", "llama", "gla"),
        ),
    )
