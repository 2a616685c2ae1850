"""Does one layer of linear attention that says the next vector become a step of gradient descent, and when is that all?

Source   arXiv 2405.16845    Slug  mesa-optimization    Family  in context
Claim    trained to say the next vector it takes a step of one known size; this recovers the turning exactly where the
         first vector has one number, and does not where its numbers are normal
Differs  from a random start, by AdamW, with matrices that read in and out: the proof is of gradient flow from a
         diagonal start, to which the tests of the layer hold; two layers should err less where one step is not all;
         softmax attention, with channels behind it, is there to look at, and nothing is claimed of it
"""

from blockyard.study._base import Race, Study, above, better, nearer, within

ARMS = ("one=mesa_optimization:layers=1", "two=mesa_optimization:layers=2", "softmax=llama:layers=1")
TASK = "unitary_dynamics:dim=3,length=9,start="


def study() -> Study:
    options = {"params": "10k", "tokens": "600k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race("one number", ARMS, task=f"{TASK}one", options=options, smallest="10k"),
            Race("normal", ARMS, task=f"{TASK}normal", options=options, smallest="10k"),
        ),
        predictions=(
            within("one number", "one", "zero", 0.05),
            above("normal", "one", 0.3),
            nearer("normal", "one", "from one step", "error at the end", 0.5),
            better("normal", "two", "one"),
        ),
    )
