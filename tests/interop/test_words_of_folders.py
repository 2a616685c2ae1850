"""eval, generate, quantise, transform and show on folders of other libraries, with the tokenizers of every type."""

import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import blockyard as by
from blockyard.cli import main
from blockyard.model.count import numbers

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from tokenizers_of_others import gpt2, llama2, llama3, qwen, save, sentencepiece, wordpiece

DIM, LAYERS = 8, 1
TEXT = "the cat sat on the mat, naïve and quiet. 日本語🙂\n" * 4
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}>{% endif %}"
)


def llama(folder, vocab, uniform=False, **config):
    """A small llama as transformers writes it, of so many tokens; a uniform one finds all of them equally likely."""
    folder.mkdir(exist_ok=True)
    said = dict(model_type="llama", vocab_size=vocab, hidden_size=DIM, num_hidden_layers=LAYERS, num_attention_heads=2,
                intermediate_size=12, tie_word_embeddings=False)  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**said, **config}))
    shapes = {
        "model.embed_tokens": (vocab, DIM), "model.norm": (DIM,), "lm_head": (vocab, DIM),
        **{f"model.layers.0.{name}_layernorm": (DIM,) for name in ("input", "post_attention")},
        **{f"model.layers.0.self_attn.{name}_proj": (DIM, DIM) for name in "qkvo"},
        **{f"model.layers.0.mlp.{name}_proj": (12, DIM) for name in ("gate", "up")},
        "model.layers.0.mlp.down_proj": (DIM, 12),
    }  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    tensors = {f"{name}.weight": torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    if uniform:
        tensors["lm_head.weight"].zero_()
    save_file(tensors, folder / "model.safetensors")
    return folder


def made(kind, folder, uniform=False, spare=0, **config):
    words = save(kind, folder, **config)
    return llama(folder, words.get_vocab_size() + spare, uniform), words


def said(capsys, *words):
    assert main([*map(str, words)]) == 0
    found = capsys.readouterr()
    return json.loads(found.out), found.err


def refused(capsys, *words):
    assert main([*map(str, words)]) == 2
    found = capsys.readouterr()
    assert not found.out and found.err.count("\n") == 1 and "Traceback" not in found.err
    return found.err


@pytest.mark.parametrize("length", [7, 100])
@pytest.mark.parametrize("kind", [gpt2, llama3, llama2, wordpiece], ids=lambda kind: kind.__name__)
def test_a_uniform_model_pays_what_it_must(kind, length, tmp_path, capsys):
    """log2 V bits for every token of the text, by the bytes of the text: whatever the tokenizer, in closed form."""
    folder, words = made(kind, tmp_path / "m", uniform=True, spare=3)
    texts = [tmp_path / "a.txt", tmp_path / "b.txt"]
    texts[0].write_text(TEXT)
    texts[1].write_text("another text.\n")
    found, told = said(capsys, "eval", folder, "--data", texts[0], "--data", texts[1], "--length", length, "--json")
    vocab = words.get_vocab_size() + 3
    ids = [words.encode(path.read_text(), add_special_tokens=False).ids for path in texts]
    count, size = sum(map(len, ids)), sum(path.stat().st_size for path in texts)
    if kind is gpt2:  # nothing stands before a text: its first token is not asked for, nor are its bytes
        count, size = count - 1, size - len(words.decode(ids[0][:1]).encode())
    assert found["bytes"] == size
    assert found["bits_per_byte"] == pytest.approx(count * math.log2(vocab) / size, rel=1e-6)
    lossy = kind is wordpiece
    assert ("does not know" in told, "changes 2 of 2" in told) == (lossy, lossy)


def test_what_stands_before_a_text_is_read_and_not_asked(tmp_path, capsys):
    folder, words = made(llama3, tmp_path / "m")
    (tmp_path / "t.txt").write_text(TEXT)
    found, _ = said(capsys, "eval", folder, "--data", tmp_path / "t.txt", "--length", 1000, "--json")
    ids = torch.tensor([words.encode(TEXT).ids])
    with torch.no_grad():
        logp = by.load(folder)(ids).logits[0, :-1].double().log_softmax(-1)
    nats = -logp[range(len(logp)), ids[0, 1:]].sum()
    assert found["bits_per_byte"] == pytest.approx(float(nats) / math.log(2) / len(TEXT.encode()), rel=1e-5)


def test_a_prompt_begins_as_the_tokenizer_says_and_goes_on_in_its_writing(tmp_path, capsys):
    folder, words = made(llama2, tmp_path / "m")
    found, _ = said(capsys, "generate", folder, "the cat", "--temperature", 0, "--tokens", 6, "--json")
    ids = torch.tensor([words.encode("the cat").ids])
    assert ids[0, 0] == 1
    steps = list(by.generate(by.load(folder), ids, 6, by.SamplingParams(temperature=0)))
    assert found["tokens"] == [int(step.tokens) for step in steps] and found["prompt"] == "the cat"
    whole = words.decode([*ids[0].tolist()[1:], *found["tokens"]], skip_special_tokens=False)
    assert "the cat" + found["text"] == whole
    for more in (["--prompt", "the cat"], ["the cat", "--num-speculative", "2"]):
        again, _ = said(capsys, "generate", folder, *more, "--temperature", 0, "--tokens", 6, "--json")
        assert again["tokens"] == found["tokens"] and again["text"] == found["text"]
    assert "given twice" in refused(capsys, "generate", folder, "a", "--prompt", "b")


def test_a_space_between_prompt_and_text_is_not_lost():
    from blockyard.decode.text import going_on

    words, _ = llama2()
    ids = words.encode("the cat sat on the", add_special_tokens=False).ids
    decode = going_on(lambda ids: words.decode(ids, skip_special_tokens=False), ids[:3])
    assert "".join([words.decode(ids[:3]), decode(ids[3:])]) == "the cat sat on the"
    assert decode([]) == ""


def test_a_chat_is_what_the_template_makes_of_it(tmp_path, capsys):
    folder, words = made(llama3, tmp_path / "m", chat_template=CHAT)
    found, _ = said(capsys, "generate", folder, "--chat", "hello", "--system", "be brief", "--tokens", 3, "--json")
    wanted = ("<|begin_of_text|><|start_header_id|>system: be brief<|eot_id|>"
              "<|start_header_id|>user: hello<|eot_id|>>")  # fmt: skip
    assert (
        found["prompt"]
        == wanted
        == by.tokenizer(folder).chat([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}])
    )
    ids = words.encode(wanted, add_special_tokens=False).ids
    plain, _ = said(capsys, "generate", folder, "--chat", "hello", "--temperature", 0, "--tokens", 3, "--json")
    ids = torch.tensor([words.encode(plain["prompt"], add_special_tokens=False).ids])
    assert ids[0].tolist().count(words.token_to_id("<|begin_of_text|>")) == 1
    steps = by.generate(by.load(folder), ids, 3, by.SamplingParams(temperature=0))
    assert plain["tokens"] == [int(step.tokens) for step in steps]
    beams, _ = said(capsys, "generate", folder, "--chat", "hello", "--beams", 2, "--tokens", 3, "--json")
    assert beams["prompt"] == plain["prompt"] and len(beams["beams"]) == 2
    assert "two requests" in refused(capsys, "generate", folder, "--chat", "a", "--prompt", "b")
    assert "--system belongs" in refused(capsys, "generate", folder, "--system", "a")
    bare, _ = made(qwen, tmp_path / "bare")
    assert "has no chat template" in refused(capsys, "generate", bare, "--chat", "hello")


