"""What heads of forecasts share: what the stem's scaling took away is put back."""

from torch import Tensor

from blockyard.core import Axis, Call, Site, UsageError


def of_stem(site: Site, name: str) -> Axis:
    """An axis of the stem that a forecast has to know: `outputs`, the variables asked for, or `tokens` of each."""
    found = site.axis_of(f"stem.{name}")
    if found is None:
        raise UsageError(f"{site.path}: a forecast asks for the {name} of the stem's windows, and this stem has none")
    return found


def back(y: Tensor, call: Call) -> Tensor:
    """y (R,N,H) times the scale, plus the offset, of each of N variables of a row."""
    if "offset" not in call.conditions:
        return y
    offset, scale = (call.conditions[name][:, : y.shape[1], None].to(y.dtype) for name in ("offset", "scale"))
    return y * scale + offset
