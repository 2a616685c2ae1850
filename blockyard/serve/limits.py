"""What one server takes on."""

from dataclasses import dataclass, fields

from blockyard.core.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Whoever asks for more is refused with the number.

    rows      requests that run at once, of each model      waiting   requests that may wait beside them
    tokens    of a prompt and its answer together           body      bytes of a request
    seconds   until an answer must have ended               store     bytes of prefixes that are kept, of each model
    """

    rows: int = 8
    waiting: int = 64
    tokens: int = 4096
    body: int = 1 << 20
    seconds: int = 600
    store: int = 1 << 28

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) < (0 if each.name in ("waiting", "store") else 1):
                raise UsageError(f"{each.name} {getattr(self, each.name)} is too small")