def test_the_defaults_of_a_folder_hold_until_somebody_says_otherwise(tmp_path, capsys):
    folder, _ = made(llama3, tmp_path / "m")
    file = folder / "generation_config.json"
    plain, told = said(capsys, "generate", folder, "the", "--tokens", 9, "--temperature", 0, "--json")
    assert not told
    file.write_text(json.dumps({"do_sample": False, "top_k": 50, "max_new_tokens": 9, "eos_token_id": [5, 7]}))
    found, told = said(capsys, "generate", folder, "the", "--json")
    assert found["tokens"] == plain["tokens"][: len(found["tokens"])]
    assert f"{file}: temperature 0; 9 tokens; the text ends at 5 (" in told and told.count("\n") == 1
    ends = plain["tokens"][3]
    first = plain["tokens"].index(ends)
    config = {"eos_token_id": [1, ends], "num_beams": 4, "length_penalty": 1.0, "made_up": 3, "temperature": 0.3}
    file.write_text(json.dumps({**config, "pad_token_id": 0, "top_k": 0, "no_repeat_ngram_size": 0}))
    found, told = said(capsys, "generate", folder, "the", "--temperature", 0, "--json")
    assert found["tokens"] == plain["tokens"][: first + 1] and "temperature" not in told
    assert f"{file}: not followed: num_beams=4, made_up=3" in told
    _, told = said(capsys, "generate", folder, "the", "--tokens", 2, "--json")
    assert "temperature 0.3" in told
    beams, _ = said(capsys, "generate", folder, "the", "--beams", 2, "--tokens", 3, "--json")
    assert len(beams["beams"]) == 2


