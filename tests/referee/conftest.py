"""A referee whose runs cost nothing: a score is what the test says of an arm, and noise by arm and seed."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from blockyard.compare.documents import RunResult, Speed
from blockyard.compare.identity import key_of
from blockyard.compare.plan.plan import make_job
from blockyard.referee import act
from blockyard.referee import court as courts
from tests.in_process import InProcess


@dataclass
class Lab:
    """What runs would say. `worth` by a piece of an arm's text (its target): what it is better by; `made` what ran."""

    worth: dict[str, float] = field(default_factory=dict)
    noise: float = 0.01
    level: float = 2.0
    fails: tuple[str, ...] = ()
    stop: int | None = None
    made: dict[str, RunResult] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def run_all(self, store, pool, watch, wanted):
        found = []
        for role, arm, seed, rate in wanted:
            key = key_of(make_job(store.plan, arm, role, seed, rate))
            if key not in self.made:
                if self.stop is not None and len(self.made) >= self.stop:
                    raise KeyboardInterrupt
                self.made[key] = self.result(key, arm, role, seed, rate)
            found.append(self.made[key])
        return found

    def result(self, key, arm, role, seed, rate):
        text = f"{arm.label}|{arm.overrides}|{arm.optimiser}"
        gain = sum(worth for piece, worth in self.worth.items() if piece in text)
        draw = np.random.default_rng([int(arm.hash[:8], 16), seed, role == "final"]).standard_normal()
        groups = (self.level * (1 - gain + self.noise * draw + 0.01 * np.log2(rate / 7e-3) ** 2)).repeat(8)
        groups = groups + 0.002 * np.random.default_rng([seed, int(arm.hash[:8], 16)]).standard_normal(8)
        bad = any(piece in text for piece in self.fails)
        score = None if bad else float(groups.mean())
        return RunResult(key, "failed" if bad else "finished", "the loss is no number" if bad else "", 1, 0.1, [],
                         groups.tolist(), [1 / 8] * 8, score)  # fmt: skip


@pytest.fixture
def lab(monkeypatch):
    lab = Lab()
    monkeypatch.setattr(act, "Pool", InProcess)
    monkeypatch.setattr(act, "measure_speed", lambda plan, pool, watch: _benched(plan))
    monkeypatch.setattr(courts, "run_all", lab.run_all)
    return lab


def _benched(plan):
    from dataclasses import replace

    from blockyard.compare.plan.plan import steps_of

    speed = {arm.id: Speed(0.01, None) for arm in plan.arms}
    return replace(plan, speed=speed, steps=steps_of(plan, speed))


@pytest.fixture(scope="session")
def rhyme(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "rhyme.txt"
    draw = random.Random(3)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "red", "fox", "over", "dogs", "by", "night"]
    path.write_text("\n".join(" ".join(draw.choices(words, k=9)) for _ in range(1200)))
    return str(path)


@pytest.fixture
def begin(lab, rhyme, tmp_path):
    """Begin a referee in a fresh folder."""

    def init(baseline="llama:layers=1", **asked):
        asked = {"effect": "5%", "params": "20k", "tokens": "8k", "length": 32, "batch": 8, "quiet": True} | asked
        return act.init(baseline, out=tmp_path / "tries", data=rhyme, **asked)

    return init
