"""Do frozen features tell more of a sound after an encoder restored frames altered in time, and in frequency too?

Source   arXiv 2007.06028    Slug  tera    Family  audio
Claim    altering time, frequency and magnitude each adds something to what frozen features tell
Differs  made chirps of 8 kinds and 10 voices; linear readouts; 40k parameters; exams are without noise, under which
         that of training is said to help most
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    options = {
        "data": ["chirps"], "params": "40k", "tokens": "700k", "batch": 16, "seeds": 2, "tuning": "none",
    }  # fmt: skip
    arms = (
        "scratch=tera:mels=32,pretraining=0,layers=2", "time=tera:mels=32,frequency=0,magnitude=0,layers=2",
        "frequency=tera:mels=32,magnitude=0,layers=2", "all=tera:mels=32,layers=2",
    )  # fmt: skip
    races = tuple(Race(label, arms, task=f"classify:label={label},length=32", options=options, smallest="40k")
                  for label in ("event", "voice"))  # fmt: skip
    predictions = (
        better("event", "time", "scratch"),
        better("voice", "frequency", "time"),
        better("voice", "all", "frequency"),
    )
    return Study(races=races, predictions=predictions)
