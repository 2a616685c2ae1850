"""Every template is a thing that works: dropped in its place, with nothing edited."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pages import ROOT

from blockyard.core import registry

TEMPLATES = ROOT / "docs" / "templates"
PATHS = sorted(path.relative_to(TEMPLATES) for path in TEMPLATES.rglob("*.py"))
NAMES = {str(path): f"{path.parts[path.parts[0] == 'parts']}:{path.stem}" for path in PATHS}

TOGETHER = """
import sys, torch, blockyard as by
from blockyard.core.spec import (
    activation, block, channel, corrupt, depth, head, junction, linear, mixer, model, norm, objective, pattern, phase,
    position, residual, stem, store, system,
)
from blockyard.decode.program import Program, refusal
from blockyard.decode.ragged import prefill
from blockyard.train.loop import build_objective

own = norm("my_norm")
spec = system(model(
    dim=32,
    stem=stem("my_stem", norm=own, store=store("my_store")),
    blocks=(
        block("memory", mixer("my_mixer"), channel("my_channel"), junction("my_junction")),
        block("attention", mixer("attention", heads=2, position=position("my_position"), pattern=pattern("my_pattern")),
              channel("mlp", activation=activation("my_activation"))),
    ),
    residual=residual("my_residual", norm=own),
    depth=depth("my_depth", rounds=2),
    head=head("my_head", norm=own),
    linear=linear("my_linear"),
), phase(objective("my_objective")), phase(objective("masked", corrupt=corrupt("my_corruption"))))
net, tokens = by.build(spec), torch.randint(0, 256, (2, 24))
assert {f"{s.kind}:{s.name}" for s in spec.walk()} >= set(sys.argv[1:]), "a template has no place in this model"

loss = build_objective(spec["program"][0]["objective"], net)
optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
losses = []
for _ in range(2):
    terms = loss(net, by.Batch(tokens))
    assert {name: int(count) for name, (_, count, _) in terms.items()} == {
        name: int(count) for name, count in loss.counts(by.Batch(tokens)).items()
    }
    optimiser.zero_grad()
    total = sum(weight * amount / count for amount, count, weight in terms.values())
    total.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
    optimiser.step()
    losses.append(float(total))
assert losses[1] < losses[0], losses

both = by.build("llama", "tiny", **{"model.causal": False})
asks = build_objective(spec["program"][1]["objective"], both)
batch = asks.prepare(by.Batch(tokens), lambda _, shape: torch.rand(shape))
batch = by.Batch(batch.tokens.clamp(max=255), batch.targets)
assert int(asks(both, batch)["masked"][1]) == int(asks.counts(batch)["masked"]) == 2 * 24 // 8

net.requires_grad_(False)
whole, state = net(tokens).logits, net.init_state(2)
for piece in tokens.split([5, 1, 18], 1):
    out = net(piece, state)
    state = out.state
assert torch.allclose(out.logits, whole[:, -18:], atol=1e-4)

assert refusal(net) is None, refusal(net)
logits, state = prefill(net, by.Batch(tokens))
program = Program(net, 2, 32)
program.load(state)
for _ in range(8):
    chosen = logits.argmax(-1)
    logits, state = prefill(net, by.Batch(chosen[:, None]), state)
    assert (program.step(chosen) - logits).abs().max() < 1e-4
"""
PLANNED = """
import sys
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.core import registry
for name in sys.argv[1:]:
    for race in registry.find("study", name).load().study().races:
        plan = make_plan(Request(race.arms, task=race.task, **race.options_at("smoke")), lambda _: None)
        assert len(plan.arms) == len(race.arms)
