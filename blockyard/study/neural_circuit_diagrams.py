"""Do the circuits that are read off eight kinds of parts run and count as the parts do?

Source   arXiv 2402.05424    Slug  neural-circuit-diagrams    Family  tools
Claim    a diagram of axes and boxes says all of an architecture: it can be read back as code
Differs  no figures in the source; eight parts of tiny systems in double precision, each run beside its diagram
"""

from collections.abc import Mapping

from blockyard.diagram.proof import proof
from blockyard.study._base import Given, Study, Trial, figure
from blockyard.systems import build

PARTS = (
    ("gpt2", "steps.0.part", {}),
    ("llama", "steps.0.part", {"mixer.heads": 4, "mixer.kv_heads": 2}),
    ("llama", "steps.0.part", {"mixer": "linear_attention"}),
    ("llama", "steps.1.part", {}),
    ("switch", "steps.1.part", {}),
    ("llama", "steps.0.part", {"mixer": "short_conv"}),
    ("vit", "stem", {}),
    ("itransformer", "", {}),
)


def parts(given: Given) -> Mapping[str, float]:
    """How many of the eight agree in what comes out, and in how many operations that takes."""
    held = [proof(build(name, "tiny", seed=given.seed, **more).double(), path) for name, path, more in PARTS]
    return {
        "parts that run alike": sum(one.difference < 1e-6 for one in held),
        "parts that count alike": sum(one.counted == one.said for one in held),
        "largest difference": max(one.difference for one in held),
    }


def study() -> Study:
    return Study(
        races=(),
        predictions=(
            figure("parts", "parts that run alike", least=len(PARTS)),
            figure("parts", "parts that count alike", least=len(PARTS)),
        ),
        trials=(Trial("parts", parts),),
    )
