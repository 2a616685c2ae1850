"""A trained model is adapted to other data: what is attached to it learns, and is saved alone; all else stays.

    adapt("my-model", ["lora:rank=8"], data="my.txt", out="my-adapter")

`blockyard.load("my-adapter")` is both together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockyard.compare.compare import train_one
from blockyard.compare.documents import Plan
from blockyard.compare.plan.onward import Begun, begun, outlined
from blockyard.core.document import Document
from blockyard.core.errors import UsageError, WorkFailed
from blockyard.interop import load, save_peft
from blockyard.interop.folder import names_of
from blockyard.interop.peft import check_kept
from blockyard.interop.tokenizer import usable_files
from blockyard.model.attach import attachments
from blockyard.systems import parse_transform
from blockyard.transform._base import make_transform


@dataclass(frozen=True)
class Cover(Document):
    """How much of a model an adapter stands at: so many of so many such parts, and numbers that it brings."""

    name: str
    on: list[str]
    of: int
    what: str
    numbers: int

    def __str__(self) -> str:
        return f"{self.name} on {len(self.on)} of {self.of} {self.what}, {self.numbers:,} numbers"


@dataclass(frozen=True)
class Adapted(Document):
    """What came of it: the folder of the adapter, and where asked those of the whole model and of the adapter as peft
    keeps it; its score on the test."""

    model: str
    base: str
    score: float
    unit: str
    covered: list[Cover]
    merged: str | None = None
    peft: str | None = None

    def __str__(self) -> str:
        whole = f"; merged into one model: {self.merged}" if self.merged else ""
        whole += f"; for peft: {self.peft}" if self.peft else ""
        return f"{self.score:.4f} {self.unit} on the test; the adapter is in {self.model}{whole}"


def adapt(
    model: str | Path, adapters: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None,
    merge: bool = False, peft: bool = False, dry_run: bool = False, quiet: bool = False, **asked: Any,
) -> "Adapted | Plan":  # fmt: skip
    """Train what these transforms attach to a model, and nothing else, on other data; save it alone.

    model      a folder that `load` takes, or OUT:ARM           adapters   `lora:rank=8` and others, one on the other
    data       files or folders, as `compare` takes them         out        the folder of the run
    merge      make the two one model beside it, in OUT/merged; refused where they are not one
    peft       write the adapter as the peft library keeps it too, in OUT/peft: of a model that transformers saved
    dry_run    plan and measure only: the answer is a Plan        quiet      no progress on standard error
    asked      rate, task, tokens | flops | minutes, length, batch, device, precision, as `train` takes them

    The model's own numbers stay as they are, to the bit, packed ones packed.
    """
    if not adapters:
        raise UsageError("nothing to attach: name an adapter, such as lora:rank=8")
    begin = begun(str(model))
    found = covers(begin, adapters, merge, peft)
    done = train_one(
        init=begin.folder, adapters=tuple(adapters), data=data, out=out, dry_run=dry_run, quiet=quiet, **asked
    )
    if isinstance(done, Plan):
        return done
    (arm,) = done.arms
    if arm.status != "finished" or arm.model is None or done.report is None or arm.score.mean is None:
        raise WorkFailed("; ".join(arm.reasons))
    folder = Path(done.report).parent / arm.model.folder
    whole = _merged(folder, begin, Path(done.report).parent / "merged") if merge else None
    theirs = str(save_peft(folder, Path(done.report).parent / "peft")) if peft else None
    return Adapted(str(folder), begin.folder, arm.score.mean, done.metric.unit, found, whole, theirs)


def covers(begin: Begun, adapters: Sequence[str], merge: bool = False, peft: bool = False) -> list[Cover]:
    """What each adapter stands at, before anything is trained; one that could not be merged, or kept by peft, is
    refused where it is to be."""
    specs = [parse_transform(each) for each in adapters]
    made = outlined(begin, specs)
    if merge:
        last = make_transform("merge").apply(made[-1].model)
        if last.left:
            named = {part.path: part.spec for part in attachments(made[-1].model)}[last.left[0]]
            raise UsageError(f"{named.kind}:{named.name} at {last.left[0]} is no matrix, so it cannot be merged")
    if peft:
        check_kept(made[-1].model, names_of(Path(begin.folder)), begin.folder)
    return [
        Cover(spec.name, list(each.covered), each.report["of"], each.report["what"], each.report["attached"])
        for spec, each in zip(specs, made)
    ]


def _merged(adapter: Path, begin: Begun, out: Path) -> str:
    """The adapter and its model as one, with what makes text of that model's ids."""
    whole = make_transform("merge").apply(load(adapter)).model
    whole.save(out, beside=usable_files(Path(begin.folder)))
    return str(out)
