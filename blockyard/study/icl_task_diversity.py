"""With how many functions in training does a model stop recalling them, and learn to regress?

Source   arXiv 2306.15063    Slug  icl-task-diversity    Family  in context
Claim    of few functions a model learns the posterior over them, and is no good at others; of enough it learns a ridge
Differs  four numbers, eight pairs, four functions or as many as there are; the number at which it turns is out of reach
"""

from blockyard.study._base import Race, Study, better, nearer, ratio

ARMS = ("attention=llama:layers=3", "recurrent=gla:layers=3")
TASK = "in_context:dim=4,points=8,noise=0.25,family="


def study() -> Study:
    options = {"params": "38k", "tokens": "1.2M", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race("known", ARMS, task=f"{TASK}pool(count=4)", options=options),
            Race("new", ARMS, task=f"{TASK}pool(count=4),scored=dense", options=options),
            Race("any", ARMS, task=f"{TASK}dense", options=options),
        ),
        predictions=(
            nearer("known", "attention", "from posterior", "from ridge"),
            nearer("new", "attention", "from posterior", "from ridge"),
            nearer("any", "attention", "from posterior", "from nearest"),
            ratio("any", "new", "attention", 0.8),
            ratio("any", "new", "recurrent", 0.8),
            better("any", "attention", "recurrent"),
        ),
    )
