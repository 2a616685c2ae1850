"""Gates that keep at least a floor, which rises with depth."""

from torch import Tensor
from torch.nn import Parameter

from blockyard.core import Axis, Prod, Site, UsageError, constant, wide


def shared_floors(site: Site, kind: str, on: Axis | Prod) -> Parameter:
    """(layers, on) what all layers of this kind learn together."""
    bounds = site.shared("bounds", kind, lambda: site.param("bounds", (Axis("layers", site.alike), on), constant(0.0)))
    if bounds.shape[1] != on.size:
        raise UsageError(f"{site.path}: all {kind} layers share their bounds, so all need the same widths")
    return bounds


def floor(bounds: Tensor, ordinal: int) -> Tensor:
    """The sum over the layers before this one of bounds' softmax over layers: 0 at the first layer, below 1."""
    return wide(bounds).softmax(0)[:ordinal].sum(0)


def log_keep(low: Tensor, f: Tensor) -> Tensor:
    """log(low + (1 - low) sigmoid(f)), finite also where the gate saturates."""
    return (low + (1 - low) * wide(f).sigmoid()).clamp(min=1e-30).log()
