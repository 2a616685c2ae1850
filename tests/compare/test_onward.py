"""Going on from a saved model: its own spec, numbers and tokeniser; adapters that learn while all else stays."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import blockyard as by
from blockyard.cli import main
from blockyard.compare.compare import train_one
from blockyard.compare.documents import Plan
from blockyard.compare.plan.onward import digest_of
from blockyard.compare.report.format import adapters
from blockyard.data.foreign import Foreign
from blockyard.data.tokens import Bpe, Bytes
from blockyard.model.attach import attached, attachments, detach
from blockyard.model.find import find_model
from blockyard.model.save import stored
from blockyard.saved.adapt import Adapted, adapt
from blockyard.train import loop
from tests.data.tokenizers_of_others import llama2, llama3
from tests.data.tokenizers_of_others import save as save_words
from tests.in_process import InProcess

SMALL = dict(tokens="1k", batch=8, quiet=True)
WORDS = ("where", "birds", "sing", "loud", "near", "green", "hills", "rivers", "run", "down", "to", "blue", "seas")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr("blockyard.compare.compare.Pool", InProcess)
    monkeypatch.setattr("blockyard.compare.run.job.by_length", lambda *_: {})


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    path = tmp_path_factory.mktemp("other") / "b.txt"
    draw = random.Random(5)
    path.write_text("\n".join(" ".join(draw.choices(WORDS, k=9)) for _ in range(500)))
    return str(path)


@pytest.fixture(scope="module")
def codec(other):
    return Bpe.train([Path(other).read_bytes()], 280)


@pytest.fixture(scope="module")
def base(tmp_path_factory, codec):
    """A model of ours with a vocabulary that is larger than its tokeniser's, and a tokeniser that nobody else has."""
    folder = tmp_path_factory.mktemp("base") / "mine"
    made = by.build("llama", "tiny", vocab=300, **{"model.length": 24})
    return made.save(folder, tokenizer=codec.to_json())


