"""What is stored and then damaged is refused in a line, made again, or gives the same numbers: never others."""

import json
import random
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from blockyard.compare.identity import key_of
from blockyard.compare.plan.plan import Request, make_job, make_plan, steps_of
from blockyard.compare.run.job import read_result, run_job
from blockyard.compare.run.store import Event, Store, read_plan
from blockyard.core.errors import UsageError
from blockyard.data import load_text
from blockyard.model.save import load_model

READ = ("plan.json", "result.json", "config.json", "tokenizer.json", "events.jsonl", "shards.json")
X = torch.arange(24).reshape(2, 12) * 7 % 256


def flip(data, draw, other):
    at, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def cut(data, draw, other):
    return data[: draw.randrange(len(data))]


def swap(data, draw, other):
    return other


def edit(data, draw, other):
    """Another digit somewhere: a number that a hand changed."""
    places = [found.start() for found in re.finditer(rb"[0-9]", data)]
    if not places:
        return data[::-1]
    at = draw.choice(places)
    return data[:at] + str((int(data[at : at + 1]) + draw.randrange(1, 10)) % 10).encode() + data[at + 1 :]


def blank(data, draw, other):
    at = draw.randrange(len(data))
    return data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]


DAMAGES = (flip, flip, cut, swap, edit, edit, blank)


def ended(arm, result):
    return Event(result.key, arm.id, "final", 0, 1e-3, result.status, result.score, result.seconds)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a comparison's two finished runs, their models, and the token shards of the text."""
    root = tmp_path_factory.mktemp("stored")
    text, draw = root / "text.txt", random.Random(3)
    text.write_text("\n".join(" ".join(draw.choices(["the", "cat", "sat", "on", "mats"], k=9)) for _ in range(400)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOCKYARD_CACHE", str(root / "cache"))
        options = dict(params="60k", tokens="512", length=32, batch=4, seeds=1, tuning="none")
        plan = make_plan(Request(("a=llama", "b=gla"), (str(text),), **options), lambda note: None)
        plan = replace(plan, steps=steps_of(plan, {}))
        store = Store(root / "out", plan)
        store.write_plan()
        for arm in plan.arms:
            job = make_job(plan, arm, "final", 0, 1e-3)
            result = run_job(job, store.run_folder(key_of(job)), lambda *_: None)
            store.finished(ended(arm, result))
        store._lock.close()
        load_text(text, codec="bpe:300", cache=root / "cache")
    return root


@torch.no_grad()
def everything(root):
    """All numbers that are read back from the stored folders, by their place; None where that is refused."""
    found = {}

    def ask(name, read):
        try:
            found[name] = read()
        except UsageError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
            found[name] = None

    ask("plan", lambda: json.dumps(read_plan(root / "out").to_json()))
    for run in sorted((root / "out" / "runs").iterdir()):
        ask(f"result {run.name}", lambda run=run: json.dumps(read_result(run).to_json()))
        ask(f"model {run.name}", lambda run=run: load_model(run / "model")(X).logits.numpy().tobytes())
    for codec in ("bytes", "bpe:300"):
        corpus = load_text(root / "text.txt", codec=codec, cache=root / "cache")
        splits = (corpus.train, corpus.tune, corpus.test)
        arrays = [np.concatenate([split.tokens, split.offsets, split.token_bytes]).tobytes() for split in splits]
        found[f"corpus {codec}"] = (corpus.hash, corpus.codec.hash, corpus.codec.name, corpus.bytes, arrays)
    return found


def entered(root):
    """The lines of the log after every run was entered anew, or a refusal."""
    plan = read_plan(root / "out")
    if plan is None:
        return None
    store = Store(root / "out", plan)
    try:
        for run in sorted((root / "out" / "runs").iterdir()):
            result = read_result(run)
            if result is not None:
                arm = next(a for a in plan.arms if key_of(make_job(plan, a, "final", 0, 1e-3)) == run.name)
                store.finished(ended(arm, result))
    finally:
        store._lock.close()
    return set((root / "out" / "events.jsonl").read_bytes().splitlines())


def stored(root):
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.stat().st_size]
    return [path for path in files if path.name in READ or path.suffix in (".safetensors", ".bin")]


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_damage_never_gives_other_numbers(made, count, tmp_path):
    draw, root = random.Random(11), tmp_path / "copy"
    shutil.copytree(made, root)
    whole, log, files = everything(root), entered(root), stored(root)
    assert None not in whole.values() and len(log) == 2 and len({path.name for path in files}) >= 10
    refused = 0
    for number in range(count):
        path, damage = draw.choice(files), draw.choice(DAMAGES)
        before = path.read_bytes()
        others = [p for p in files if p != path and (p.name == path.name or p.suffix == path.suffix)] or files
        spoilt = damage(before, draw, draw.choice(others).read_bytes())
        path.unlink()  # arrays that are still mapped keep the old file
        path.write_bytes(spoilt)
        found = everything(root)
        wrong = [name for name in whole if found[name] is not None and found[name] != whole[name]]
        assert not wrong, (number, damage.__name__, path, wrong)
        refused += None in found.values()
        try:
            lines = entered(root)
            assert lines is None or lines >= log, (number, damage.__name__, path)
        except UsageError as error:
            assert "\n" not in str(error)
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        (root / "out" / "events.jsonl").write_bytes(b"\n".join(sorted(log)) + b"\n")
    assert refused > count / 5


def test_another_document_of_ours_is_no_plan(made, tmp_path):
    config = next((made / "out" / "runs").glob("*/model/config.json"))
    shutil.copy(config, tmp_path / "plan.json")
    with pytest.raises(UsageError, match="or another document"):
        read_plan(tmp_path)
