"""Memory does not grow with the number of prompts, whatever their lengths."""

import subprocess
import sys

import pytest

HELD = """
def held():
    with open("/proc/self/statm") as now:
        return int(now.read().split()[1]) * 4096 / 1e6
"""
SHAPES = """
import blockyard, torch
x, w = torch.randn(500, 256), torch.randn(512, 256)
order = torch.randperm(500, generator=torch.Generator().manual_seed(1)) + 1
for i, n in enumerate(order.tolist()):
    torch.ops.mkldnn._linear_pointwise(x[:n], w, None, "none", [], "")
    if i == 150:
        before = held()
print(held() - before)
"""
PROMPTS = """
import random, torch
import blockyard as by
model, draw = by.build(by.spec("llama", "tiny", dim=128, layers=4)).eval(), random.Random(1)
for i in range({prompts}):
    prompt = torch.randint(256, (1, draw.randint(1, 600)))
    list(by.generate(model, prompt, 2, by.SamplingParams(temperature=0)))
    if i == {first} - 1:
        before = held()
print(held() / before)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much is held")


def measured(program):
    done = subprocess.run([sys.executable, "-c", HELD + program], capture_output=True, text=True, check=True)
    return float(done.stdout)


@linux
def test_what_is_compiled_for_a_shape_is_not_kept_for_ever():
    """Where the framework's products are compiled by shape: 350 shapes took 240 MB."""
    assert measured(SHAPES) < 60


@linux
def test_prompts_of_many_lengths():
    assert measured(PROMPTS.format(prompts=80, first=20)) < 1.1


@linux
@pytest.mark.slow
def test_two_thousand_prompts():
    assert measured(PROMPTS.format(prompts=2000, first=100)) < 1.1
