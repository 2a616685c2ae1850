"""What a probe promises, on small models of both kinds of memory; it is shown ids, or what its file says it `reads`.

What looks at one kind of memory, or of channel, names its `systems`, and the `channel` of all their blocks.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from blockyard.core.registry import Entry
from blockyard.core.spec import Spec, head, stem
from blockyard.model.claims import Verdict
from blockyard.systems import build, spec


def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it."""
    probe = entry.load_named()
    for name in entry.constant("systems", ("llama", "gla")):
        model, data = _shown(name, entry.constant("reads", "ids"), entry.constant("channel"))
        before = {key: value.clone() for key, value in model.state_dict().items()}
        drawn = torch.random.get_rng_state()
        found, again = (probe(model, data, **settings) for _ in range(2))
        arrays = all(isinstance(key, str) and isinstance(value, np.ndarray) for key, value in found.items())
        yield Verdict(f"{name}: names to arrays", arrays)
        same = found.keys() == again.keys() and all(np.array_equal(found[k], again[k], equal_nan=True) for k in found)
        yield Verdict(f"{name}: the same twice", same)
        kept = all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        kept = kept and torch.equal(drawn, torch.random.get_rng_state())
        yield Verdict(f"{name}: leaves the model and the dice", kept)


def _shown(name: str, reads: str, channel: str | None = None) -> tuple[Any, torch.Tensor]:
    """A small model, and data of what a probe reads."""
    draw, system = torch.Generator().manual_seed(0), spec(name, "tiny")
    if channel:
        parts: list[Any] = [step.part for step in build(system).steps]
        paths = [part.path for part in parts if part.spec.kind == "channel"]
        for path in paths:
            system = system.at(path, spec=Spec("channel", channel))
    if reads == "ids":
        model = build(system).eval()
        return model, torch.randint(0, model.axes["stem.vocab"].size, (4, 24), generator=draw)
    system = system.but(model=system["model"].but(stem=stem("frames", channels=4), head=head("values")))
    return build(system).eval(), torch.randn(24, 12, 4, generator=draw)
