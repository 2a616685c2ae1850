"""Which channel mixer earns its parameters, its operations and its time?

Source   none    Family  pages
Claim    gated channels beat plain ones at equal parameters, learned polynomials beat both, products of small matrices
         beat dense ones only where they are wide, and units that are not kept cost little
Differs  the body of llama on the texts of CPython at three sizes, equal tokens; time is that of this machine
"""

import math
from collections.abc import Mapping

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.report.figures import Axis, against, indices
from blockyard.compare.report.format import brief
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.study._base import Prediction, Race, Study, better, level
from blockyard.study._pictures import Axes, Curve, frame

SIZES = ("60k", "120k", "240k")
PLAIN = ("relu", "gelu", "gelu_exact", "silu", "squared_relu", "poly_relu", "poly_norm")
PRODUCTS = ("low_rank", "block_dense", "block_shuffle")
ARMS = (
    *(f"mlp_{name}=polycom:activation={name}" for name in PLAIN),
    "mlp_top_k=polycom:activation=top_k,activation.k=64",
    "swiglu=llama",
    "geglu=llama:channel.activation=gelu",
    "gated_poly_norm=llama:channel.activation=poly_norm",
    *(f"{name}=structured_ffn:guided=no,structure={name}" for name in PRODUCTS),
)
MIDDLE = f"at_{SIZES[1]}"


def page(reports: Mapping[str, Report]) -> Sheet:
    """Quality over sizes, and at the middle size against operations and measured time."""
    middle = reports[MIDDLE]
    look = indices(middle)
    sizes = {name: [report.arm(name) for report in reports.values()] for name in look}
    curves = [Curve(name, look[name], [(float(a.params), a.score.mean) for a in of]) for name, of in sizes.items()]
    size = frame("size", "Quality against parameters", Axes("parameters", middle.metric.unit), curves)
    about = f"At {SIZES[1]} parameters; filled marks are beaten by none on both."
    axes = {
        "operations": Axis("Work", "operations a token", lambda arm: arm.flops_per_token),
        "time": Axis("Time", "seconds of training a run", lambda arm: arm.time),
    }
    return Sheet(
        "Channels", "Which channel mixer earns its parameters, its operations and its time?",
        [
            Picture("parameters", "Quality against parameters", "The mean over seeds, equal tokens.", size),
            *(Picture(name, f"Quality against {axis.title}", about, against(middle, axis, i))
              for i, (name, axis) in enumerate(axes.items())),
        ],
        _table(reports),
    )  # fmt: skip


def _table(reports: Mapping[str, Report]) -> Table:
    """Of every mixer the scores at all sizes, and at the middle one what they cost."""
    middle = reports[MIDDLE]
    head = ["channel", *(f"loss, {size}" for size in SIZES), "operations a token", "training tokens/s", "firing"]
    order = sorted(middle.arms, key=lambda arm: math.inf if arm.score.mean is None else arm.score.mean)
    rows = []
    for arm in order:
        scores = [report.arm(arm.name).score.mean for report in reports.values()]
        losses = ["failed" if score is None else f"{score:.3f}" for score in scores]
        rows.append([arm.name, *losses, brief(arm.flops_per_token), f"{arm.speed:,.0f}", _firing(arm)])
    return Table(head, rows)


def _firing(arm: ArmReport) -> str:
    """The share of units that are not zero, the mean over channels and seeds, where there are zeros."""
    shares = [share for probes in arm.probes if probes for share in probes.firing if share is not None]
    return f"{sum(shares) / len(shares):.0%}" if shares else "all"


def study() -> Study:
    options = {"tokens": "200k", "length": 128, "seeds": 2, "margin": 0.01, "tuning": "none"}
    predictions: tuple[Prediction, ...] = (
        better(MIDDLE, "swiglu", "mlp_relu"),
        better(MIDDLE, "mlp_poly_norm", "mlp_gelu"),
        level(MIDDLE, "mlp_top_k", "mlp_relu"),
        level(MIDDLE, "swiglu", "geglu"),
    )
    return Study(
        races=tuple(Race(f"at_{size}", ARMS, options=options | {"params": size}) for size in SIZES),
        predictions=predictions,
        page=page,
    )
