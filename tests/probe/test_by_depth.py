"""What is seen by depth: figures against the formulas, gradients as a step leaves them, looks along a run."""

import json

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.compare.documents import ByDepth
from blockyard.core.batch import Batch
from blockyard.probe import attention_entropy_probe, by_depth_probe
from blockyard.train.loop import Settings, train

ROWS = torch.randint(0, 64, (6, 12), generator=torch.Generator().manual_seed(0))


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step).integers(0, 64, (4, 17))


def test_stream_and_largest_number_are_those_behind_each_step():
    model = by.build("llama", "tiny").double()
    found, flow = by_depth_probe(model, ROWS, rows=3), model.start(Batch(ROWS[:3]))
    for step, unit in enumerate(model.steps):
        flow = model.run(flow, [step])
        size, path = flow.x.detach().abs().flatten().numpy(), unit.part.path
        assert np.isclose(found[f"{path}:stream"], np.sqrt((size**2).mean()), rtol=1e-12)
        assert np.isclose(found[f"{path}:massive"], size.max() / np.sort(size)[(len(size) - 1) // 2], rtol=1e-12)
    assert not any(name.endswith(":gradient") for name in found), "nothing was trained"
    attends = [name for name in found if name.endswith(":entropy")]
    assert attends == ["steps.0.part:entropy", "steps.2.part:entropy"]
    entropy = attention_entropy_probe(model, ROWS[:3])
    assert np.isclose(found[attends[1]], entropy["steps.2.part"].mean())


def test_gradients_are_those_of_a_step_with_its_rule():
    model = by.build("llama", "tiny")
    model(ROWS).logits.square().sum().backward()
    found = by_depth_probe(model, ROWS)
    own = [p.grad for name, p in model.named_parameters() if name.startswith("steps.1.")]
    assert len(own) > 2, "those of the norm in front count with it"
    assert np.isclose(found["steps.1.part:gradient"], sum(float(g.square().sum()) for g in own) ** 0.5, rtol=1e-5)


def test_a_run_is_looked_into_four_times_and_its_log_has_it(tmp_path):
    spec = by.spec("gla", "tiny")

    def run(folder=None, look=by_depth_probe):
        model = by.build(spec)
        return model, train(spec, model, Noise(), Settings(steps=12, lr=3e-3, log_every=2), folder, look=look)

    (seen, told), (blind, plain) = run(tmp_path), run(look=None)
    assert [step for step, _ in told.inside] == [4, 6, 10, 12] and plain.inside == ()
    assert all(torch.equal(a, b) for a, b in zip(seen.parameters(), blind.parameters())), "looking changes nothing"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "inside" in line] == [4, 6, 10, 12]
    last = ByDepth.of(12, told.inside[-1][1])
    assert len(last.stream) == len(last.gradient) == len(seen.steps) and last.entropy == [None] * len(seen.steps)
    assert min(last.gradient) > 0 and last.words.startswith(f"stream {last.stream[0]:.2g} to")
    assert run(tmp_path)[1].inside == told.inside, "a run that is done remembers what was seen"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_left_open(bad):
    assert ByDepth.of(1, {"a:stream": None, "a:massive": 2.0, "b:stream": 1.0}).stream == [None, 1.0]
    model = by.build("llama", "tiny")
    with torch.no_grad():
        model.steps[1].part.down.weight[0, 0] = bad
    found = by_depth_probe(model, ROWS)
    assert np.isfinite(found["steps.0.part:stream"]) and not np.isfinite(found["steps.1.part:stream"])
