"""A server that guesses ahead: the same texts, by a draft or from the text itself, beside adapters and stops."""

import pytest
import torch

pytest.importorskip("fastapi")
from models_to_serve import saved
from starlette.testclient import TestClient

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.serve.app import make_app
from blockyard.serve.drafts import Drafts
from blockyard.serve.engine import Engine
from blockyard.serve.limits import Limits
from blockyard.transform._base import make_transform

LIMITS = Limits(rows=3, waiting=8, tokens=200)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    room = tmp_path_factory.mktemp("guessed")
    return {name: saved(room / name, recipe, seed) for name, recipe, seed in [
        ("hybrid", "mamba2_hybrid", 0), ("draft", "mamba2_hybrid", 0), ("other", "llama", 1)]}  # fmt: skip


def offline(engine, prompt, tokens, **rules):
    ids = torch.tensor([engine.words.prompt(prompt)])
    steps = by.generate(engine.model, ids, tokens, by.SamplingParams(**{"temperature": 0, **rules}))
    return engine.words.decode([int(step.tokens) for step in steps])


@pytest.mark.parametrize("draft", ["draft", "other", None])
def test_the_texts_are_those_of_a_server_that_does_not_guess(draft, folders):
    drafts = Drafts.of(4, draft and folders[draft])
    engine = Engine("hybrid", folders["hybrid"], LIMITS, drafts=drafts)
    with TestClient(make_app({"hybrid": engine}, LIMITS)) as client:
        for prompt in ("again and again and again and", "x"):
            body = dict(model="hybrid", prompt=prompt, max_tokens=40, temperature=0)
            text = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
            assert text == offline(engine, prompt, 40)
            stop = text[len(text) // 2 :][:2]
            told = client.post("/v1/completions", json={**body, "stop": stop}).json()["choices"][0]
            assert (told["text"], told["finish_reason"]) == (text[: text.index(stop)], "stop")
        more = body["prompt"] + text  # a second turn finds the first
        asked = {**body, "prompt": engine.words.prompt(more), "max_tokens": 5}
        told = client.post("/v1/completions", json=asked).json()
        assert told["choices"][0]["text"] == offline(engine, more, 5)
        figures = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    made, held = (
        float(figures[f'blockyard_guesses_total{{kind="{kind}",model="hybrid"}}']) for kind in ("made", "held")
    )
    assert held <= made and (draft != "draft" or held > 60)  # of what it writes itself every guess holds


def test_wrong_drafts_are_a_line(folders):
    assert Drafts.of(None, None) is None and Drafts.of(0, None) is None
    assert Drafts.of(None, folders["draft"]).num_speculative == 6
    with pytest.raises(UsageError, match="guesses nothing"):
        Drafts.of(0, folders["draft"])
    small = by.build("llama", "tiny", **{"stem.vocab": 100})
    with pytest.raises(UsageError, match="a vocabulary of 100 tokens, m one of 256"):
        Drafts(3, small, "d").speculation("m", by.build("llama", "tiny"), 200)
    short = by.build("gpt2", "tiny")
    known = short.axes["stem.position.length"].size
    assert Drafts(3, short, "d").speculation("m", by.build("llama", "tiny"), known).num_speculative == 3
    with pytest.raises(UsageError, match=f"positions for {known} tokens, m reads {known + 1}"):
        Drafts(3, short, "d").speculation("m", by.build("llama", "tiny"), known + 1)
    led = make_transform("soft_prompt:tokens=3").apply(short).model
    with pytest.raises(UsageError, match=f"positions for {known - 3} tokens, m reads {known - 2}"):
        Drafts(3, led, "d").speculation("m", by.build("llama", "tiny"), known - 2)
