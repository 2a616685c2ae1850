"""Adapters that answer by names of their own: in the memory of their model, and as each says what it says offline."""

import pytest
import torch

pytest.importorskip("fastapi")
from models_to_serve import saved
from starlette.testclient import TestClient

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.interop.folder import load_onto
from blockyard.model.attach import attached, attachments, place
from blockyard.serve.app import make_app
from blockyard.serve.limits import Limits
from blockyard.serve.run import adapters_of, engines_of, names_of
from blockyard.transform._base import make_transform

LIMITS = Limits(rows=3, waiting=8, tokens=200)
KINDS = ("lora:rank=2", "dora:rank=2", "ia3", "prefix:length=3")
PROMPT = "the same beginning of a text"


def shaken(made, seed):
    """What is attached says something."""
    draw, own = torch.Generator().manual_seed(seed), dict(made.named_parameters())
    with torch.no_grad():
        for name in attached(made):
            own[name].add_(0.7 * torch.randn(own[name].shape, generator=draw).to(own[name].dtype))
    return made


def adapter(base, kind, folder, seed=1):
    made = shaken(make_transform(kind).apply(by.load(base)).model, seed)
    by.save_attachment(made, folder, of=base)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    room = tmp_path_factory.mktemp("adapters")
    base = saved(room / "base", "llama")
    made = {kind.partition(":")[0]: adapter(base, kind, room / f"a{n}") for n, kind in enumerate(KINDS)}
    return {"base": base, **made}


@pytest.fixture
def served(folders):
    named = {"base": folders["base"]}
    words = [f"{name}={folder}" for name, folder in folders.items() if name != "base"]
    engines = engines_of(named, adapters_of(words, named), LIMITS)
    with TestClient(make_app(engines, LIMITS)) as client:
        client.engines = engines
        yield client


def offline(folder, words, prompt, tokens=12):
    steps = by.generate(by.load(folder), torch.tensor([words.prompt(prompt)]), tokens, by.SamplingParams(temperature=0))
    return words.decode([int(step.tokens) for step in steps])


def test_each_says_what_it_says_offline_and_all_are_listed(served, folders):
    words = served.engines["base"].words
    listed = served.get("/v1/models").json()["data"]
    assert [each["id"] for each in listed] == ["base", "lora", "dora", "ia3", "prefix"]
    assert [each.get("parent") for each in listed] == [None, "base", "base", "base", "base"]
    for prompt, known in [(PROMPT, 0), (PROMPT + "!", len(PROMPT))]:  # the second time from each one's own store
        wanted = {name: offline(folder, words, prompt) for name, folder in folders.items()}
        assert len(set(wanted.values())) == 5  # or the wrong model could answer
        for name, text in wanted.items():
            body = dict(model=name, prompt=prompt, max_tokens=12, temperature=0)
            told = served.post("/v1/completions", json=body).json()
            assert told["choices"][0]["text"] == text, name
            cached = told["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert cached == known, f"{name} found {cached} tokens, and itself had read {known}"


def test_what_stays_is_the_memory_of_the_base(served):
    base = served.engines["base"].model
    held = {name: x.untyped_storage().data_ptr() for name, x in [*base.named_parameters(), *base.named_buffers()]}
    for name, engine in served.engines.items():
        if name == "base":
            continue
        taken, own = attachments(engine.model), set(attached(engine.model))
        tensors = dict([*engine.model.named_parameters(), *engine.model.named_buffers()])
        kept = {place(path, taken): x for path, x in tensors.items() if path not in own}
        assert own and kept.keys() == held.keys()
        assert all(x.untyped_storage().data_ptr() == held[path] for path, x in kept.items()), name


def test_a_model_that_learns_has_memory_of_its_own(folders):
    """Sharing is for answers alone."""
    base = by.load(folders["base"])
    for name in ("lora", "dora", "ia3", "prefix"):
        made = by.load_attachment(base, folders[name])
        assert not {x.data_ptr() for x in made.parameters()} & {x.data_ptr() for x in base.parameters()}


def test_an_adapter_of_peft_answers_too(folders, tmp_path):
    pytest.importorskip("transformers")
    theirs = by.export(folders["base"], to="transformers:llama", out=tmp_path / "theirs").out
    ours = adapter(theirs, "lora:rank=2", tmp_path / "ours")
    peft = str(by.save_peft(ours, tmp_path / "peft"))
    engines = engines_of({"m": theirs}, adapters_of([f"p={peft}"], {"m": theirs}), LIMITS)
    with TestClient(make_app(engines, LIMITS)) as client:
        told = client.post("/v1/completions", json=dict(model="p", prompt=PROMPT, max_tokens=12, temperature=0)).json()
    text = told["choices"][0]["text"]
    assert text == offline(peft, engines["m"].words, PROMPT) != offline(theirs, engines["m"].words, PROMPT)
    held = {x.data_ptr() for x in engines["m"].model.parameters()}
    assert held < {x.data_ptr() for x in engines["p"].model.parameters()}


def test_wrong_adapters_are_a_line(folders, tmp_path):
    base, lora = folders["base"], folders["lora"]
    one, two = {"base": base}, names_of([base, f"other={base}"])
    other = saved(tmp_path / "another", "llama", seed=5)
    for words, models, says in [
        (["x"], one, "give NAME=FOLDER"), (["=x"], one, "give NAME=FOLDER"), (["x="], one, "give NAME=FOLDER"),
        ([f"base={lora}"], one, "two models are called base"), ([f"a={lora}"] * 2, one, "two models are called a"),
        ([f"a={lora}"], two, "which is not one of"), ([f"a={other}"], two, "holds no adapter"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=says):
            adapters_of(words, models)
    assert adapters_of([f"a={lora}"], {"base": base, "b": other}) == {"a": (lora, "base")}
    for folder, home, says in [
        (lora, other, "other numbers"), (base, base, "holds no adapter"),
        (str(tmp_path / "no"), base, "holds no adapter"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=says):
            load_onto(by.load(home), home, folder)
