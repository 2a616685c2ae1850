"""What becomes of an arm after training, as far as it can be said before: transforms, planned on the meta device.

A transform that does not know its settings, or needs what the model lacks, is refused here, before anything is spent.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from blockyard.compare.documents import Arm, Then
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.model.count import count, numbers, stages, state_bytes, stored_bytes
from blockyard.model.model import Model
from blockyard.transform._base import Transform, chain

SHOWN = 8192  # training tokens, at least, that a transform which is shown data gets: whole batches of them
STATE_LENGTHS = (1024, 8192, 65536)


def transformed(arm: Arm, then: Sequence[Spec], length: int, batch: int) -> Arm:
    """The arm as what its trained model becomes, with what that costs and a hash of its own; its system is trained."""
    model, after = stages(Spec.from_json(arm.system))[-1], []
    for spec, transform in zip(then, chain(then)):
        covers = transform.plan(model)
        after.append(
            Then(spec.to_json(), batches_for(transform, batch * length) * batch * length, covers, transform.trained > 0)
        )
        with torch.device("meta"):
            example = model.example(2, length)
        model = transform.apply(model, [example, example]).model
    named = json.dumps([arm.system, *(each.transform for each in after)], sort_keys=True)
    params, body_params = numbers(model), numbers(model, tables=False)
    return replace(
        arm, then=after, hash=hashlib.sha256(named.encode()).hexdigest()[:12], params=params, body_params=body_params,
        flops_per_token=count(model.spec, length).flops_per_token, state_bytes=states(model.spec),
        model_bytes=stored_bytes(model),
    )  # fmt: skip


def batches_for(transform: Transform, step: int) -> int:
    """How many batches of `step` tokens a transform is shown, or trains for."""
    return math.ceil((transform.trained or (SHOWN if transform.shown else 0)) / step)


def states(what: Spec | Model) -> dict[str, int | None]:
    """Bytes of state by length, of a model or of one on the meta device; None where the model cannot read so far."""
    return {str(length): _state(what, length) for length in STATE_LENGTHS}


def _state(what: Spec | Model, length: int) -> int | None:
    try:
        return state_bytes(what, length)
    except UsageError:
        return None
