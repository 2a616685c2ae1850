"""Layers of linear attention and nothing else: no norm, no channels; what the theory of learning in context is about.

Source   arXiv 2405.16845    Slug  mesa-optimization    Family  in context
Claim    one layer that was trained to say the next vector takes a step of gradient descent on the pairs before
Differs  vectors are read in and out by matrices that learn; two heads, which are one of complex numbers
"""

from typing import Annotated

from blockyard.core.settings import Channels, Count, Dim, Heads, Layers, Natural
from blockyard.core.spec import Spec, block, depth, head, mixer, model, norm, objective, phase, residual, stem, system


def recipe(
    dim: Dim = 32, layers: Layers = 1, heads: Heads = 2,
    less: Annotated[Natural, "tokens that are read and not counted in a layer's mean"] = 1,
    channels: Channels = 16, outputs: Annotated[Count, "numbers that are said of a token"] = 8,
) -> Spec:  # fmt: skip
    return system(
        model(
            dim=dim,
            stem=stem("frames", channels=channels),
            blocks=(block("layer", mixer("merged_attention", heads=heads, less=less)),),
            residual=residual("prenorm", norm=norm("none")),
            depth=depth("stack", layers=layers),
            head=head("values", outputs=outputs, norm=None),
        ),
        phase(objective("squared")),
    )  # fmt: skip


sizes = {"tiny": dict(dim=16), "paper": dict(dim=24, channels=8, outputs=8)}
expect = {"paper": dict(params=(2720, 0.0))}
knobs = {}
