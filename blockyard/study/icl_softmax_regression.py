"""Does a layer of attention that learned softmax regression from its context say what steps of gradient descent say?

Source   arXiv 2304.13276    Slug  icl-softmax-regression    Family  in context
Claim    a layer of attention and a step of gradient descent move a softmax regression by at most much the same; so
         models that learned it in context should be like gradient descent
Differs  like bounds are no like rules: models are held to what 0 to 8 steps say, and to what is best said, since who
         says that is nearer to 4 steps than to none, too; 12 rows of 3 numbers, 6 asked
"""

from blockyard.study._base import Race, Study, better, nearer, within

ARMS = ("one=llama:layers=1", "three=llama:layers=3")


def study() -> Study:
    options = {"params": "38k", "tokens": "1.2M", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("scores", ARMS, task="softmax_regression:dim=3,rows=12,asked=6", options=options),),
        predictions=(
            nearer("scores", "one", "from 4 steps", "from 0 steps", 0.7),
            nearer("scores", "one", "from 2 steps", "from 0 steps", 0.7),
            nearer("scores", "one", "from 4 steps", "from the best"),
            nearer("scores", "three", "from 8 steps", "from 1 steps"),
            within("scores", "one", "0 steps", 0.7),
            better("scores", "three", "one"),
        ),
    )