def test_the_same_defaults_as_options_give_the_same_text(tmp_path, capsys):
    folder, _ = made(llama3, tmp_path / "m")
    options = {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    asked, _ = said(capsys, "generate", folder, "the", "--tokens", 12, *words, "--json")
    (folder / "generation_config.json").write_text(json.dumps({**options, "do_sample": True, "max_new_tokens": 12}))
    found, told = said(capsys, "generate", folder, "the", "--json")
    assert found["tokens"] == asked["tokens"]
    assert "temperature 1.3; top_p 0.9; min_p 0.01; repetition_penalty 1.2; top_k 40; 12 tokens" in told


def test_an_end_of_config_json_and_stop_strings_count(tmp_path, capsys):
    folder, _ = made(llama3, tmp_path / "m")
    plain, _ = said(capsys, "generate", folder, "the", "--tokens", 9, "--temperature", 0, "--json")
    llama(folder, by.tokenizer(folder).vocab, eos_token_id=plain["tokens"][2])
    found, told = said(capsys, "generate", folder, "the", "--tokens", 9, "--temperature", 0, "--json")
    assert found["tokens"] == plain["tokens"][: plain["tokens"].index(plain["tokens"][2]) + 1]
    assert f"{folder / 'config.json'}: the text ends at {plain['tokens'][2]} (" in told
    text = plain["text"]
    end = next(char for char in text[1:] if char.isprintable() and char != "\ufffd" and char != text[0])
    (folder / "generation_config.json").write_text(json.dumps({"stop_strings": end}))
    found, _ = said(capsys, "generate", folder, "the", "--tokens", 9, "--temperature", 0, "--json")
    assert found["text"] == text[: text.index(end)]


@pytest.mark.parametrize("config, why", [
    ({"temperature": "hot"}, "temperature 'hot' must be a number"), ({"top_p": 2}, "top_p 2 must be"),
    ({"top_k": -1}, "top_k -1 must be a whole number"), ({"eos_token_id": "</s>"}, "must be an id"),
    ({"eos_token_id": [4000]}, "a text ends at 4000"), ({"max_new_tokens": 0}, "max_new_tokens 0"),
    ({"stop_strings": [1]}, "stop_strings"),
])  # fmt: skip
def test_defaults_that_mean_nothing_are_told_in_a_line(config, why, tmp_path, capsys):
    folder, _ = made(llama3, tmp_path / "m")
    (folder / "generation_config.json").write_text(json.dumps(config))
    told = refused(capsys, "generate", folder, "the")
    assert why in told and "generation_config.json" in told


def test_how_long_a_text_becomes():
    from blockyard.interop.defaults import Defaults
    from blockyard.saved.generate import TOKENS, _length

    assert _length(Defaults(), 5) == TOKENS == _length(Defaults(length=10**6), 5) == _length(Defaults(length=4), 5)
    assert _length(Defaults(length=30), 5) == 25 and _length(Defaults(tokens=3, length=30), 5) == 3


@pytest.mark.parametrize("verb", [["quantise"], ["transform", "rtn:bits=8"]], ids=lambda verb: verb[0])
def test_what_becomes_of_a_model_still_speaks(verb, tmp_path, capsys):
    """Tokenizer, templates (several of them), defaults and the end of a text go with a model of ours; and once more."""
    folder, _ = made(llama3, tmp_path / "m")
    llama(folder, by.tokenizer(folder).vocab, eos_token_id=[3, 4])
    (folder / "chat_template.jinja").write_text(CHAT)
    (folder / "chat_templates").mkdir()
    (folder / "chat_templates" / "tool_use.jinja").write_text("tools")
    messages = [{"role": "user", "content": "hello"}]
    wanted = by.chat_prompt(folder, messages)
    (tmp_path / "t.txt").write_text(TEXT)
    assert main([verb[0], str(folder), *verb[1:], "--out", str(tmp_path / "out")]) == 0
    by.load(tmp_path / "out").save(tmp_path / "again", beside=by.text_files(tmp_path / "out"))
    capsys.readouterr()
    for out in (tmp_path / "out", tmp_path / "again"):
        assert by.chat_prompt(out, messages) == wanted and by.chat_prompt(out, messages, tools=[{}]) == "tools"
        assert by.tokenizer(out).encode(TEXT) == by.tokenizer(folder).encode(TEXT)
        found, told = said(capsys, "generate", out, "--chat", "hello", "--tokens", 3, "--json")
        assert found["prompt"] == wanted and "ends at 3 (" in told and "4 (" in told
        said(capsys, "eval", out, "--data", tmp_path / "t.txt", "--json")


def test_a_model_that_is_saved_with_its_files_speaks(tmp_path, capsys):
    folder, _ = made(qwen, tmp_path / "m", chat_template="{{ messages[0].content }}")
    (folder / "generation_config.json").write_text(json.dumps({"max_new_tokens": 4, "temperature": 0}))
    by.load(folder).save(tmp_path / "ours", beside=by.text_files(folder))
    found, _ = said(capsys, "generate", tmp_path / "ours", "--chat", "the", "--json")
    first, _ = said(capsys, "generate", folder, "--chat", "the", "--json")
    assert found == first and len(found["tokens"]) == 4


def test_a_transform_that_reads_a_text_reads_it_with_the_tokenizer(tmp_path, capsys):
    folder, _ = made(llama2, tmp_path / "m")
    (tmp_path / "t.txt").write_text("".join(f"the cat sat on mat {i}\n" for i in range(400)))
    words = ["transform", folder, "gptq:bits=8,group=4", "--data", tmp_path / "t.txt"]
    found, _ = said(capsys, *words, "--out", tmp_path / "out", "--json")
    assert found["steps"][0]["tokens"] > 0
    (folder / "tokenizer.json").unlink()
    assert "is fitted to a text: " in refused(capsys, *words, "--out", tmp_path / "other")


@pytest.mark.skipif(not find_spec("sentencepiece"), reason="needs the extra sentencepiece")
def test_a_sentencepiece_folder_serves_and_is_kept(tmp_path, capsys):
    folder = tmp_path / "m"
    sentencepiece(folder)
    llama(folder, by.tokenizer(folder).vocab, uniform=True)
    (folder / "tokenizer_config.json").write_text('{"add_bos_token": true}')
    (tmp_path / "t.txt").write_text(TEXT)
    assert main(["quantise", str(folder), "--out", str(tmp_path / "small")]) == 0
    capsys.readouterr()
    for place in (folder, tmp_path / "small"):
        said(capsys, "generate", place, "the cat", "--tokens", 4, "--json")
        found, told = said(capsys, "eval", place, "--data", tmp_path / "t.txt", "--json")
        vocab = by.tokenizer(place).vocab
        count = len(by.tokenizer(place).encode(TEXT)) - 1
        assert found["bits_per_byte"] == pytest.approx(count * math.log2(vocab) / len(TEXT.encode()), rel=1e-5)
        assert not told


@pytest.mark.parametrize("verb", ["generate", "eval"])
def test_what_a_folder_lacks_is_told_in_a_line(verb, tmp_path, capsys):
    folder, words = made(llama3, tmp_path / "m")
    size = words.get_vocab_size()
    llama(folder, size - 1)
    assert f"{size} tokens and the model {size - 1}" in refused(capsys, verb, folder)
    for name, content, reason in (
        ("tokenizer.json", b"\x00{x", "it is not JSON"), ("tokenizer.json", b"\x80\x04x", "a pickle, which is never"),
        ("tokenizer_config.json", b"{x]", "is damaged"), ("generation_config.json", b"{x]", "is damaged"),
    ):  # fmt: skip
        llama(folder, size)
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).write_bytes(content)
        if name != "generation_config.json" or verb != "eval":
            assert reason in refused(capsys, verb, folder)
        (folder / name).unlink() if before is None else (folder / name).write_bytes(before)
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer.json, so it reads no text" in refused(capsys, verb, folder)
    (folder / "tokenizer.pkl").write_bytes(b"\x80\x04x")
    assert "tokenizer.pkl is a pickle, which is never opened" in refused(capsys, verb, folder)


def test_a_folder_is_shown(tmp_path, capsys):
    folder, words = made(llama3, tmp_path / "m", chat_template=CHAT)
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "eos_token_id": 3, "num_beams": 2}))
    facts, _ = said(capsys, "show", folder, "--json")
    assert facts["model"] == "llama" and facts["params"] == numbers(by.load(folder))
    assert facts["tokenizer"] == f"bpe:{words.get_vocab_size()}" and facts["templates"] == ["default"]
    assert facts["special"]["bos_token"] == "<|begin_of_text|>" and facts["writing"]["stop"] == [3]
    assert main(["show", str(folder)]) == 0
    shown = capsys.readouterr().out
    for word in ("llama", "bpe:", "<|begin_of_text|>", "temperature 0.6", "num_beams=2", "default"):
        assert word in shown, word
    (folder / "tokenizer.json").unlink()
    assert main(["show", str(folder)]) == 0 and "has no tokenizer.json" in capsys.readouterr().out
    assert "did you mean llama" in refused(capsys, "show", "lama")
