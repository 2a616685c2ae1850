"""The worked example of docs/adding-a-part.md, as a stranger would use it: in a package, and as a file dropped in."""

import os
import shutil
import subprocess
import sys

import pytest
from pages import ROOT, blocks, own_package

PART, _, _, RECIPE = [block.text for block in blocks(ROOT / "docs" / "adding-a-part.md", "python")]
STEP = """
import torch, blockyard as by
from blockyard.train.loop import build_objective
system = by.spec("fading_average", "tiny")
assert any(s.kind == "mixer" and s.name == "fading_average" for s in system.walk())
model = by.build(system)
objective = build_objective(system["program"][0]["objective"], model)
tokens = torch.randint(0, 256, (2, 24))
optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
losses = []
for _ in range(2):
    total, count, _ = objective(model, by.Batch(tokens))["next_token"]
    optimiser.zero_grad()
    (total / count).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    optimiser.step()
    losses.append((total / count).item())
assert losses[1] < losses[0]
print(type(model.steps[0].part).__module__)
"""
HEADER = """
from blockyard.core import registry
header = registry.find("mixer", "fading_average").header
assert {"Shapes", "Source", "Family", "Differs"} <= set(header), header
"""


def python(path, *words, code=0):
    env = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    env["BLOCKYARD_KERNEL"] = "chunked"  # of a copy every loop would be compiled again
    done = subprocess.run([sys.executable, *words], env=env, cwd=path, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def in_a_package(tmp_path):
    own_package(tmp_path, PART, RECIPE)
    if not (ROOT / "blockyard").samefile(_where()):
        pytest.skip("another blockyard is installed")
    return tmp_path


def _where():
    import blockyard

    return os.path.dirname(blockyard.__file__)


@pytest.fixture
def dropped_in(tmp_path):
    """A copy of the library with two files more, and nothing edited."""
    shutil.copytree(ROOT / "blockyard", tmp_path / "blockyard", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "blockyard/parts/mixer/linear/fading_average.py").write_text(PART)
    (tmp_path / "blockyard/recipe/fading_average.py").write_text(RECIPE)
    return tmp_path


VERBS = """
from blockyard.cli import main
for words in (["check", "mixer:fading_average"], ["list", "mixer"], ["show", "mixer:fading_average"]):
    assert main(words) == 0
"""


def test_a_package_adds_a_part(in_a_package):
    said = python(in_a_package, "-c", VERBS + STEP)
    assert "FAIL" not in said and said.count("fading_average") > 2 and "m_t = a_h m_{t-1}" in said
    assert said.splitlines()[-1] == "my_blocks.fading_average"


def test_a_file_dropped_in_is_a_part(dropped_in):
    said = python(dropped_in, "-c", VERBS + HEADER + STEP)
    assert "FAIL" not in said and said.splitlines()[-1] == "blockyard.parts.mixer.linear.fading_average"


def test_a_package_may_not_take_a_name(in_a_package):
    info = in_a_package / "my_blocks-1.0.dist-info" / "entry_points.txt"
    info.write_text("[blockyard.mixer]\ngla = my_blocks.fading_average\n")
    said = python(in_a_package, "-m", "blockyard", "list", "mixer", code=2)
    assert "two parts are called mixer:gla" in said and "Traceback" not in said


@pytest.mark.parametrize("broken, claim", [
    ("m.roll(-1, 1)", "causal"),
    ("m + m.mean(0, keepdim=True)", "row_independent"),
])  # fmt: skip
def test_a_part_that_lies_is_caught(in_a_package, broken, claim):
    wrong = PART.replace("y = m * self", f"y = ({broken}) * self")
    assert wrong != PART
    (in_a_package / "my_blocks" / "fading_average.py").write_text(wrong)
    said = python(in_a_package, "-m", "blockyard", "check", "mixer:fading_average", code=1)
    assert f"FAIL {claim}" in said
