"""A run on several processes at once: each trains on its rows of every batch, and the gradients are added up.

    rank r of n     rows [r B/n, (r+1) B/n) of the batch that one process would train on, in the same order
    gradient        sum over ranks of d(sum of its rows' loss / count of the whole batch)

So n processes do what one does that takes its batches in n pieces, up to the order of a sum; what parts draw while they
train is drawn for a piece, and what they observe is added up. What couples the rows of a batch cannot be spread.

Alone      one process, and no library of processes is loaded              Together   those that torchrun started
copies     every process holds the whole model (DistributedDataParallel)
shards     every process holds a part of each tensor, moments too (fully_shard); whole tensors are gathered to be used
           and to be written, so that a checkpoint is the same and goes on with any number of processes
"""

import gc
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from blockyard.core import registry
from blockyard.core.call import Seen
from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.kernels.toolkit.arrays import lend
from blockyard.model.model import Model, build

PATIENCE = timedelta(days=7)  # others wait while the first scores; who dies is told of by torchrun


class Alone:
    """A run that one process does."""

    rank, world, sharded = 0, 1, False

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """The rows of a batch that this process trains on."""
        return slice(0, rows)

    def begin(self, model: Model, minimised: Sequence[Any], optimiser: str) -> None:
        """A phase begins: the parts of what trains are made ready; UsageError where it cannot be spread."""

    @contextmanager
    def piece(self, last: bool) -> Iterator[None]:
        """A forward and a backward; `last` of this step: the gradients are added up."""
        yield

    def forward(self, loss: Callable[[], Tensor]) -> Tensor:
        """What this gives, which runs the model."""
        return loss()

    def total(self, amount: float) -> float:
        """The sum over all processes."""
        return amount

    def observed(self, seen: dict[str, dict[str, Seen]]) -> dict[str, dict[str, Seen]]:
        """What parts of all processes have observed, added up."""
        return seen

    def agreed(self, choice: bool) -> bool:
        """What the first process chose."""
        return choice

    def same(self, step: int) -> None:
        """Refuse to go on from different steps."""

    def whole(self, value: Tensor) -> Tensor:
        """A tensor with all its parts."""
        return value

    def like(self, value: Tensor, held: Tensor) -> Tensor:
        """A whole tensor as this process keeps it beside another one of its shape."""
        return value.to(held.device)

    def gathered(self, model: Model) -> Model:
        """The model with whole tensors."""
        return model


