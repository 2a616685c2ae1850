"""Tasks of lm-evaluation-harness on models of folders: held to transformers' own scores and to the harness's class."""

import json
import logging
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from blockyard.cli import main
from blockyard.core.errors import UsageError

pytest.importorskip("lm_eval")
pytest.importorskip("transformers")

TEXT = "the cat sat on the mat. a dog ran to the red barn, and the cat went home again.\n" * 8
QUESTIONS = [
    ("the cat sat on the", ["mat", "dog", "red barn and home"], 0),
    ("a dog ran to the", ["cat", "red barn", "again"], 1),
    ("and the cat went", ["home again", "mat"], 0),
    ("the red", ["barn", "sat sat sat"], 0),
] * 3
ASKED = [(q, f" {a}") for q, answers, _ in QUESTIONS for a in answers] + [("", "the cat"), ("on the  ", "mat")]
LONG = ("the cat sat on the mat and " * 9).strip(), " a dog ran"


def words(folder, begins):
    """A small tokenizer; `begins`: a token stands in front of every text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    made.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=letters)
    )
    if begins:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


@pytest.fixture
def llama(oracle):
    """A small llama of transformers with a tokenizer, which reads 48 tokens."""
    folder, theirs, _ = oracle("Llama", vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                               num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=48,
                               eos_token_id=1)  # fmt: skip
    words(folder, begins=True)
    return folder, theirs


def harnessed(folder, **more):
    from blockyard.interop.harness import Harnessed

    return Harnessed(str(folder), **more)


def requests(pairs):
    return [SimpleNamespace(args=pair) for pair in pairs]


def by_hand(theirs, model, context, said):
    """log p of a continuation and whether it is the likeliest, from the scores of transformers, one text alone."""
    x = model.words.prompt(context) if context else [0]
    whole = model.words.prompt(context + said) if context else [0, *model.words.encode(said, whole=False)]
    y = whole[len(x) :]
    ids = (x + y)[-49:]
    with torch.no_grad():
        logits = theirs(torch.tensor([ids[:-1]]), use_cache=False).logits[0].double()
    scores = logits.log_softmax(-1)[-len(y) :]
    return float(sum(row[t] for row, t in zip(scores, y))), scores.argmax(-1).tolist() == y


def test_continuations_cost_what_transformers_says(llama):
    folder, theirs = llama
    model = harnessed(folder)
    assert model.max_length == 48
    pairs = [*ASKED[:-1], LONG]
    for (context, said), (logprob, greedy) in zip(pairs, model.loglikelihood(requests(pairs), disable_tqdm=True)):
        wanted, likeliest = by_hand(theirs, model, context, said)
        assert logprob == pytest.approx(wanted, abs=2e-4) and greedy == likeliest, (context, said)


def test_one_by_one_is_as_all_together(llama):
    together, alone = harnessed(llama[0]), harnessed(llama[0], batch_size=1)
    found = together.loglikelihood(requests(ASKED), disable_tqdm=True)
    each = [alone.loglikelihood(requests([pair]), disable_tqdm=True)[0] for pair in ASKED]
    assert [x for x, _ in found] == pytest.approx([x for x, _ in each], abs=1e-4)
    assert [g for _, g in found] == [g for _, g in each]


def greedy_of(model):
    return {"until": [".", "\n"], "max_gen_toks": 6, "do_sample": False}


@pytest.mark.parametrize("begins", [True, False])
def test_it_is_the_harness_s_own_class_to_the_last_digits(llama, begins):
    hf = pytest.importorskip("lm_eval.models.huggingface", exc_type=ImportError)  # needs accelerate and peft

    folder, _ = llama
    words(folder, begins)
    logging.disable(logging.WARNING)
    try:
        ours = harnessed(folder)
        other = hf.HFLM(str(folder), device="cpu", batch_size=4, dtype="float32")
        pairs = [*ASKED, LONG]
        mine = ours.loglikelihood(requests(pairs), disable_tqdm=True)
        wanted = other.loglikelihood(requests(pairs), True)
        assert [g for _, g in mine] == [g for _, g in wanted]
        assert [x for x, _ in mine] == pytest.approx([x for x, _ in wanted], abs=2e-4)
        texts = requests([(TEXT[:n],) for n in (5, 120, 400)])
        wanted = other.loglikelihood_rolling(texts, True)
        assert ours.loglikelihood_rolling(texts, disable_tqdm=True) == pytest.approx(wanted, abs=1e-3)
        written = requests([(text, greedy_of(ours)) for text in ("the cat", "a dog ran to the", LONG[0])])
        assert ours.generate_until(written, disable_tqdm=True) == other.generate_until(written, disable_tqdm=True)
    finally:
        logging.disable(logging.NOTSET)


TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: {kind}
doc_to_text: "{{{{question}}}}"
"""
CHOICE = """doc_to_target: answer
doc_to_choice: "{{choices}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""
WRITE = """doc_to_target: "{{choices[answer]}}"
generation_kwargs:
  until: ["."]
  max_gen_toks: 4
metric_list:
  - metric: exact_match
