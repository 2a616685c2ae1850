"""Models of one spec made one: every way by a short formula of its own, equal ones to the bit, others refused."""

import json

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.blend import make_blend, merge
from blockyard.check import check
from blockyard.cli import main
from blockyard.core.random import uniform
from blockyard.model.save import stored

F64 = torch.float64
SHAPES = {"a": (4, 5), "b": (7,)}
WAYS = ("linear", "slerp", "task_arithmetic", "ties", "dare")


def tensors(*seeds):
    """Two tensors of each seed."""
    made = []
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        made.append({name: torch.randn(shape, generator=draw, dtype=F64) for name, shape in SHAPES.items()})
    return made


def flat(each):
    return np.concatenate([each["a"].numpy().ravel(), each["b"].numpy()])


def apart(made, want):
    return float(np.abs(flat(made) - want).max())


def test_a_mean_by_hand():
    one, two, three = tensors(1, 2, 3)
    x, y, z = map(flat, (one, two, three))
    assert apart(make_blend("linear")([one, two, three], {}), (x + y + z) / 3) < 1e-14
    assert apart(make_blend("linear:weights=(1,3)")([one, two], {}), 0.25 * x + 0.75 * y) < 1e-14


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_an_arc_by_hand_each_tensor_by_itself(t):
    one, two = tensors(1, 2)
    made = make_blend(f"slerp:t={t}")([one, two], {})
    for name in one:
        x, y = one[name].numpy().ravel(), two[name].numpy().ravel()
        u = np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
        want = (np.sin((1 - t) * u) * x + np.sin(t * u) * y) / np.sin(u)
        assert np.abs(made[name].numpy().ravel() - want).max() < 1e-12
    unit = {"a": torch.tensor([1.0, 0.0], dtype=F64)}, {"a": torch.tensor([0.0, 1.0], dtype=F64)}
    assert abs(make_blend("slerp:t=0.3")(unit, {})["a"].norm() - 1) < 1e-12  # a line would be shorter
    nothing = {"a": torch.zeros(2, dtype=F64)}
    assert torch.equal(make_blend("slerp:t=0.25")([nothing, unit[0]], {})["a"], 0.25 * unit[0]["a"])


def test_task_vectors_are_added_and_taken_away():
    base, one, two = tensors(1, 2, 3)
    w, x, y = map(flat, (base, one, two))
    assert apart(make_blend("task_arithmetic:scale=0.4")([one, two], base), w + 0.4 * (x - w + y - w)) < 1e-14
    assert apart(make_blend("task_arithmetic:weights=(1,-0.5)")([one, two], base), w + (x - w) - 0.5 * (y - w)) < 1e-14
    assert apart(make_blend("task_arithmetic:weights=(-1,)")([one], base), 2 * w - x) < 1e-14


@pytest.mark.parametrize("density, scale, weights", [(0.2, 1.0, (1, 1, 1)), (0.5, 0.7, (1, 1, 1)), (0.4, 1, (1, 2, 5))])
def test_ties_number_by_number(density, scale, weights):
    base, *models = tensors(1, 2, 3, 4)
    w, changes = flat(base), []
    for each in models:
        change = flat(each) - w
        kept = max(1, round(density * len(change)))
        change[np.argsort(-abs(change))[kept:]] = 0
        changes.append(change)
    want = w.copy()
    for place in range(len(w)):
        here = [(a, change[place]) for a, change in zip(weights, changes)]
        sign = np.sign(sum(a * value for a, value in here))
        agree = [(a, value) for a, value in here if value and np.sign(value) == sign]
        if agree:
            want[place] += scale * sum(a * value for a, value in agree) / sum(a for a, _ in agree)
    how = f"ties:density={density},scale={scale},weights=({','.join(map(str, weights))})"
    assert apart(make_blend(how)(models, base), want) < 1e-13


def test_dare_draws_away_and_scales_up():
    base, one, two = tensors(1, 2, 3)
    made = make_blend("dare:drop=0.6,seed=5,weights=(2,1)")([one, two], base)
    for name in base:
        want = base[name].clone()
        for a, place, each in ((2, 0, one), (1, 1, two)):
            kept = uniform(("dare", 5, place, name), tuple(want.shape), want.device) >= 0.6
            want += a * kept * (each[name] - base[name]) / 0.4
        assert (made[name] - want).abs().max() < 1e-13
    zero, ones = {"a": torch.zeros(200_000, dtype=F64)}, {"a": torch.ones(200_000, dtype=F64)}
    drawn = make_blend("dare:drop=0.9")([ones], zero)["a"]
    assert set(drawn.unique().tolist()) == {0.0, 1 / (1 - 0.9)} and abs(float(drawn.mean()) - 1) < 0.03
    whole = make_blend("dare:drop=0")([one, two], base)
    assert apart(whole, flat(base) + 0.5 * (flat(one) + flat(two) - 2 * flat(base))) < 1e-14


@pytest.mark.parametrize("way", WAYS)
def test_a_blend_keeps_what_all_promise(way):
    assert all(verdict.ok for _, verdict in check(f"blend:{way}"))


