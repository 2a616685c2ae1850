"""Which classic rule does a model imitate that learned to regress from its context?

Source   arXiv 2211.15661    Slug  icl-linear    Family  in context
Claim    trained models say what least squares say, with noise what the ridge says; shallow ones are nearer to one step
Differs  3 numbers and 7 pairs; differences after 6 of them; two layers are the shallow ones: in one layer of attention
         no number can be laid beside its vector, as they are tokens of their own
"""

from blockyard.study._base import Race, Study, lower, nearer

ARMS = ("deep=llama:layers=3", "shallow=llama:layers=2")


def study() -> Study:
    options = {"params": "38k", "tokens": "3.6M", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race("noisy", ARMS, task="regression:dim=3,points=7,noise=0.5", options=options),
            Race("clean", ARMS, task="regression:dim=3,points=7,noise=0", options=options),
        ),
        predictions=(
            nearer("noisy", "deep", "from ridge", "from light ridge"),
            nearer("noisy", "deep", "from ridge", "from one step"),
            nearer("noisy", "deep", "from ridge", "from nearest"),
            lower("noisy", "from one step", "shallow", "deep"),
            nearer("clean", "deep", "from least squares", "from one step"),
            nearer("clean", "deep", "from least squares", "from nearest"),
            lower("clean", "from one step", "shallow", "deep"),
        ),
    )
