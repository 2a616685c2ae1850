"""Does a model lose anything where sublayers do not wait for one another, from the start or late in its training?

Source   arXiv 2501.06589    Slug  ladder-residual    Family  foundations
Claim    trained so from the start it is level with the standard one; a trained one whose last half becomes so loses at
         first, and little more training mends it
Differs  8 layers of 100k parameters on the texts of CPython; a retrofit goes on at the rate that the run has fallen to,
         and the loss at first is that at the end of a run. No time is measured: residual:ladder has a clock of events
"""

from blockyard.study._base import Race, Study, better, level

LATE = ",".join(map(str, range(7, 16)))  # the last four of eight layers, and the channel in front of them

SCRATCH = ("standard=llama:layers=8", "ladder=ladder_residual:layers=8")
RETROFIT = (
    "standard=llama:layers=8",
    f"converted=llama:layers=8|swap_residual:rule=ladder,steps=({LATE})",
    "retrained=ladder_residual:layers=8,last=4,after=0.8",
)


def study() -> Study:
    scratch = {"params": "100k", "tokens": "400k", "seeds": 3, "margin": 0.02, "tuning": "none"}
    retrofit = {"params": "100k", "tokens": "500k", "batch": 8, "seeds": 3, "margin": 0.01, "tuning": "none"}
    return Study(
        races=(Race("scratch", SCRATCH, options=scratch), Race("retrofit", RETROFIT, options=retrofit)),
        predictions=(
            level("scratch", "ladder", "standard"),
            better("retrofit", "standard", "converted"),
            level("retrofit", "retrained", "standard"),
        ),
    )