"""
FORMAT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from blockyard.compare.plan.plan import Request, make_job, make_plan
from blockyard.compare.run.job import run_job
folder = Path(sys.argv[1])
plan = make_plan(Request(("llama", "gla"), (str(folder / "cells.npz"),), params=60000, tokens=600), lambda _: None)
job = make_job(replace(plan, steps={arm.id: 4 for arm in plan.arms}), plan.arms[1], "final", 0, 1e-2)
done = run_job(job, folder / "run", lambda *_: None)
references = {name: sum(groups) / len(groups) for name, groups in plan.references.items()}
print(json.dumps(dict(task=plan.metric.name, status=done.status, score=done.score, references=references)))
"""
VERBS = """
import contextlib, io, json, sys
from blockyard.cli import main
said = {}
for name in sys.argv[1:]:
    kind = name.partition(":")[0]
    for words in (["list", kind], ["show", name], ["check", name]):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = main([*words, "--json"])
        said[" ".join(words)] = (code, out.getvalue())
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the library with every template in its place. Its kernels are ours, or they were compiled again."""
    folder = tmp_path_factory.mktemp("house")
    code = folder / "blockyard"
    shutil.copytree(ROOT / "blockyard", code, ignore=shutil.ignore_patterns("__pycache__", "kernels"))
    (code / "kernels").symlink_to(ROOT / "blockyard" / "kernels")
    shutil.copytree(TEMPLATES, code, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(folder, code, *words):
    env = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_a_template_for_every_kind_of_thing():
    kinds = {name.partition(":")[0] for name in NAMES.values()}
    assert kinds == {kind for kind in (*registry.KINDS, *registry.ROOMS) if registry.entries(kind)}
    page = (ROOT / "docs" / "adding-a-part.md").read_text(encoding="utf-8")
    assert all(f"](templates/{path})" in page for path in PATHS), "the page shows every template"
    assert not [path for path in PATHS if (ROOT / "blockyard" / path).exists()], "a name that is taken"


def test_each_is_listed_shown_and_keeps_what_it_claims(house):
    for words, (code, out) in json.loads(run(house, VERBS, *NAMES.values()).splitlines()[-1]).items():
        assert code == 0, words
        if words.startswith("list"):
            kind = words.split()[1]
            mine = {name.partition(":")[2] for name in NAMES.values() if name.startswith(f"{kind}:")}
            assert mine <= {row["name"] for row in json.loads(out)}
        if words == "check recipe:my_recipe":
            assert "decodes as recorded instructions" in out


def test_together_they_train_stream_and_decode_as_instructions(house):
    # where a token goes depends on its numbers, which no instruction decides by; nor is there one for other weights
    apart = ("router:", "weigh:")
    parts = [name for path, name in NAMES.items() if path.startswith("parts")]
    run(house, TOGETHER, *(name for name in parts if not name.startswith(apart)))


def test_a_new_format_of_files_is_compared_on(house, tmp_path):
    """A source is all that a new format needs: recipes that know only ids take part with the ends of its task."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 240)
    np.savez(tmp_path / "cells.npz", x=draw.normal(labels[:, None], 0.5, (240, 6)), y=np.array(["a", "b"])[labels])
    said = json.loads(run(house, FORMAT, str(tmp_path)).splitlines()[-1])
    assert said["task"] == "error" and said["status"] == "finished" and 0 <= said["score"] <= 1
    assert said["references"]["linear"] < 0.1 < said["references"]["majority"]


def test_the_study_can_be_planned(house):
    run(house, PLANNED, *(name.partition(":")[2] for name in NAMES.values() if name.startswith("study:")))


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_header_says_what_it_must(path):
    kind, _, name = NAMES[str(path)].partition(":")
    entry = registry.Entry(kind, name, f"blockyard.{'.'.join(path.with_suffix('').parts)}", TEMPLATES / path)
    wanted = {"Source", "Family", "Differs"} | ({"Claim"} if kind in ("recipe", "study") else set())
    wanted |= {"Shapes"} if kind in (*registry.KINDS, "task") else set()
    assert wanted <= set(entry.header) and entry.title.endswith("?" if kind in ("study", "probe") else ".")
    assert all(setting.meaning for setting in entry.settings.values())