def numbers(model):
    return {name: value.clone() for name, value in stored(model).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_begins_from_the_numbers_and_the_tokeniser_of_the_folder(base, other, codec, tmp_path, monkeypatch):
    began, batches = [], []
    held = loop.Run.__init__

    def watched(run, system, model, source, *rest):
        began.append(numbers(model))
        batches.append(source.next(0))
        held(run, system, model, source, *rest)

    monkeypatch.setattr(loop.Run, "__init__", watched)
    report = train_one(init=base, data=other, out=tmp_path / "out", **SMALL)
    before = by.load(base)
    assert same(began[-1], numbers(before))  # the first ones are drawn: the speed is measured without them
    assert {int(i) for i in np.unique(batches[-1])} <= set(codec.encode(Path(other).read_text()).tolist())
    (arm,) = report.arms
    after = by.load(find_model(tmp_path / "out"))
    assert after.spec == before.spec and not same(numbers(after), numbers(before)) and arm.name == "mine"
    assert report.plan.same.length == 24 and report.plan.data.codec == f"saved:{codec.hash[:12]}"
    assert (find_model(tmp_path / "out") / "tokenizer.json").read_bytes() == codec.to_json()
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())["arms"][0]
    assert plan["system"]["settings"]["init"] == digest_of(before) and plan["init"] == str(base)
    assert digest_of(before)[:12] in str(report) and "--init" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    "beside",
    [pytest.param((), id="all"), pytest.param(("lora:rank=2,dropout=0.2",), id="adapter", marks=pytest.mark.slow)],
)
def test_what_was_stopped_goes_on_to_the_same_bits(base, other, tmp_path, monkeypatch, beside):
    how = dict(data=other, adapters=beside, save_seconds=0.0, **SMALL, log=())
    whole = train_one(init=base, out=tmp_path / "whole", **how)
    held = loop.Run.advance

    def stopped(run):
        if run.settings.save_seconds == 0.0 and run.step == 3:
            raise KeyboardInterrupt
        return held(run)

    monkeypatch.setattr("blockyard.compare.run.job.Settings", lambda **said: loop.Settings(**said | {"log_every": 1}))
    monkeypatch.setattr(loop.Run, "advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_one(init=base, out=tmp_path / "part", **how)
    assert list((tmp_path / "part").glob("runs/*/*.ckpt"))
    monkeypatch.setattr(loop.Run, "advance", held)
    again = train_one(init=base, out=tmp_path / "part", **how)
    assert again.arms[0].score == whole.arms[0].score
    a, b = (numbers(by.load(find_model(tmp_path / name))) for name in ("whole", "part"))
    assert same(a, b)


@pytest.mark.slow
def test_a_kill_loses_nothing(base, other, tmp_path):
    command = [sys.executable, "-m", "blockyard", "train", "--init", str(base), "--data", other, "--tokens", "200k"]
    for name in ("whole", "killed"):
        if name == "killed":
            child = subprocess.Popen([*command, "--out", str(tmp_path / name)], start_new_session=True)
            while child.poll() is None and not list((tmp_path / name).glob("runs/*/*.ckpt")):
                time.sleep(0.2)
            assert child.poll() is None
            child.send_signal(signal.SIGKILL)
            child.wait()
        subprocess.run([*command, "--out", str(tmp_path / name)], check=True)
    assert same(*(numbers(by.load(find_model(tmp_path / name))) for name in ("whole", "killed")))


def test_another_model_in_the_same_folder_is_another_run(base, other, tmp_path):
    folder = by.load(base).save(tmp_path / "moves", tokenizer=(base / "tokenizer.json").read_bytes())
    train_one(init=folder, data=other, out=tmp_path / "out", **SMALL)
    changed = by.load(folder)
    changed.head.norm.gain.data[0] += 1
    changed.save(folder, tokenizer=(base / "tokenizer.json").read_bytes())
    train_one(init=folder, data=other, out=tmp_path / "out", **SMALL)
    runs = list((tmp_path / "out" / "runs").iterdir())
    assert len(runs) == 2


@pytest.mark.parametrize("words, says", [
    (["train", "llama", "--init", "{m}"], "come from {m}; leave out TARGET"),
    (["train", "--init", "{m}", "--params", "1M"], "leave out --params"),
    (["train", "--init", "{m}", "--codec", "bytes"], "leave --codec out"),
    (["train", "--init", "{m}", "--set", "mixer.heads=2"], "leave out --set"),
    (["train"], "nothing to train"),
    (["train", "llama", "--rate", "0.1"], "for a model that goes on"),
    (["train", "--init", "{m}x"], "did you mean {m}?"),
    (["train", "--init", "{m}", "--task", "mqar:pairs=2,length=16,keys=400"], "ask for"),
    (["train", "--init", "{m}", "--task", "mlm"], "read both ways"),
    (["adapt", "{m}"], "nothing to attach"),
    (["adapt", "{m}", "--with", "lora:on=*.qvk"], "no projection stands at *.qvk; among them are steps.0.part.qkv"),
    (["adapt", "{m}", "--with", "lora:on=(*.qkv,*.q)"], "no projection stands at *.q;"),
    (["adapt", "{m}", "--with", "loar"], "did you mean lora"),
    (["adapt", "{m}", "--with", "quantise"], "attaches nothing"),
    (["adapt", "{m}", "--with", "bottleneck", "--merge"], "attached to no projection"),
    (["adapt", "{m}", "--with", "bottleneck", "--with", "lora", "--merge"], "is no matrix"),
])  # fmt: skip
def test_a_wrong_request_is_named_in_a_line_and_leaves_nothing(words, says, base, other, tmp_path, capsys):
    data = [] if "--task" in words else ["--data", other]
    words = [word.format(m=base) for word in words]
    assert main([*words, *data, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert says.format(m=base) in said and "Traceback" not in said and len(said.strip().splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_model_are_named(base, other, tmp_path, capsys):
    broken = by.load(base).save(tmp_path / "broken", tokenizer=b"abc")
    for folder, says in ((broken, "cannot be used"), (by.load(base).save(tmp_path / "mute"), "reads no text")):
        assert main(["train", "--init", str(folder), "--data", other, "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
    packed, _ = by.quantise(by.load(base), 8)
    packed.save(tmp_path / "packed", tokenizer=(base / "tokenizer.json").read_bytes())
    assert main(["train", "--init", str(tmp_path / "packed"), "--data", other, "--out", str(tmp_path / "out")]) == 2
    assert "does not learn; blockyard adapt" in capsys.readouterr().err


@pytest.mark.parametrize("bits", [None, 8, pytest.param(4, marks=pytest.mark.slow)])
def test_an_adapter_learns_and_nothing_else(base, other, tmp_path, bits):
    before, words = by.load(base), (base / "tokenizer.json").read_bytes()
    if bits:
        before = by.quantise(before, bits)[0]
    folder = before.save(tmp_path / "base", tokenizer=words)
    done = adapt(folder, ["lora:rank=2", "bottleneck:inner=3"], data=other, out=tmp_path / "out", **SMALL)
    assert isinstance(done, Adapted) and [str(each).partition(",")[0] for each in done.covered] == [
        "lora on 8 of 8 projections", "bottleneck on 4 of 4 sublayers"]  # fmt: skip
    both = by.load(tmp_path / "out")
    held = {name.rpartition(".")[2] for name in attached(both)}
    assert held == {"down", "up", "down_bias", "up_bias"} or len(held) >= 2
    assert any(bool(dict(both.named_parameters())[name].any()) for name in attached(both) if name.endswith(".up"))
    assert same(numbers(detach(both)[0]), numbers(by.load(folder)))
    kept = sum(f.stat().st_size for f in find_model(tmp_path / "out").iterdir())
    own = sum(stored(both)[name].numel() * 4 for name in attached(both))
    assert own < kept < own + len(words) + 10_000
    assert (find_model(tmp_path / "out") / "tokenizer.json").read_bytes() == words


def test_merged_it_is_one_model_that_says_the_same(base, other, tmp_path, capsys):
    out = str(tmp_path / "out")
    base = by.load(base).save(tmp_path / "base", tokenizer=(base / "tokenizer.json").read_bytes(),
                              beside={"generation_config.json": b'{"temperature": 0.5}'})  # fmt: skip
    words = ["adapt", str(base), "--with", "dora:rank=2", "--data", other, "--tokens", "1k", "--out", out, "--merge"]
    assert main([*words, "--batch", "8", "--rate", "0.01", "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["merged"] == f"{out}/merged" and "dora on 8 of 8 projections" in said.err
    both, one = by.load(out), by.load(told["merged"])
    ids = torch.arange(40).view(2, 20)
    assert not attachments(one) and (one(ids).logits - both(ids).logits).abs().max() < 1e-5
    assert (by.load(base)(ids).logits - both(ids).logits).abs().max() > 1e-3
    for verb in (["eval", out, "--data", other], ["generate", out, "--prompt", "birds", "--tokens", "3"]):
        assert main(verb) == 0
    assert (Path(out) / "merged" / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert json.loads((Path(out) / "merged" / "generation_config.json").read_text())["temperature"] == 0.5
    assert main(["transform", out, "merge", "--out", str(tmp_path / "again")]) == 0
    assert same(numbers(by.load(tmp_path / "again")), numbers(one))
    assert main(["adapt", out, *words[2:-1], "--out", str(tmp_path / "more")]) == 2
    assert "has something attached" in capsys.readouterr().err


def test_an_adapter_whose_model_is_gone_says_so(base, other, tmp_path, capsys):
    folder = by.load(base).save(tmp_path / "gone", tokenizer=(base / "tokenizer.json").read_bytes())
    adapt(folder, ["ia3"], data=other, out=tmp_path / "out", **SMALL)
    folder.rename(tmp_path / "elsewhere")
    assert main(["eval", str(tmp_path / "out"), "--data", other]) == 2
    assert "which is not there any more" in capsys.readouterr().err
    made = by.load_attachment(by.load(tmp_path / "elsewhere"), find_model(tmp_path / "out"))
    assert len(attachments(made)) == 4


def test_a_plan_that_is_looked_at_trains_nothing(base, other, tmp_path):
    plan = adapt(base, ["lora"], data=other, out=tmp_path / "out", dry_run=True, **SMALL)
    assert isinstance(plan, Plan) and adapters(plan.arms[0]) == ["lora"] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("beside", [(), ("lora:rank=2",)], ids=["all", "adapter"])
def test_a_large_one_is_measured_by_few_rows_of_itself(base, other, monkeypatch, beside):
    """Of no recipe, so no layer of it is left out."""
    monkeypatch.setattr("blockyard.compare.compare.SOON", 0)
    plan = train_one(init=base, data=other, adapters=beside, dry_run=True, **SMALL)
    assert isinstance(plan, Plan) and plan.speed[plan.arms[0].id].step > 0 and "few rows" in plan.measured


def their_llama(folder, vocab):
    """What transformers leaves for a Llama of one layer, but for its tokenizer."""
    config = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, vocab_size=vocab)
    shapes = {f"model.layers.0.self_attn.{x}_proj.weight": (16, 16) for x in "qkvo"}
    shapes |= {f"model.layers.0.mlp.{x}_proj.weight": (24, 16) for x in ("gate", "up")}
    shapes |= {"model.layers.0.mlp.down_proj.weight": (16, 24), "model.embed_tokens.weight": (vocab, 16)}
    norms = ("layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm")
    shapes |= {f"model.{x}.weight": (16,) for x in norms} | {"lm_head.weight": (vocab, 16)}
    draw = torch.Generator().manual_seed(0)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    save_file({n: torch.randn(s, generator=draw) for n, s in shapes.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("kind", [llama3, llama2])
def test_a_model_goes_on_by_the_tokenizer_of_its_makers(kind, other, tmp_path, capsys):
    """One with special tokens, a beginning of its own and a chat template; what comes of it still has all of that."""
    theirs = their_llama(tmp_path / "theirs", 512)
    save_words(kind, theirs, chat_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
    (theirs / "generation_config.json").write_text('{"temperature": 0.5}')
    words = by.tokenizer(theirs)
    assert words.codec.before and isinstance(words.codec, Foreign)
    asked = ["--data", other, "--tokens", "1k", "--batch", "8", "--length", "16"]
    assert main(["train", "--init", str(theirs), *asked, "--out", str(tmp_path / "whole")]) == 0
    added = ["adapt", str(theirs), "--with", "lora:rank=2", "--peft", "--out", str(tmp_path / "added")]
    assert main([*added, *asked]) == 0
    for made in (tmp_path / "whole", tmp_path / "added", tmp_path / "added" / "peft"):
        found = by.tokenizer(made)
        assert found.encode("near green hills") == words.encode("near green hills")
        assert found.chat([{"role": "user", "content": "x"}]) == words.chat([{"role": "user", "content": "x"}])
        capsys.readouterr()
        assert main(["eval", str(made), "--data", other]) == 0
        assert main(["generate", str(made), "--prompt", "birds", "--tokens", "3"]) == 0
        assert "temperature 0.5" in capsys.readouterr().err


def test_a_model_of_transformers_is_adapted_and_its_adapter_goes_to_peft(other, tmp_path, capsys):
    theirs = their_llama(tmp_path / "theirs", 256)
    Bytes().save(theirs / "tokenizer.json")
    words = ["adapt", str(theirs), "--with", "lora:rank=2,on=*.qkv", "--data", other, "--tokens", "1k", "--batch", "8"]
    assert main([*words, "--length", "16", "--peft", "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "peft" / "adapter_config.json").read_text())
    assert told["r"] == 2 and [name.rpartition(".")[2] for name in told["target_modules"]] == [
        "k_proj", "q_proj", "v_proj"]  # fmt: skip
    ids = torch.arange(40).view(2, 20)
    back, ours = by.load(tmp_path / "out" / "peft"), by.load(tmp_path / "out")
    assert (back(ids).logits - ours(ids).logits).abs().max() < 1e-5  # three pairs as one: sums in another order
    assert (back.double()(ids).logits - ours.double()(ids).logits).abs().max() < 1e-13
    assert (by.load(theirs)(ids).logits - by.load(tmp_path / "out")(ids).logits).abs().max() > 1e-4
    capsys.readouterr()
    assert main([*words, "--with", "bottleneck", "--peft", "--out", str(tmp_path / "no")]) == 2
    assert "peft keeps one of LoRA, DoRA and IA3" in capsys.readouterr().err and not (tmp_path / "no").exists()
