"""Budgets: what a user asks for, and the widths at which every arm meets it.

A recipe names its scaling knobs in order (layers, a width, a fine one) with the granule of each. Layers follow from
the budget alone, so that all arms are equally deep; the width is the one whose default model lies nearest; the fine
knob, in which every count is affine, is then solved for.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.systems import spec as system_of

LAYERS = ((3_000_000, 4), (30_000_000, 6), (300_000_000, 12), (3_000_000_000, 24), (math.inf, 32))
TOLERANCE = 0.01
FEWEST = 2000  # parameters
FIRST = 4  # granules of width that are counted first
Fit = Callable[[Spec], Spec]


def layers_for(params: float) -> int:
    """How deep a model of that many parameters is, for every recipe alike."""
    return next(layers for limit, layers in LAYERS if params < limit)


def _as_it_is(system: Spec) -> Spec:
    return system


def solve(name: str, params: float, overrides: dict[str, Any], fit: Fit = _as_it_is) -> Spec:
    """The system of a recipe at a parameter count; what the user has fixed stays as it is.

    fit   what the data make of a system, before it is counted
    """
    from blockyard.model.count import count_params

    entry = registry.find("recipe", name)
    granules = entry.constant("knobs")
    if not granules:  # what the data ask for decides its size
        return fit(system_of(name, None, **overrides))
    layers, width, fine = granules
    fixed = dict(overrides)
    if layers not in fixed:
        fixed[layers] = -(-layers_for(params) // granules[layers]) * granules[layers]
    if fine in fixed:
        system = fit(system_of(name, None, **_nearest(entry, params, fixed, fit)))
        return _checked(entry.name, system, params, count_params(system))

    def exact(**knobs: Any) -> int:
        return count_params(fit(system_of(name, None, **fixed | knobs)))

    knobs: dict[str, int] = {}
    got = 0
    for params_at in (_affine(fixed, layers, granules[layers], exact), exact):
        knobs = _solved(params_at, params, granules, None if width in fixed else width)
        if (got := exact(**knobs)) == params_at(**knobs):  # so what was counted on the way is right
            break
    return _checked(entry.name, fit(system_of(name, None, **fixed | knobs)), params, got)


def _solved(params_at: Callable[..., int], params: float, granules: dict[str, int], free: str | None) -> dict[str, int]:
    """The width, where that is free, and the fine knob."""
    fine = [*granules][-1]
    chosen = {free: _width(lambda w: params_at(**{free: w}), granules[free], params)} if free else {}
    low, high = granules[fine] * 8, granules[fine] * 16
    at_low, at_high = params_at(**chosen, **{fine: low}), params_at(**chosen, **{fine: high})
    slope = (at_high - at_low) / (high - low)
    return chosen | {fine: max(1, round((low + (params - at_low) / slope) / granules[fine])) * granules[fine]}


def _affine(fixed: dict[str, Any], layers: str, granule: int, exact: Callable[..., int]) -> Callable[..., int]:
    """The count as it should be by those of two shallow models: every further granule of layers holds as much."""
    beyond = fixed[layers] // granule - 2 if isinstance(fixed[layers], int) else 0
    if beyond < 1 or fixed[layers] % granule:
        return exact

    def params_at(**knobs: Any) -> int:
        try:
            one, two = (exact(**{layers: times * granule}, **knobs) for times in (1, 2))
        except UsageError:  # something that is fixed asks for all of them
            return exact(**knobs)
        return two + beyond * (two - one)

    return cache(params_at)


def at_memory(
    name: str, memory: float, length: int, batch: int, overrides: dict[str, Any], fit: Fit = _as_it_is
) -> Spec:
    """The system of a recipe whose training step needs that many bytes: bisection over its parameters."""
    from blockyard.model.count import count

    best, low, high = None, math.log(FEWEST), math.log(max(FEWEST, memory / 16))
    for _ in range(24):
        middle = (low + high) / 2
        try:
            system = solve(name, math.exp(middle), overrides, fit)
        except UsageError:  # too few parameters for this recipe's granules
            low = middle
            continue
        needed = count(system, length, batch).training_bytes / memory
        if best is None or abs(math.log(needed)) < abs(math.log(best[0])):
            best = needed, system
        if abs(needed - 1) < TOLERANCE / 2:
            break
        low, high = (middle, high) if needed < 1 else (low, middle)
    if best is None or abs(best[0] - 1) > 2 * TOLERANCE:
        nearest = f"; the nearest needs {best[0] * memory / 1e6:,.1f} MB" if best else ""
        raise UsageError(f"{name} cannot train in {memory / 1e6:,.1f} MB with these settings{nearest}; change --memory")
    return best[1]


def _width(params_at: Any, granule: int, params: float) -> int:
    """The multiple of the granule at which the default model is nearest to the budget, in ratio.

    Counts rise with the width about as its square, so each guess is where the line of their logarithms meets the
    budget; the two multiples around it are counted themselves. Every fourth halves what is left.
    """
    counted: dict[int, int] = {}

    def at(times: int) -> int:
        if times not in counted:
            counted[times] = params_at(times * granule)
        return counted[times]

    low, high, guess = 0, 0, FIRST
    while high - low != 1:  # low: too few, or no model at all; high: enough, 0 while none is known
        low, high = (guess, high) if at(guess) < params else (low, guess)
        guess = (low + high) // 2 if len(counted) % 4 == 0 and high - low > 1 else _guess(low, high, at, params)
    return granule * min((max(low, 1), high), key=lambda times: abs(math.log(at(times) / params)))


def _guess(low: int, high: int, at: Callable[[int], int], params: float) -> int:
    """The multiple to count next, strictly between those that are known to be too few and enough."""
    known = low or high
    power = math.log(at(high) / at(low)) / math.log(high / low) if low and 0 < high != low else 2.0
    guess = known * (params / at(known)) ** (1 / max(power, 0.5))
    if not high:
        return max(low + 1 + low // 4, min(math.ceil(guess), 4 * low))
    return max(low + 1, min(round(guess), high - 1))


def _nearest(entry: registry.Entry, params: float, fixed: dict[str, Any], fit: Fit) -> dict[str, Any]:
    """With the fine knob fixed only the width is left to move."""
    from blockyard.model.count import count_params

    _, width, _ = entry.constant("knobs")
    if width in fixed:
        return fixed
    granule = entry.constant("knobs")[width]
    return fixed | {
        width: _width(lambda w: count_params(fit(system_of(entry.name, None, **fixed, **{width: w}))), granule, params)
    }


def _checked(name: str, system: Spec, params: float, got: int) -> Spec:
    """The system, if its parameters are as many as were asked for."""
    if abs(got / params - 1) > TOLERANCE:
        raise UsageError(
            f"{name} cannot have {params:,.0f} parameters with these settings: the nearest has {got:,}; "
            "change --params or leave its width free"
        )
    return system