"""
ROLL = """doc_to_target: "{{question}}"
metric_list:
  - metric: bits_per_byte
  - metric: word_perplexity
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A folder of tasks on a file of questions."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    place = tmp_path / "tasks"
    place.mkdir()
    rows = [{"question": q, "choices": c, "answer": a} for q, c, a in QUESTIONS]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = {"choose": ("multiple_choice", CHOICE), "write": ("generate_until", WRITE),
             "roll": ("loglikelihood_rolling", ROLL)}  # fmt: skip
    for name, (kind, more) in kinds.items():
        (place / f"{name}.yaml").write_text(TASK.format(name=name, data=tmp_path / "q.jsonl", kind=kind) + more)
    return place


def said(capsys, *words):
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_tasks_of_a_folder_are_scored_and_judged(llama, tasks, tmp_path, capsys):
    folder, theirs = llama
    found = said(capsys, "eval", folder, "--tasks", tasks)
    scores = {(each["task"], each["metric"]): each for each in found["scores"]}
    assert set(scores) == {("choose", "acc"), ("choose", "acc_norm"), ("write", "exact_match"),
                           ("roll", "bits_per_byte"), ("roll", "word_perplexity")}  # fmt: skip
    model = harnessed(folder)
    right = [max(range(len(c)), key=lambda i: by_hand(theirs, model, q, f" {c[i]}")[0]) == a for q, c, a in QUESTIONS]
    assert scores["choose", "acc"]["score"] == pytest.approx(sum(right) / len(right))
    assert scores["choose", "acc"]["documents"] == len(QUESTIONS)
    nats = [by_hand(theirs, model, "", model.words.decode(model.words.prompt(q)))[0] for q, _, _ in QUESTIONS]
    size = sum(len(q.encode()) for q, _, _ in QUESTIONS)
    assert scores["roll", "bits_per_byte"]["score"] == pytest.approx(-sum(nats) / size / 0.6931471805599453, rel=1e-5)

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    tensors = load_file(other / "model.safetensors")
    name = next(each for each in tensors if "lm_head" in each or "embed_tokens" in each)
    save_file({**tensors, name: tensors[name].flip(0).contiguous()}, other / "model.safetensors", {"format": "pt"})
    judged = said(
        capsys, "eval", folder, other, "--tasks", tasks / "choose.yaml", "--score", "acc", "--out", tmp_path / "v"
    )
    assert judged["metric"]["name"] == "choose/acc" and judged["source"]["samples"] == len(QUESTIONS)
    means = {arm["name"]: arm["score"]["mean"] for arm in judged["arms"]}
    assert means[str(folder)] == pytest.approx(sum(right) / len(right)) and not judged["further"]
    several = said(capsys, "eval", folder, other, "--tasks", tasks, "--limit", "8")
    assert [several["metric"]["name"], *(each["metric"]["name"] for each in several["further"])] == [
        "choose/acc", "choose/acc_norm", "roll/bits_per_byte", "write/exact_match"]  # fmt: skip
    assert several["source"]["metrics"] == 4 and several["source"]["samples"] == 8
    again = said(capsys, "judge", tmp_path / "v" / "samples.csv", "--better", "higher")
    assert again["pairs"] == judged["pairs"]


@pytest.mark.slow
def test_the_command_of_the_harness_knows_our_models(llama, tasks, tmp_path):
    """Run as a program the file is their command; their own class gives the same figures by it."""
    pytest.importorskip("lm_eval.models.huggingface", exc_type=ImportError)
    found = {}
    for model in ("blockyard", "hf"):
        words = ["--model", model, "--model_args", f"pretrained={llama[0]}", "--include_path", str(tasks),
                 "--tasks", "choose", "--device", "cpu", "--output_path", str(tmp_path / f"{model}.json")]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-m", "blockyard.interop.harness", *words], capture_output=True, text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        (file,) = tmp_path.glob(f"{model}*.json")
        found[model] = {k: v for k, v in json.loads(file.read_text())["results"]["choose"].items() if "acc" in k}
    assert found["blockyard"] == found["hf"] and "acc,none" in found["hf"]


def test_what_cannot_be_asked_is_a_line(llama, tmp_path, capsys, monkeypatch):
    folder, _ = llama
    for words, says in [
        (["--tasks", "no_such_task_anywhere", "--limit", "1"], "unknown task"),
        (["--tasks", str(tmp_path / "theirs")], "holds no task"),
    ]:
        assert main(["eval", str(folder), *words]) == 2
        found = capsys.readouterr()
        assert says in found.err and not found.out and "Traceback" not in found.err
    with pytest.raises(UsageError, match="dtype"):
        harnessed(folder, dtype="float16")
    model = harnessed(folder, max_length=8)
    with pytest.raises(UsageError, match="200 new tokens and the model reads 8"):
        model.generate_until(requests([("the cat", {"until": [], "max_gen_toks": 200})]), disable_tqdm=True)
    with pytest.raises(UsageError, match="num_beams, which is not followed"):
        model.generate_until(requests([("the cat", {"max_gen_toks": 2, "num_beams": 3})]), disable_tqdm=True)
    with pytest.raises(UsageError, match="longer than the 8"):
        model.loglikelihood(requests([("the", " cat sat on the mat" * 5)]), disable_tqdm=True)
    assert model.loglikelihood_rolling(requests([("the cat sat on the mat. a dog",)]), disable_tqdm=True)[0] < 0