class Together(Alone):
    """A run of all processes that torchrun started."""

    def __init__(self, sharded: bool = False) -> None:
        import torch.distributed as dist

        self.sharded, self.dist = sharded, dist
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        both = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        self.begun = not dist.is_initialized()
        if self.begun:
            dist.init_process_group(both, timeout=PATIENCE)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.talk = dist.new_group(backend="gloo", timeout=PATIENCE)  # of what is no tensor of the model
        self.root: Any = None
        self.observes = False

    def share(self, rows: int) -> slice:
        if rows % self.world:
            raise UsageError(
                f"a batch of {rows} rows cannot be split evenly over {self.world} processes; change --batch or "
                "--nproc-per-node"
            )
        each = rows // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def begin(self, model: Model, minimised: Sequence[Any], optimiser: str) -> None:
        for part in (*minimised, *model.parts()):
            if part.couples:
                raise UsageError(
                    f"{part.spec.kind}:{part.spec.name} makes the rows of a batch depend on one another; it trains in "
                    "one process, without torchrun"
                )
        self.observes = any(type(part).update is not Part.update for part in model.parts())
        self.root = None
        gc.collect()  # what the phase before had hung on the same parameters
        root = _Whole(model, minimised)
        self.root = self._shards(root, model, minimised, optimiser) if self.sharded else self._copies(root)

    def _copies(self, root: nn.Module) -> nn.Module:
        def added(_, bucket):  # no types: the library compares them with its own
            """The sum of a bucket over all processes; by itself the library would give the mean."""
            return self.dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda done: done.value()[0])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # newer versions have another name for the last setting
            made = nn.parallel.DistributedDataParallel(root, find_unused_parameters=True, broadcast_buffers=False)
        made.register_comm_hook(None, added)
        return made

    def _shards(self, root: nn.Module, model: Model, minimised: Sequence[Any], optimiser: str) -> nn.Module:
        from torch.distributed.fsdp import FSDPModule, fully_shard

        if not registry.find("optimiser", optimiser).constant("shards", False):
            can = [entry.name for entry in registry.entries("optimiser").values() if entry.constant("shards", False)]
            raise UsageError(f"optimiser:{optimiser} needs whole tensors; with --shard take {' or '.join(can)}")
        if any(True for each in minimised for _ in each.parameters()) or self.observes:
            raise UsageError("what has parameters or statistics beside the model's weights needs a copy of them; leave "
                             "--shard out")  # fmt: skip
        owners: dict[Tensor, int] = {}
        if any(part.spec.kind == "router" for part in model.parts()):
            raise UsageError("weights that tokens are routed to are not used by every process; leave --shard out")
        if any(p.dim() == 0 for p in model.parameters()):
            raise UsageError("a weight that is one number cannot be split; leave --shard out")
        for place, step in enumerate(model.steps):
            for p in step.parameters():
                if owners.setdefault(p, place) != place:
                    raise UsageError("steps that share weights cannot be split apart; leave --shard out")
        lend()
        for step in model.steps:
            if any(True for _ in step.parameters()):
                fully_shard(step)
        fully_shard(root)
        for module in root.modules():
            if isinstance(module, FSDPModule):  # a sum, as above
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        return root

    @contextmanager
    def piece(self, last: bool) -> Iterator[None]:
        if last or self.sharded:
            yield
        else:
            with self.root.no_sync():
                yield

    def forward(self, loss: Callable[[], Tensor]) -> Tensor:
        return self.root(loss)

    def total(self, amount: float) -> float:
        held = torch.tensor([amount], dtype=torch.float64)
        self.dist.all_reduce(held, group=self.talk)
        return held.item()

    def observed(self, seen: dict[str, dict[str, Seen]]) -> dict[str, dict[str, Seen]]:
        if not self.observes:
            return seen
        device = next((each.total.device for names in seen.values() for each in names.values()), torch.device("cpu"))
        mine = {path: {name: _moved(each, "cpu") for name, each in names.items()} for path, names in seen.items()}
        all_of: list[Any] = [None] * self.world
        self.dist.all_gather_object(all_of, mine, group=self.talk)
        found: dict[str, dict[str, Seen]] = {}
        for theirs in all_of:
            for path, names in theirs.items():
                held = found.setdefault(path, {})
                for name, each in names.items():
                    each = _moved(Seen(*each), device)
                    held[name] = held[name] + each if name in held else each
        return found

    def told(self, word: Any) -> Any:
        """What the first process says, to all."""
        words = [word]
        self.dist.broadcast_object_list(words, src=0, group=self.talk)
        return words[0]

    def agreed(self, choice: bool) -> bool:
        return self.told(choice)

    def same(self, step: int) -> None:
        steps: list[Any] = [None] * self.world
        self.dist.all_gather_object(steps, step, group=self.talk)
        if len(set(steps)) > 1:
            raise UsageError(f"processes begin at steps {sorted(set(steps))}; the folder of a run must be seen by all")

    def whole(self, value: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return value.full_tensor() if isinstance(value, DTensor) else value

    def like(self, value: Tensor, held: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(held, DTensor) or value.shape != held.shape:
            return value.to(held.device)
        mesh = held.device_mesh
        return distribute_tensor(value.to(mesh.device_type), mesh, held.placements, src_data_rank=None)

    def gathered(self, model: Model) -> Model:
        if not self.sharded or self.root is None:
            return model
        held = {name: self.whole(value.detach()) for name, value in sorted(model.state_dict().items())}
        made = build(model.spec).to(next(iter(held.values())).device)
        made.load_state_dict(held)
        return made


class _Whole(nn.Module):
    """A model and its objectives as one module, whose forward is whatever is done with them."""

    def __init__(self, model: Model, minimised: Sequence[nn.Module]) -> None:
        super().__init__()
        self.model, self.minimised = model, nn.ModuleList(minimised)

    def forward(self, work: Callable[[], Tensor]) -> Tensor:
        return work()


def _moved(seen: Seen, device: Any) -> Seen:
    count = seen.count.to(device) if isinstance(seen.count, Tensor) else seen.count
    return Seen(seen.total.to(device), count)


_HERE: Alone = Alone()


def here() -> Alone:
    """Who does the runs of this process."""
    return _HERE


@contextmanager
def together(sharded: bool = False) -> Iterator[Together]:
    """While this lasts, the runs of this process are done with all that torchrun started."""
    global _HERE
    made = _HERE = Together(sharded)
    try:
        yield made
    finally:
        _HERE, made.root = Alone(), None
        if made.begun:
            made.dist.destroy_process_group()
