"""Every kind of data goes the whole way: from what a user names to a scored model and what its page shows."""

import json
import wave
from dataclasses import replace

import numpy as np
import pytest

from blockyard.compare.plan.plan import Request, make_job, make_plan
from blockyard.compare.run.job import run_job


def sounds(folder):
    draw = np.random.default_rng(0)
    for digit in range(2):
        for n in range(40):
            tone = np.sin(np.arange(400 + 20 * n) * (0.2 + 0.4 * digit)) + draw.normal(0, 0.1, 400 + 20 * n)
            with wave.open(str(folder / f"{digit}_voice{n % 8}_{n}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes((8000 * tone).astype("<i2").tobytes())
    return str(folder / "{digit}_{speaker}_{n}.wav"), None


def images(folder):
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(0)
    for name in ("dark", "light"):
        (folder / name).mkdir()
        for n in range(40):
            pixels = draw.integers(0, 120, (8, 8), dtype=np.uint8) + (120 if name == "light" else 0)
            image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{n}.png")
    return str(folder), None


def texts(folder):
    rows = [{"body": f"{'good' if n % 2 else 'bad'} text number {n}", "stars": str(n % 2)} for n in range(80)]
    (folder / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder / "reviews.jsonl:body"), "classify:label=stars"


def table(folder):
    draw = np.random.default_rng(0)
    lines = ["size,colour,price"]
    for size in draw.normal(5, 2, 200):
        colour = draw.choice(["red", "blue"])
        lines.append(f"{size:.3f},{colour},{3 * size + (colour == 'red'):.3f}")
    (folder / "sales.csv").write_text("\n".join(lines))
    return str(folder / "sales.csv"), "table:target=price"


def series(folder):
    hours = np.arange("2024-01-01T00", "2024-03-01T00", dtype="datetime64[h]")
    lines = ["date,load"] + [f"{hour},{np.sin(i / 4):.3f}" for i, hour in enumerate(hours)]
    (folder / "load.csv").write_text("\n".join(lines))
    return str(folder / "load.csv"), "forecast:horizon=8,length=24"


@pytest.mark.parametrize("kind", [sounds, images, texts, table, series], ids=lambda kind: kind.__name__)
def test_it_is_planned_trained_scored_and_shown(kind, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    named, task = kind(folder)
    plan = make_plan(Request(("llama", "gla"), (named,), task=task, params=30e3, tokens=2000, seeds=2), lambda _: None)
    job = make_job(replace(plan, steps={arm.id: 4 for arm in plan.arms}), plan.arms[1], "final", 0, 1e-2)
    done = run_job(job, tmp_path / "run", lambda *_: None)
    assert done.finished and np.isfinite(done.score) and done.exhibits and plan.references
