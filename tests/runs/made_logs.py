"""Small logs in the forms that trackers and harnesses leave, made from the scores that they are to hold.

The event files are written as TensorBoard's own writer does, checksums included.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

CRC = [0] * 256
for _i in range(256):
    _c = _i
    for _ in range(8):
        _c = _c >> 1 ^ (0x82F63B78 if _c & 1 else 0)
    CRC[_i] = _c


def masked(data: bytes) -> bytes:
    """The checksum of a record: CRC-32C, turned and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + masked(length) + event + masked(event)


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step: int, *values: bytes) -> bytes:
    """An event at a time of its own, with these values of its summary."""
    time = varint(1 << 3 | 1) + struct.pack("<d", 1.7e9 + step)
    return time + varint(2 << 3) + varint(step) + field(5, b"".join(field(1, value) for value in values))


def simple(tag: str, value: float) -> bytes:
    """A scalar as writers of version 1 leave it, and PyTorch's today."""
    return field(1, tag.encode()) + varint(2 << 3 | 5) + struct.pack("<f", value)


def tensor(tag: str, value: float, how: str = "f") -> bytes:
    """A scalar as writers of version 2 leave it: a tensor of one number, in its fields or as bytes."""
    kind = varint(1 << 3) + varint(2 if how == "d" else 1)
    held = {
        "f": field(5, struct.pack("<f", value)),
        "d": field(6, struct.pack("<d", value)),
        "bytes": field(4, struct.pack("<f", value)),
    }[how]
    return field(1, tag.encode()) + field(8, kind + field(2, b"") + held)


def events(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> Path:
    """An event file in a folder: scalars by tag, as (step, value)."""
    path.mkdir(parents=True, exist_ok=True)
    file = path / "events.out.tfevents.1700000000.host.1.0"
    version = varint(1 << 3 | 1) + struct.pack("<d", 1.7e9) + field(3, b"brain.Event:2")
    written = [event(step, simple(tag, value)) for tag, curve in curves.items() for step, value in curve]
    file.write_bytes(b"".join(map(record, [version, *written])))
    return file


def mlruns(folder: Path, runs: Sequence[dict]) -> Path:
    """A folder of MLflow: every run has name, params, metrics as lists of (step, value), and maybe a status."""
    for i, run in enumerate(runs):
        here = folder / "123456789" / f"{i:032x}"
        for kind in ("metrics", "params", "tags"):
            (here / kind).mkdir(parents=True)
        meta = {"artifact_uri": "", "lifecycle_stage": run.get("stage", "active"), "run_id": here.name,
                "run_name": run["name"], "status": run.get("status", 3)}  # fmt: skip
        (here / "meta.yaml").write_text("".join(f"{key}: {value}\n" for key, value in meta.items()))
        (here / "tags" / "mlflow.runName").write_text(run["name"])
        for key, value in run["params"].items():
            (here / "params" / key).write_text(str(value))
        for key, curve in run["metrics"].items():
            file = here / "metrics" / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{1700000000000 + step} {value} {step}\n" for step, value in curve))
    (folder / "123456789" / "meta.yaml").write_text("experiment_id: '123456789'\nname: default\n")
    return folder


def lm_eval(folder: Path, model: str, task: str, right: Sequence[int], filters: Sequence[str] = ("none",)) -> Path:
    """The samples of a model on a task; a second filter finds every answer right."""
    lines = [
        {"doc_id": i, "doc": {"question": f"{i} + {i}?"}, "target": str(2 * i), "arguments": [["?"]], "resps": [["?"]],
         "filtered_resps": ["?"], "filter": name, "metrics": ["exact_match"], "doc_hash": f"{i:x}",
         "exact_match": float(value) if at == 0 else 1.0}
        for at, name in enumerate(filters) for i, value in enumerate(right)
    ]  # fmt: skip
    file = folder / model / f"samples_{task}_2026-01-02T03-04-05.678901.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


WANDB_TABLE = """"Name","State","Runtime","optimizer","seed","val/loss"
"fair-sun-1","finished","31","adamw","0","2.00"
"calm-sea-2","finished","30","adamw","1","2.02"
"wild-fox-3","finished","33","adamw","2","2.01"
"deep-elm-4","finished","35","muon","0","1.90"
"warm-fog-5","finished","34","muon","1","1.92"
"cold-oak-6","crashed","5","muon","2","3.50"
"slow-bee-7","running","3","muon","3","4.00"
"""
WANDB_CHART = """"Step","adamw-seed0 - val_loss","adamw-seed0 - val_loss__MIN","adamw-seed0 - val_loss__MAX",\
"adamw-seed1 - val_loss","adamw-seed1 - val_loss__MIN","adamw-seed1 - val_loss__MAX",\
"muon-seed0 - val_loss","muon-seed0 - val_loss__MIN","muon-seed0 - val_loss__MAX",\
"muon-seed1 - val_loss","muon-seed1 - val_loss__MIN","muon-seed1 - val_loss__MAX"
"100","3.0","3.0","3.0","3.1","3.1","3.1","2.9","2.9","2.9","2.8","2.8","2.8"
"200","2.0","2.0","2.0","2.1","2.1","2.1","1.9","1.9","1.9","1.8","1.8","1.8"
"""
WANDB_JSON = [
    {"name": f"{arm}-{seed}", "config": {"optimizer": arm, "seed": seed}, "summary": {"val_loss": loss, "_step": 9}}
    for arm, losses in (("adamw", (2.0, 2.02)), ("muon", (1.9, 1.92)))
    for seed, loss in enumerate(losses)
]
