"""Sigma-reparametrisation: an image encoder whose projections have a learned size and no other.

Source   arXiv 2303.06296    Slug  sigma-reparam    Family  foundations
Claim    trains without warm-up, weight decay and norms, and attention does not collapse onto single tokens
Differs  norms stay unless they are set to none; the mean of the tokens in place of a class token
"""

from blockyard.core.settings import Channels, Classes, Dim, Heads, Height, Inner, Layers, NormSpec, Patch, Width
from blockyard.core.spec import Spec, linear, residual
from blockyard.recipe.vit import recipe as vit


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None,
    height: Height = 32, width: Width = 32, channels: Channels = 3, patch: Patch = 4, classes: Classes = 10,
    norm: NormSpec = Spec("norm", "layer"),
) -> Spec:  # fmt: skip
    whole = vit(dim, layers, heads, ffn, height, width, channels, patch, classes)
    body = whole["model"]
    rule, head = residual("prenorm", norm=norm), body["head"].but(norm=norm)
    return whole.but(model=body.but(residual=rule, head=head, linear=linear("sigma", bias=True)))


sizes = {
    "tiny": dict(dim=32, layers=2, height=8, width=8, channels=1, patch=2),
    "b": dict(dim=768, layers=12, heads=12, height=224, width=224, patch=16, classes=1000),
}
expect = {"b": dict(params=(86_567_656, 1e-4))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
