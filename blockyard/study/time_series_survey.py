"""Does a Transformer over time points forecast better if the trend is taken out between its layers?

Source   arXiv 2202.07125    Slug  time-series-survey    Family  series
Claim    with a split into season and trend between layers errors fall; a longer past makes the unsplit model worse
Differs  eight made series; an encoder with the steps ahead in its row; 24 to 96 steps back, as many
         training windows for every cell
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, by_seed

LENGTHS, LAYERS, HORIZON = (24, 48, 96), (1, 2, 4), 24
WINDOWS = 3_200  # of training, a cell
MOST = 7  # of nine cells

sorts = "series"
axes = {
    "position": {
        "fixed": "", "learned": "", "none": "",
        "timestamp": "out of scope: columns that say what time it is are variables like others",
    },
    "attention": {
        "full": "", "kernel": "", "none": "",
        "log_sparse": "out of scope: bands and random blocks are the sparse patterns here",
        "low_rank": "planned: faster-lighter-survey",
        "frequency": "out of scope: windows are short here, so that full attention is cheap",
        "top_u": "planned: informer",
    },
    "levels": {"flat": "", "hierarchical": ""},
    "towers": {"none": "", "encoder": "", "decoder": "", "encoder_decoder": "planned: informer"},
    "serves": {
        "forecasting": "", "classification": "", "spatio_temporal": "planned: predformer",
        "events": "out of scope: no task asks when something happens",
        "anomaly": "out of scope: no task asks what is unusual",
    },
}  # fmt: skip


def arms() -> tuple[str, ...]:
    """Each depth with and without the split, and two forecasters that have no time points."""
    found = ["ltsf_linear", "itransformer"]
    for layers in LAYERS:
        for name, rule in (("plain", "prenorm"), ("split", "decompose")):
            found.append(f"{name}_{layers}=series_transformer:layers={layers},model.residual={rule}")
    return tuple(found)


def study() -> Study:
    options = {"data": ["rhythms"], "params": "24k", "batch": 16, "seeds": 2, "tuning": "none"}
    races = tuple(
        Race(f"{length} steps back", arms(), task=f"forecast:horizon={HORIZON},length={length}",
             options=options | {"tokens": str(WINDOWS * length)}, smallest="24k")
        for length in LENGTHS
    )  # fmt: skip
    names = tuple(race.name for race in races)
    return Study(
        races=races,
        predictions=(_split_wins(names), *(_no_gain(names[1], names[2], f"plain_{layers}") for layers in LAYERS)),
    )


def _split_wins(races: tuple[str, ...]) -> Prediction:
    def judge(*results: Report) -> Finding:
        won = lost = 0
        for result in results:
            for layers in LAYERS:
                split, plain = (result.arm(f"{name}_{layers}").score.mean for name in ("split", "plain"))
                if split is not None and plain is not None:
                    won, lost = won + (split < plain), lost + (split >= plain)
        cells = len(results) * len(LAYERS)
        said = HOLDS if won >= MOST else FAILS if cells - lost < MOST else OPEN
        return Finding(said, float(won), float(MOST))

    cells = len(races) * len(LAYERS)
    text = f"{', '.join(races)}: split_1 and its like have the lower mean error in {MOST} of {cells} cells"
    return Prediction(text, races, judge)


def _no_gain(shorter: str, longer: str, arm: str) -> Prediction:
    """The longer past does not help; the value is the mean ratio of the errors."""

    def judge(short: Report, long: Report) -> Finding:
        pairs = zip(long.arm(arm).score.per_seed, short.arm(arm).score.per_seed)
        return by_seed([a / b for a, b in pairs if a is not None and b is not None], lambda ratio: ratio >= 1, 1.0)

    return Prediction(f"{longer}, {shorter}: {arm} is no better on the longer past", (shorter, longer), judge)
