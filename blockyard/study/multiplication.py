"""Is a product learned digit by digit, and does writing the smallest digit first, with easy rows between, help?

Source   arXiv 2407.15360    Slug  multiplication    Family  arithmetic
Claim    units are learned first and middle digits last; chained carries are what is hard; reversed answers help most
Differs  three digits, two layers of forty thousand parameters, a thousand steps; digits are compared at the end of
         training, not by the step at which each is learned
"""

from blockyard.study._base import Race, Study, lower_in, nearer

ARMS = ("attention=llama:layers=2", "recurrent=gla:layers=2")
TASK = "multiplication:digits=3,answer="
RACES = {"ordinary": "ordinary", "reversed": "reversed", "mixed": "reversed,easy=0.45"}
TOKEN, UNIT, MIDDLE = "error of a token", "error at place 0", "error at place 3"
CHAINED, FREE = "error at carry chained", "error at carry none"


def study() -> Study:
    options = {"params": "40k", "tokens": "800k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=tuple(Race(name, ARMS, task=TASK + settings, options=options) for name, settings in RACES.items()),
        predictions=(
            lower_in("reversed", "ordinary", "attention", 0.05, TOKEN),
            lower_in("mixed", "reversed", "attention", 0.0, TOKEN),
            nearer("ordinary", "attention", UNIT, MIDDLE),
            nearer("reversed", "attention", UNIT, MIDDLE),
            nearer("reversed", "attention", FREE, CHAINED, 0.5),
            lower_in("reversed", "ordinary", "recurrent", 0.05, TOKEN),
        ),
    )
