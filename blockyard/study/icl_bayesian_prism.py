"""Does a model trained on functions of two families weigh them as Bayes does, and is it simple where training was?

Source   arXiv 2306.04891    Slug  icl-bayesian-prism    Family  in context
Claim    in-context learners follow the posterior over their families; they favour simple functions only where training
         does
Differs  four numbers; waves up to the fifth half turn; what is favoured is read off errors on slow waves, not off the
         sizes of all waves in what a model says
"""

from blockyard.study._base import Race, Study, nearer, ratio, within

ARMS = ("attention=llama:layers=3", "recurrent=gla:layers=3")
LINEAR = "in_context:dim=4,points=8,noise=0.2,family="
WAVES = "in_context:dim=1,points=10,noise=0.2,scored=fourier(most=1),family="


def study() -> Study:
    options = {"params": "38k", "tokens": "1.2M", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race("mixture", ARMS, task=f"{LINEAR}dense+centres", options=options),
            Race("always", ARMS, task=f"{WAVES}fourier(most=5)", options=options),
            Race("up_to", ARMS, task=f"{WAVES}fourier_up_to(most=5)", options=options),
        ),
        predictions=(
            within("mixture", "attention", "oracle", 1.15),
            nearer("mixture", "attention", "from posterior", "from ridge"),
            ratio("up_to", "always", "attention", 0.9),
            ratio("up_to", "always", "recurrent", 0.9),
        ),
    )
