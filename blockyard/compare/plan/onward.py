"""What goes on from a saved model: its spec is the arm's, its numbers the first ones, its tokeniser reads the text.

    system = (model of the folder, the task's objective)        adapters: their transforms first, they alone train

The system holds a hash of the model, so that a run is another one where the model is. What is said of size and kind
comes from the folder, and options that say otherwise are refused.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from blockyard.compare.documents import Choice
from blockyard.compare.plan import dataset
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec, phase
from blockyard.core.spec import system as system_of
from blockyard.data.tokens import Codec
from blockyard.interop import load
from blockyard.interop.tokenizer import codec_of
from blockyard.model.attach import attached, attachments
from blockyard.model.count import on_meta
from blockyard.model.find import find_model
from blockyard.model.model import Model
from blockyard.model.save import stored
from blockyard.task import Material
from blockyard.train.checkpoint import fingerprint
from blockyard.train.schedule import ATTACHED
from blockyard.transform._base import Applied, make_transform

GENTLY = 0.1  # of the rate of a model that is new: one that learned before is not to forget it at once


@dataclass(frozen=True)
class Begun:
    """The model that a run begins from: its folder, what names its numbers and its spec, and how it reads text."""

    folder: str
    digest: str
    spec: Spec
    codec: Codec | None

    @property
    def label(self) -> str:
        """What the run is called: the name of the folder, or of the arm that it is the model of."""
        path = Path(self.folder)
        inner = path.name == "model" and (path.parent / "result.json").exists()
        return (path.parents[2] if inner and path.parents[1].name == "runs" else path).name or "model"

    @property
    def length(self) -> int | None:
        """Tokens a row that it was made for, where its spec says so."""
        return self.spec.get("length")


def begun(where: str) -> Begun:
    """What a run begins from; a folder that holds no model, or a tokeniser that is not the model's, is refused."""
    folder = find_model(where)
    model, codec = load(folder), codec_of(folder)
    vocab = model.axes.get("stem.vocab")
    if codec is not None and vocab is not None and codec.vocab > vocab.size:
        raise UsageError(f"{folder} has {codec.vocab} tokens and the model {vocab.size}: they are not of one model")
    return Begun(os.path.abspath(folder), digest_of(model), model.spec, codec)


def digest_of(model: Model) -> str:
    """Thirty-two hexadecimal digits that name a model: its spec, and its numbers as they are kept."""
    named = model.spec.hash + fingerprint(dict(stored(model)))
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def first_model(folder: str, digest: str, device: str) -> Model:
    """The model of a folder, in numbers that can learn; one that changed since it was planned is refused."""
    model = load(folder, device)
    if digest_of(model) != digest:
        raise UsageError(f"the model in {folder} changed since this run was planned; use another --out")
    halves = any(p.element_size() < 4 for p in model.parameters())
    return model.float() if halves else model


def chosen(begin: Begun | None, task: str | None, paths: Sequence[str], codec: str) -> Choice:
    """What is trained on; a text is read by the tokeniser of the model that goes on, where one does."""
    choice = dataset.chosen(task, paths, codec)
    if begin is None or choice.codec is None or begin.codec is None:
        return choice
    return replace(choice, codec=dataset.saved_as(begin.codec), words=begin.folder)


def onward(begin: Begun, material: Material, adapters: Sequence[Spec] = ()) -> Spec:
    """The system of a run that begins from a model; data that the model cannot read, or answer, are refused."""
    if material.plain_text and begin.codec is None:
        raise UsageError(f"{begin.folder} has no tokenizer.json, so it reads no text: was it trained on a task?")
    plain = system_of(begin.spec, phase(material.ends.objective))
    fitted = material.fit(plain)
    _check_alike(begin, fitted["model"])
    (learns,) = fitted["program"]
    if adapters:
        learns = learns.but(apply=tuple(adapters), train=(ATTACHED,))
    return plain.but(program=(learns,), init=begin.digest)


def _check_alike(begin: Begun, wanted: Spec) -> None:
    """Refuse a task whose ends are not those of the model; a vocabulary may be larger than what the text uses."""
    own = begin.spec
    for end in ("stem", "head"):
        theirs, mine = wanted[end], own[end]
        vocab = mine.get("vocab", 256)
        if theirs.get("vocab", 256) <= vocab and "vocab" in dict(theirs.settings) | dict(mine.settings):
            theirs = theirs.but(vocab=vocab)
            mine = mine.but(vocab=vocab)
        if theirs != mine:
            told = "reads" if end == "stem" else "predicts"
            raise UsageError(
                f"{begin.folder} {told} by {mine}, and these data ask for {theirs}; name other data, or another --task"
            )
    if wanted.get("causal", True) != own.get("causal", True):
        ways = "from left to right" if wanted.get("causal", True) else "both ways"
        raise UsageError(f"this task is for models that read {ways}, and {begin.folder} does not")


def check_learns(begin: Begun) -> None:
    """Refuse a model some of whose matrices are kept so that they cannot learn."""
    for part in on_meta(begin.spec).parts():
        store = getattr(part, "store", None)
        if store is not None and not isinstance(getattr(part, store.name), nn.Parameter):
            raise UsageError(
                f"{part.path} of {begin.folder} is kept as store:{store.spec.name}, which does not learn; "
                "blockyard adapt trains what stands beside it"
            )


def outlined(begin: Begun, adapters: Sequence[Spec]) -> list[Applied]:
    """What each adapter makes of the outline of the model; what attaches nothing, or stands on what is attached
    already, is refused."""
    model, found = on_meta(begin.spec), list[Applied]()
    if attachments(model):
        raise UsageError(f"{begin.folder} has something attached: blockyard transform {begin.folder} merge --out ...")
    for each in adapters:
        transform = make_transform(each)
        if transform.shown:
            raise UsageError(f"{each.name} is fitted to data and attaches nothing; see: blockyard transform")
        found.append(transform.apply(model))
        if len(attached(found[-1].model)) <= len(attached(model)):
            raise UsageError(f"{each.name} attaches nothing that could train; see: blockyard transform")
        model = found[-1].model
    return found