def test_a_blend_that_writes_into_its_models_is_caught(monkeypatch):
    from blockyard.blend.linear import Linear

    def wrong(self, models, base):
        models[0]["head.norm.gain"].mul_(2)
        return dict(models[0])

    monkeypatch.setattr(Linear, "__call__", wrong)
    assert [v.claim for _, v in check("blend:linear") if not v.ok] == ["of equal models makes them, to the bit"]


@pytest.mark.parametrize("recipe", ["llama", "mamba2", "olmo_hybrid", "powernorm", "universal_transformer"])
def test_every_kind_of_model_and_of_numbers(recipe):
    one, two = (by.build(recipe, "tiny", seed=seed).bfloat16() for seed in (1, 2))
    made = by.merge([one, two], "linear:weights=(3,1)")
    assert made.spec == one.spec and {p.dtype for p in made.parameters()} == {torch.bfloat16}
    first, other, mixed = (dict(each.named_parameters()) for each in (one, two, made))
    for name, p in mixed.items():
        want = (0.75 * first[name].double() + 0.25 * other[name].double()).bfloat16()
        assert torch.equal(p, want), name
    alone = by.merge([one, one, one], "linear")
    assert all(torch.equal(value, stored(one)[name]) for name, value in stored(alone).items())


def test_what_is_not_of_one_spec_is_refused_by_its_first_difference():
    one = by.build("llama", "tiny")
    for other, says in (
        (by.build("llama", "tiny", **{"mixer.heads": 2}), "heads is 1 in the first and 2"),
        (by.build("llama", "tiny", dim=48), "dim is 32"),
        (by.build("llama", "tiny", channel="mlp"), "name is .gated. in the first and .mlp."),
    ):
        with pytest.raises(by.UsageError, match=f"not of one spec: .*{says}"):
            by.merge([one, other])
    with pytest.raises(by.UsageError, match=r"needs the model that these were trained from \(--base\)"):
        by.merge([one, one], "ties")
    with pytest.raises(by.UsageError, match="does not look at a base"):
        by.merge([one, one], "linear", one)
    with pytest.raises(by.UsageError, match="slerp takes 1 to 2 models, not 3"):
        by.merge([one, one, one], "slerp")
    with pytest.raises(by.UsageError, match="are 3, and there are 2 models"):
        by.merge([one, one], "linear:weights=(1,2,3)")
    with pytest.raises(by.UsageError, match="did you mean ties"):
        by.merge([one, one], "tied")
    for weights in ("(2,-1)", "(0,0)"):  # those of a mean; of task vectors they may be below 0
        with pytest.raises(by.UsageError, match="0 or more, with a sum above 0"):
            by.merge([one, one], f"linear:weights={weights}")
    packed, others = (by.quantise(by.build("llama", "tiny", seed=seed), 8)[0] for seed in (1, 2))
    with pytest.raises(by.UsageError, match="merge first, then quantise"):
        merge([packed, others], "linear")


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
@pytest.mark.parametrize("place, says", [(1, "model 2"), (2, "the base")])
def test_numbers_that_are_none_are_refused(odd, place, says):
    every = [by.build("llama", "tiny", seed=seed) for seed in (1, 2, 3)]
    every[place].head.norm.gain.data[3] = odd
    with pytest.raises(by.UsageError, match=f"head.norm.gain of {says} holds numbers that are not finite"):
        by.merge(every[:2], "ties", every[2])


def test_what_grows_beyond_its_kind_of_number_is_refused():
    one, two = (by.build("llama", "tiny", seed=seed).half() for seed in (1, 2))
    with pytest.raises(by.UsageError, match="would hold numbers that do not fit float16"):
        by.merge([one], "task_arithmetic:scale=1000000", two)


def test_the_verb(tmp_path, capsys):
    words = b'{"some": "words"}'
    folders = [str(by.build("llama", "tiny", seed=s).save(tmp_path / f"m{s}", tokenizer=words)) for s in (1, 2, 3)]
    out = str(tmp_path / "out")
    assert main(["merge", *folders[:2], "--with", "ties:density=0.5", "--base", folders[2], "--out", out]) == 0
    one, two, base = map(by.load, folders)
    want = by.merge([one, two], "ties:density=0.5", base)
    assert all(torch.equal(value, stored(want)[name]) for name, value in stored(by.load(out)).items())
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == words
    (tmp_path / "m1" / "generation_config.json").write_text('{"temperature": 0.5}')
    assert main(["merge", *folders[:2], "--out", out]) == 0  # again, with how the first one writes
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["temperature"] == 0.5
    base.save(folders[2], tokenizer=b"others")
    capsys.readouterr()
    for more, says in (
        (["--with", "ties"], "--base"),
        (["--with", "tees"], "did you mean ties"),
        ([folders[2]], "their ids mean other words"),
        (["--with", "ties", "--base", folders[2]], "their ids mean other words"),
        ([f"{out}x"], "no such file or folder"),
    ):
        assert main(["merge", *folders[:2], *more, "--out", str(tmp_path / "no")]) == 2
        said = capsys.readouterr().err
        assert says in said and len(said.splitlines()) <= 2 and not (tmp_path / "no").exists()
