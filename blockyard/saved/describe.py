"""What the model in a folder is: its shape, its numbers, its tokenizer, and how it writes by default."""

from dataclasses import dataclass, field
from typing import Any

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.core.files import is_missing, read_json
from blockyard.interop import load
from blockyard.interop.defaults import generation_defaults
from blockyard.interop.peft import base_of, is_peft
from blockyard.interop.tokenizer import tokenizer, words_home
from blockyard.model.attachment import home_of
from blockyard.model.count import numbers, stored_bytes
from blockyard.model.find import find_model


@dataclass(frozen=True)
class Described(Document):
    """A model in a folder; `model` is the type that transformers gives it, None for one of ours; `on` the folder of the
    model that it is an adapter on."""

    folder: str
    model: str | None
    params: int
    bytes: int
    vocab: int | None
    hash: str
    spec: Any
    tokenizer: str
    special: dict[str, str] = field(default_factory=dict)
    templates: list[str] = field(default_factory=list)
    writing: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    on: str | None = None

    def __str__(self) -> str:
        whose = "a model of blockyard" if self.model is None else f"{self.model}, as transformers saves it"
        whose = f"an adapter on {self.on}, {whose}" if self.on else whose
        table = "" if self.vocab is None else f", a table of {self.vocab:,} tokens"
        lines = [f"{self.folder}: {whose}", "", f"{self.params:,} parameters in {self.bytes:,} bytes{table}"]
        lines += ["", f"tokenizer   {self.tokenizer}"]
        lines += [f"special     {name} {content}" for name, content in self.special.items()]
        lines += [f"templates   {', '.join(self.templates)}"] if self.templates else []
        said = {name: value for name, value in self.writing.items() if value}
        lines += [f"writing     {name} {_plain(value)}" for name, value in said.items()]
        return "\n".join([*lines, *(f"note        {note}" for note in self.notes)])


def describe(folder: str) -> Described:
    """The facts of a folder; a tokenizer that cannot be used is said in its place."""
    path = find_model(folder)
    model = load(path)
    on = None if not is_missing(path / "config.json") else base_of(path) if is_peft(path) else home_of(path)
    config = read_json((on or path) / "config.json")
    axis = model.axes.get("stem.vocab")
    said, facts = generation_defaults(words_home(path)), dict[str, Any]()
    try:
        words = tokenizer(path)
        facts |= {"tokenizer": words.codec.name, "special": dict(words.special), "templates": sorted(words.templates),
                  "notes": list(words.notes)}  # fmt: skip
    except UsageError as error:
        facts |= {"tokenizer": f"none: {error}"}
    writing = {"params": said.params, "tokens": said.tokens, "length": said.length, "stop": list(said.stop),
               "not followed": list(said.passed)}  # fmt: skip
    return Described(
        str(path), None if "format" in config else str(config.get("model_type")), numbers(model), stored_bytes(model),
        None if axis is None else axis.size, model.spec.hash, model.spec.to_json(), **facts, writing=writing,
        on=None if on is None else str(on),
    )  # fmt: skip


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {each:g}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
