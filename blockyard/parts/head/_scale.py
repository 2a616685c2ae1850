"""What heads of forecasts share: what the stem's scaling took away is put back; quantiles of several levels."""

from itertools import pairwise

from torch import Tensor

from blockyard.core import Axis, Call, Prod, Site, UsageError
from blockyard.core.axis import Expr


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


def sized(y: Tensor, call: Call) -> Tensor:
    """y (R,N,H) times the scale of each of N variables of a row: what is added to a forecast that was put back."""
    if "scale" not in call.conditions:
        return y
    return y * call.conditions["scale"][:, : y.shape[1], None].to(y.dtype)


def rising(site: Site, levels: tuple[float, ...]) -> tuple[float, ...]:
    """The levels as they were given; refused where they do not rise."""
    if any(a >= b for a, b in pairwise(levels)):
        raise UsageError(f"{site.path}: levels={levels} must rise; give each once, the lowest first")
    return levels


def said(site: Site, horizon: Axis, levels: tuple[float, ...]) -> Expr:
    """What a forecast says of a variable: a number a step, or one for each level and step."""
    if not levels:
        return horizon
    asked = site.axis("levels", len(levels))
    asked.ordered, asked.fixed = True, "each is the quantile of a level that was asked for"
    return Prod(asked, horizon)


def forecast(y: Tensor, levels: tuple[float, ...]) -> dict[str, Tensor]:
    """What is said of y (B,K,H), or of (B,K,QH): all quantiles then, and the one nearest to the median by itself."""
    if not levels:
        return {"forecast": y.transpose(1, 2)}
    quantiles = y.unflatten(-1, (len(levels), -1)).permute(0, 3, 1, 2)
    middle = min(range(len(levels)), key=lambda at: abs(levels[at] - 0.5))
    return {"forecast": quantiles[..., middle], "quantiles": quantiles}
