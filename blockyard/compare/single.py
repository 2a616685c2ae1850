"""One architecture by itself, with the machinery of the comparison: train it, score it, let it write."""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from blockyard.compare.compare import run_arms
from blockyard.compare.plan.dataset import TextExam, nats
from blockyard.compare.run.job import amounts
from blockyard.core import numbers
from blockyard.core.errors import UsageError, WorkFailed
from blockyard.data import load_text
from blockyard.data.corpus import load_whole
from blockyard.data.tokens import Codec, load_codec
from blockyard.decode.beams import beams
from blockyard.decode.generate import Step, generate
from blockyard.decode.propose import Lookup
from blockyard.decode.rules import Rules
from blockyard.decode.speculate import speculate
from blockyard.interop import load
from blockyard.model.find import find_model
from blockyard.model.model import Model
from blockyard.train.allocator import keep_memory
from blockyard.transform.quantise import Coverage, quantise


def train_one(target: str, *, out: str | None = None, dry_run: bool = False, **asked: Any) -> dict[str, Any]:
    """Train a recipe at its default rate, once; the folder of the model and its score."""
    result = run_arms([target], out=out, dry_run=dry_run, seeds=1, tuning="none", **asked)
    if dry_run:
        return result.data
    arm = result.arms[0]
    if arm["status"] != "finished":
        raise WorkFailed("; ".join(arm["reasons"]))
    return {
        "model": str(Path(result.data["report"]).parent / arm["model"]["folder"]),
        "score": arm["score"]["mean"],
        "unit": result.data["metric"]["unit"],
        "params": arm["params"],
        "tokens": arm["tokens"],
    }


def open_model(folder: str) -> tuple[Model, Codec]:
    """A trained model with its codec; `folder` as `find_model` takes it, so OUT:ARM of a comparison as well."""
    path = find_model(folder)
    keep_memory()
    model, words = load(path).eval(), path / "tokenizer.json"
    if not words.exists():
        raise UsageError(f"{path} has no tokenizer.json, so it reads no text: was it trained on a task?")
    codec = load_codec(words)
    known = model.axes["stem.vocab"].size
    if codec.vocab > known:
        raise UsageError(f"{words} has {codec.vocab} tokens and the model {known}: they are not of one model")
    return model, codec


def quantise_folder(
    folder: str, out: str, bits: int, group: int, keep: Sequence[str] = (), wide: Sequence[str] = ()
) -> Coverage:  # fmt: skip
    """Write the model of a folder once more with its matrices in few bits."""
    path = find_model(folder)
    small, coverage = quantise(load(path), bits, group=group, keep=tuple(keep), wide=tuple(wide))
    words = path / "tokenizer.json"
    if words.exists():
        try:
            load_codec(words)
        except UsageError as error:
            warnings.warn(f"the copy of tokenizer.json is for other libraries: {error}", stacklevel=2)
    small.save(out, tokenizer=words.read_bytes() if words.exists() else None)
    return coverage


def evaluate(folder: str, data: Sequence[str], length: int | None = None) -> dict[str, Any]:
    """Bits per byte of a whole text under a trained model."""
    if length is not None:
        length = numbers.EVAL_LENGTH(length, "--length")
    model, codec = open_model(folder)
    model.require("causal", "scoring a text token by token")
    size = length or model.spec.get("length") or 128
    job = {"batch": 16, "length": size, "device": "cpu", "precision": "float32"}
    if data:
        (name, _, notes), split = load_whole(list(data), codec)
    else:
        corpus = load_text(None, codec=codec)
        name, notes, split = corpus.name, corpus.notes, corpus.test
    exam = TextExam(split, size, 1)
    loss, count = float(amounts(model, nats, exam, job).sum()), int(exam.bytes.sum())
    value = loss / (math.log(2) * count)
    if not math.isfinite(value):
        raise UsageError(f"{folder} scores {value}: its weights are damaged, or training diverged")
    return {
        "bits_per_byte": value, "bytes": count, "data": name, "length": size,
        "notes": list(notes),
    }  # fmt: skip


def continue_text(
    folder: str, prompt: str, tokens: int, rules: Rules, stop: Sequence[str] = (), ahead: int = 0,
    int8_cache: bool = False,
) -> Iterator[Step]:  # fmt: skip
    """Steps with the text that continues the prompt, as they come; `ahead` guesses tokens from what stands before."""
    model, codec = open_model(folder)
    ids, how = _prompt(codec, prompt), {"stop": stop, "decode": codec.decode}
    if ahead and int8_cache:
        raise UsageError("--ahead checks guesses to the last bit, which keys in 8 bits do not keep; leave one out")
    if ahead:
        return speculate(model, ids, tokens, Lookup(), rules, ahead=ahead, **how)
    return generate(model, ids, tokens, rules, int8_cache=int8_cache, **how)


def search_text(folder: str, prompt: str, tokens: int, width: int) -> list[dict[str, Any]]:
    """The likeliest continuations that a beam search finds."""
    model, codec = open_model(folder)
    found = beams(model, _prompt(codec, prompt), tokens, width=width)
    return [{"text": codec.decode(beam.tokens), "logprob": beam.logprob, "score": beam.score} for beam in found]


def _prompt(codec: Codec, prompt: str) -> torch.Tensor:
    ids = codec.encode(prompt)
    if not len(ids):
        raise UsageError("the prompt is empty; give at least one character")
    return torch.from_numpy(ids.astype("int64"))[None]
