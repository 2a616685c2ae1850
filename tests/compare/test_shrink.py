"""A chain of transforms on a saved model: what each step is, saves and loses; going on; what is refused."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.cli import main
from blockyard.core.files import sealed
from blockyard.data.tokens import Bytes
from blockyard.model.save import load_model, stored
from blockyard.saved import shrink as home
from blockyard.transform._base import chain, make_transform
from blockyard.transform.quantise import quantise

ASKED = dict(batch=4, length=16)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(home, "ROUNDS", 1)
    monkeypatch.setattr("blockyard.compare.plan.after.SHOWN", 128)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    draw = np.random.default_rng(0)
    path.write_text("\n".join(" ".join(draw.choice(["green", "hills", "far", "away"], 8)) for _ in range(300)))
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    made = by.build("llama", "tiny", seed=3)
    return str(made.save(tmp_path_factory.mktemp("base") / "mine", tokenizer=Bytes().to_json()))


@pytest.fixture(scope="module")
def whole(base, text, tmp_path_factory):
    """A chain that was gone through at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home, "ROUNDS", 1)
        patch.setattr("blockyard.compare.plan.after.SHOWN", 128)
        steps = ["drop:steps=1", "recover:tokens=192,rate=1", "quantise:bits=8"]
        out = tmp_path_factory.mktemp("whole") / "chain"
        return by.shrink(base, steps, data=text, out=out, **ASKED), out


def contents(folder):
    """The digests of the models of a chain, by their paths."""
    found = sorted(Path(folder).glob("*/model/*"))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_each_stage_is_what_its_transform_makes_of_the_one_before(whole, base):
    done, _ = whole
    first, dropped, recovered, packed = (load_model(stage.folder).eval() for stage in done.stages)
    assert first.spec == by.load(base).spec
    ids = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(0))
    (gone,) = done.stages[1].became.covered
    at = int(gone.removeprefix("steps.").partition(".")[0])
    flow = first.start(by.Batch(ids))
    flow = first.run(flow, [step for step in range(len(first.steps)) if step != at])  # all but the one that goes
    assert torch.allclose(first.finish(flow).logits, dropped(ids).logits, atol=1e-6)
    assert recovered.spec == dropped.spec
    assert any(not torch.equal(a, b) for a, b in zip(stored(dropped).values(), stored(recovered).values()))
    assert torch.equal(packed(ids).logits, quantise(recovered, 8)[0].eval()(ids).logits)


def test_figures_are_those_of_the_models(whole):
    done, _ = whole
    for stage in done.stages:
        kept = sum(tensor.numel() * tensor.element_size() for tensor in stored(load_model(stage.folder)).values())
        assert stage.model_bytes == kept
    assert done.stages[1].flops_per_token < done.stages[0].flops_per_token
    assert done.stages[0].faster == [] and all(len(stage.faster) == 3 for stage in done.stages[1:])
    for stage, lost in zip(done.stages[1:], done.lost):
        gap = stage.score - done.stages[0].score
        assert lost.name == stage.name and lost.low <= lost.difference <= lost.high
        assert lost.difference == pytest.approx(gap, rel=1e-5)  # six digits of it
    assert done.lost[1].difference < done.lost[0].difference  # it has learned again, here more than it knew


def test_a_chain_goes_on_where_it_stopped_to_the_same_bytes(whole, base, text, tmp_path, monkeypatch):
    done, out = whole
    steps, asked = ["drop:steps=1", "recover:tokens=192,rate=1", "quantise:bits=8"], dict(data=text, **ASKED)
    make, made = home.become, []

    def once(model, job, *more):
        made.append(job.then[-1]["name"])
        if len(made) == 2:
            raise KeyboardInterrupt
        return make(model, job, *more)

    monkeypatch.setattr(home, "become", once)
    with pytest.raises(KeyboardInterrupt):
        by.shrink(base, steps, out=tmp_path / "c", **asked)
    again = by.shrink(base, steps, out=tmp_path / "c", **asked)
    assert made == ["drop", "recover", "recover", "quantise"]
    assert contents(tmp_path / "c") == contents(out)
    assert [stage.blocks for stage in again.stages] == [stage.blocks for stage in done.stages]
    assert by.shrink(base, steps, out=tmp_path / "c", **asked).stages == again.stages and len(made) == 4
    further = by.shrink(base, [*steps[:2], "gptq:bits=3"], out=tmp_path / "d", **asked)
    assert "codes" in str(further) and len(further.stages) == 4


