"""What a part promises, as built; what a model may promise, since all of its parts do; and what asks for a promise.

A class says what its parts can promise; how one is built decides. With `causal=False` nothing but what works on each
token alone stays causal or streams, and only parts that claim `bidirectional` can be built so. A model promises what
every part in it does: mixers and channels, and the norms, positions, rules and programs around them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from blockyard.core.errors import UsageError

_OF_A_TOKEN = ("causal", "streams", "packs", "bidirectional", "any_order")  # kept by what reads one token at a time
SHARED = (*_OF_A_TOKEN, "row_independent", "per_token")
MEANINGS = {
    "causal": "lets no token see what comes after it",
    "streams": "goes on from a state",
    "packs": "keeps packed documents apart",
    "bidirectional": "lets a token see what comes after it",
    "any_order": "sees by the order that a batch gives",
    "row_independent": "keeps rows apart",
    "per_token": "reads each token alone",
}


class Verdict(NamedTuple):
    """The outcome of one check: `ok`, or why not; a known failure carries the part's reason."""

    claim: str
    ok: bool
    reason: str = ""


def keeps(claims: Mapping[str, Any], known: Mapping[str, str], name: str) -> bool:
    """Whether these claims promise `name`, outright or because what reads one token at a time does."""
    if name in known:
        return False
    return bool(claims.get(name)) or (
        name in _OF_A_TOKEN and bool(claims.get("per_token")) and "per_token" not in known
    )


def as_built(claims: Mapping[str, Any], *, causal: bool) -> dict[str, Any]:
    """What a part that can promise `claims` promises when built to read from left to right, or both ways."""
    lost = ("bidirectional",) if causal else ("causal", "streams")
    return {name: value for name, value in claims.items() if claims.get("per_token") or name not in lost}


def together(parts: Iterable[Any]) -> dict[str, Any]:
    """What all of these parts promise; of figures (exponents) the largest."""
    parts = list(parts)
    shared = {name: True for name in SHARED if all(keeps(part.claims, part.known, name) for part in parts)}
    exponents = [part.claims["time_exponent"] for part in parts if "time_exponent" in part.claims]
    return {**shared, "time_exponent": max(exponents, default=1.0)}


def unmet(name: str, asker: str, parts: Iterable[Any]) -> UsageError:
    """The error for a model that does not promise what `asker` needs, with the parts that do not."""
    guilty = sorted({f"{p.spec.kind}:{p.spec.name}" for p in parts if not keeps(p.claims, p.known, name)})
    return UsageError(
        f"{asker} needs a model that {MEANINGS[name]}; as built here, {', '.join(guilty)} "
        f"{'do' if len(guilty) > 1 else 'does'} not claim {name}"
    )