def test_blocks_of_uneven_size_count_by_their_share_of_the_score(tmp_path):
    shares, rng = np.array([4.0, *[1.0] * 16]) / 20, np.random.default_rng(0)
    first, now = rng.normal(3, 0.1, 17), rng.normal(3, 0.1, 17)
    now[0] += 1.0  # the large block is the one that loses
    stages = [
        home.Stage(name, "", "", 1, 1, 1.0, float(shares @ blocks), blocks.tolist())
        for name, blocks in ((home.FIRST, first), ("1 drop", now))
    ]
    for better, sign in (("lower", 1), ("higher", -1)):
        (lost,), _ = home._lost(stages, shares, better, 0.01, tmp_path / better)
        assert lost.difference == pytest.approx(sign * shares @ (now - first), rel=1e-5)
        assert lost.low < lost.difference < lost.high
    for shift, said in ((0.5, "worse"), (-0.5, "better")):  # whichever of the two the judge names first
        now = first + shift + rng.normal(0, 0.01, 17)
        stages[1] = dataclasses.replace(stages[1], score=float(shares @ now), blocks=now.tolist())
        assert home._lost(stages, shares, "lower", 0.01, tmp_path / said)[0][0].verdict == said


def test_a_chain_that_was_moved_goes_on_where_it_lies(whole, base, text, tmp_path):
    done, out = whole
    moved = Path(shutil.copytree(out, tmp_path / "moved"))
    (moved / "3-quantise" / "stage.json").unlink()
    for stage in ("1-drop", "2-recover"):  # as a folder that was named from elsewhere: nothing is there
        path = moved / stage / "stage.json"
        said = json.loads(path.read_text())
        said.pop("checksum")
        path.write_bytes(sealed({**said, "folder": f"chain/{stage}/model"}))
    steps = ["drop:steps=1", "recover:tokens=192,rate=1", "quantise:bits=8"]
    again = by.shrink(base, steps, data=text, out=moved, **ASKED)
    assert [stage.blocks for stage in again.stages] == [stage.blocks for stage in done.stages]
    assert all(Path(stage.folder).is_relative_to(moved) for stage in again.stages[1:])


def test_what_must_not_be_is_refused_in_a_line(whole, base, text, tmp_path):
    _, out = whole
    for steps, more, says in [
        ([], {}, "name a step"),
        (["gptq:bits=4"], {"recover": "2k"}, "leaves nothing that could learn"),
        (["gptq:bits=4", "recover:tokens=2k"], {}, "recover trains"),
        (["dropp"], {}, "did you mean drop"),
        (["drop:steps=99"], {}, "99 of 2 mixers cannot go"),
        (["drop:steps=1"], {"out": Path(base).parent}, "name another --out"),
        (["drop:steps=1"], {"out": Path(base) / "in"}, "name another --out"),
        (["quantise:bits=8"], {"out": out}, "of another chain"),
        (["drop:steps=2"], {"out": out}, "was made of other things"),
    ]:
        before = contents(out)
        with pytest.raises(by.UsageError, match=says):
            by.shrink(base, steps, **({"data": text, "out": tmp_path / "x", **ASKED} | more))
        assert not (tmp_path / "x").exists() and contents(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert main(["shrink", base, "--with", "drop:steps=1", "--out", str(tmp_path / "mine")]) == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    for where in ("letter.txt", "letter.txt/in"):
        with pytest.raises(by.UsageError, match="cannot write to"):
            by.shrink(base, ["drop:steps=1"], data=text, out=tmp_path / "mine" / where, **ASKED)
    (tmp_path / "y" / "0-original").mkdir(parents=True)  # where a call was stopped before it had its first figure
    home._check_apart(Path(base), tmp_path / "y")
    (tmp_path / "y" / "0-original" / "letter.txt").write_text("dear")
    with pytest.raises(by.UsageError, match="holds something else"):
        home._check_apart(Path(base), tmp_path / "y")


def test_recovery_goes_before_the_weights_are_put_in_place(monkeypatch):
    assert home._with_recovery(["drop:steps=1", "rtn", "quantise"], "2k") == [
        "drop:steps=1", "recover:tokens=2000", "rtn", "quantise",
    ]  # fmt: skip
    assert home._with_recovery(["drop:steps=1"], 500) == ["drop:steps=1", "recover:tokens=500"]
    assert [made.trained for made in chain(["drop", "recover:tokens=3k"])] == [0, 3000]
    with pytest.raises(by.UsageError, match="needs to be told how"):
        make_transform("recover").apply(by.build("llama", "tiny"))
