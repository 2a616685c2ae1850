"""Models against one another on the same text: blocks, the verdict on them, what is refused, what is kept."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from tokenizers import Tokenizer

import blockyard as by
from blockyard.cli import main
from blockyard.core.errors import UsageError
from blockyard.data.tokens import Bytes
from blockyard.saved.blocks import Costs, block_scores, ratio_scores
from blockyard.saved.tasks import columns_of, taken

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from tokenizers_of_others import gpt2, llama3, save

LINE = "the cat sat on the mat, naïve and quiet. 日本語🙂 it's we'll see\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Small models of bytes, one of them uniform, one of the tokens of a byte-level BPE, and a text."""
    root = tmp_path_factory.mktemp("models")
    for name, seed, scale in (("a", 0, 1.0), ("b", 1, 1.0), ("uniform", 0, 0.0)):
        model = by.build("llama", size="tiny", seed=seed, **{"head.tied": False})
        with torch.no_grad():
            model.head.table.mul_(scale)
        model.save(root / name, tokenizer=Bytes().to_json())
    for kind in (gpt2, llama3):
        (root / kind.__name__).mkdir()
        words = save(kind, root / kind.__name__)
        model = by.build("llama", size="tiny", **{"head.tied": False, "stem.vocab": words.get_vocab_size()})
        with torch.no_grad():
            model.head.table.zero_()
        files = {p.name: p.read_bytes() for p in (root / kind.__name__).iterdir()}
        for path in (root / kind.__name__).iterdir():
            path.unlink()
        model.save(root / kind.__name__, beside=files)
    (root / "x.txt").write_text(LINE * 60)
    return root


def names(root, *models):
    return [str(root / each) for each in models]


def said(capsys, *words):
    assert main([*map(str, words), "--json"]) == 0
    found = capsys.readouterr()
    return json.loads(found.out), found.err


def test_the_verdict_is_the_paired_test_on_blocks(made, tmp_path, capsys):
    a, uniform = names(made, "a", "uniform")
    found, _ = said(capsys, "eval", a, uniform, "--data", made / "x.txt", "--length", 16, "--out", tmp_path / "v")
    table = np.genfromtxt(tmp_path / "v" / "samples.csv", delimiter=",", names=True, dtype=None, encoding=None)
    mine = {name: table["bits_per_byte"][table["model"] == name] for name in (a, uniform)}
    assert len(mine[a]) == 32 and np.array_equal(table["sample"][:32], np.arange(1, 33))
    means = {arm["name"]: arm["score"]["mean"] for arm in found["arms"]}
    assert means[uniform] == pytest.approx(8)  # 256 bytes, all of them equally likely
    (pair,) = found["pairs"]
    test = ttest_rel(mine[pair["a"]], mine[pair["b"]])
    assert pair["difference"] == pytest.approx(means[pair["a"]] - means[pair["b"]])
    assert pair["p"] == pytest.approx(test.pvalue, abs=1e-4)
    ends = test.confidence_interval(0.95)
    assert pair["low"] <= ends.low < ends.high <= pair["high"]  # a family is held to a little more than one pair
    assert pair["high"] - pair["low"] < 1.1 * (ends.high - ends.low)
    assert found["source"]["design"] == "paired" and found["source"]["pairs"] == "sample"
    assert (found["alpha"], found["source"]["margin"], found["against"]) == (0.05, 0.01, None)
    assert {"report.html", "result.json", "report.txt"} < {each.name for each in (tmp_path / "v").iterdir()}
    again = by.judge(str(tmp_path / "v" / "samples.csv"), better="lower").to_json()
    assert again["pairs"] == found["pairs"] and again.keys() == found.keys()


def test_one_model_and_two_agree_on_a_figure(made, capsys):
    a, b = names(made, "a", "b")
    alone, _ = said(capsys, "eval", a, "--data", made / "x.txt", "--length", 16)
    both, told = said(capsys, "eval", a, b, "--data", made / "x.txt", "--length", 16, "--against", a, "--alpha", 0.01)
    mean = next(arm["score"]["mean"] for arm in both["arms"] if arm["name"] == a)
    assert mean == pytest.approx(alone["bits_per_byte"], abs=1e-6)
    assert both["against"] == a and both["alpha"] == 0.01 and told.count("bits/byte") == 2


def test_a_model_against_its_copy_is_no_difference(made, tmp_path):
    (tmp_path / "copy").mkdir()
    for path in (made / "a").iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    found = by.judge_models(
        [str(made / "a"), str(tmp_path / "copy")], [str(made / "x.txt")], settings=by.EvalSettings(16)
    )
    assert found.pairs[0].difference == 0 and not found.pairs[0].resolved and len(found.best) == 2


@pytest.mark.parametrize("other", ["gpt2", "llama3"])
def test_other_tokens_are_compared_by_the_bytes_they_stand_for(made, other):
    """Uniform models pay log2 V for every token: a loop over the bytes says what each block costs."""
    from blockyard.saved.open import open_model
    from blockyard.saved.versus import _of_text

    asked = names(made, "uniform", other)
    rows = _of_text(asked, [str(made / "x.txt")], by.EvalSettings(16), lambda _: None).rows
    model, words = open_model(asked[1])
    text = (LINE * 60).encode()
    ids = words.codec.encode(text.decode()).tolist()
    price, per_byte = math.log2(model.axes["stem.vocab"].size), []
    spelt = Tokenizer.from_file(str(Path(words.where) / "tokenizer.json")).id_to_token  # a letter for every byte
    for at, token in enumerate(ids):
        size = len(spelt(token))
        free = at == 0 and not words.codec.before  # nothing stands before it
        per_byte += [0.0 if free else price / size] * size
    assert len(per_byte) == len(text)
    start = 1 if words.codec.before else len(spelt(ids[0]))
    mine = np.array([row["bits_per_byte"] for row in rows if row["model"] == asked[1]])
    assert mine.mean() == pytest.approx(sum(per_byte[start:]) / (len(text) - start), rel=1e-6)
    uniform = np.array([row["bits_per_byte"] for row in rows if row["model"] == asked[0]])
    assert uniform == pytest.approx(8, rel=1e-6) and len(mine) == len(uniform) >= 8


def test_bits_are_shared_out_by_bytes():
    """Tokens of 2, 0, 3 and 5 bytes; the first is free: borders within a token cut it in proportion."""
    costs = Costs(np.array([2, 2, 5, 10]), np.array([0.0, 1.0, 6.0, 10.0]), 2)
    assert costs.until(np.array([2, 3, 5, 6, 10])).tolist() == [1, 3, 7, 9, 17]
    whole = Costs(np.arange(1, 11), np.r_[0.0, np.full(9, 2.0)], 1)
    scores = block_scores([costs, whole], np.array([1, 6, 10]))
    assert scores.mean(1) == pytest.approx([16 / 8, 2]) and scores[1] == pytest.approx([2, 2])


def test_ratios_vary_as_ratios_do():
    """The mean is the ratio of the sums, the spread that of its linearisation: a jackknife over samples agrees."""
    draw = np.random.default_rng(0)
    sizes = draw.uniform(50, 150, 400)
    amounts = sizes * draw.normal(2, 0.3, 400)
    scores = ratio_scores(amounts, sizes)
    assert scores.mean() == pytest.approx(amounts.sum() / sizes.sum())
    left = (amounts.sum() - amounts) / (sizes.sum() - sizes)
    jackknife = math.sqrt(399 / 400 * ((left - left.mean()) ** 2).sum())
    assert scores.std(ddof=1) / 20 == pytest.approx(jackknife, rel=0.02)


@pytest.mark.parametrize("words, says", [
    (["a", "a"], "is named twice"),
    (["a", "b/../a/"], "is named twice"),
    (["a", "b", "--against", "c"], "unknown model 'c'"),
    (["a", "nowhere"], "nowhere"),
    (["a", "b", "--length", "2048"], "too short for a verdict"),
    (["a", "b", "--score", "acc"], "--score chooses among the metrics of tasks"),
    (["a", "--margin", "0.1"], "--margin is of a verdict, which needs two models"),
    (["a", "--limit", "3"], "--limit is of tasks; name some with --tasks"),
    (["a", "b", "--tasks", ","], "--tasks is empty"),
    (["a", "b", "--out", "a"], "holds something else"),
])  # fmt: skip
def test_what_cannot_be_is_a_line(made, words, says, capsys, monkeypatch):
    monkeypatch.chdir(made)
    before = {path.name: path.stat().st_mtime_ns for path in (made / "a").iterdir()}
    data = [] if "--tasks" in words or "--limit" in words else ["--data", "x.txt"]
    assert main(["eval", *words, *data]) == 2
    found = capsys.readouterr()
    assert says in found.err and not found.out and len(found.err.splitlines()) <= 2
    assert before == {path.name: path.stat().st_mtime_ns for path in (made / "a").iterdir()}


def test_a_table_of_somebody_else_is_not_replaced(made, tmp_path, capsys):
    (tmp_path / "samples.csv").write_text("site,depth\n1,2\n")
    assert main(["eval", *names(made, "a", "b"), "--data", str(made / "x.txt"), "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["site,depth\n1,2\n"]


def document(task, i, kind, **figures):
    return {"doc_id": i, "filter": kind, "metrics": list(figures), **figures}


def results(shift=0.0):
    """What the harness gives: a group of two tasks, one of texts, one with two filters, metrics of every sort."""
    right = [1.0, 0.0, 1.0, 1.0]
    samples = {
        "g_one": [document("g_one", i, "none", acc=x, mcc=(1, 0)) for i, x in enumerate(right)],
        "g_two": [document("g_two", i, "none", acc=x, perplexity=-2.0 - i) for i, x in enumerate(right)],
        "text": [document("text", i, "none", bits_per_byte=(-x, n), word_perplexity=(-x, 3))
                 for i, (x, n) in enumerate([(10.0 + shift, 10), (30.0, 20), (40.0, 30)])],
        "maths": [document("maths", i, kind, exact_match=float(x > 1))
                  for kind, x in (("strict", 1), ("loose", 2)) for i in range(2)],
    }  # fmt: skip
    figures = {
        "g_one": {"acc,none": 0.75, "mcc,none": 0.1, "acc_stderr,none": 0.25},
        "g_two": {"acc,none": 0.75, "perplexity,none": math.exp(3.5)},
        "text": {"bits_per_byte,none": (80 + shift) / 60 / math.log(2), "word_perplexity,none": math.exp(80 / 9)},
        "maths": {"exact_match,strict": 0.0, "exact_match,loose": 1.0},
    }
    ways = {"acc": True, "mcc": True, "perplexity": False, "bits_per_byte": False, "word_perplexity": False,
            "exact_match": True}  # fmt: skip
    return {"samples": samples, "results": figures, "higher_is_better": dict.fromkeys(samples, ways),
            "group_subtasks": {"all": ["g"], "g": ["g_one", "g_two"]}}  # fmt: skip


def test_scores_of_documents_are_those_whose_mean_is_the_figure():
    run = taken("m", ["all"], results())
    assert run.better == {"all/acc": "higher", "text/bits_per_byte": "lower", "maths/exact_match/strict": "higher",
                          "maths/exact_match/loose": "higher"}  # fmt: skip
    assert sum("all/acc" in own for own in run.samples.values()) == 8 and run.samples["g_two 1"] == {"all/acc": 0.0}
    told = " ".join(run.notes)
    assert "g_one mcc" in told and "g_two perplexity: no mean" in told and "text word_perplexity: the same" in told
    own = [run.samples[f"text {i}"]["text/bits_per_byte"] for i in range(3)]
    assert np.mean(own) == pytest.approx(80 / 60 / math.log(2))
    figures = {(each.task, each.metric): (each.score, each.stderr, each.documents) for each in run.scores}
    assert figures["g_one", "acc"] == (0.75, 0.25, 4) and figures["maths", "exact_match/loose"] == (1.0, None, 2)
    assert "bits_per_byte" in str(run) and run.to_json()["model"] == "m"


def test_columns_are_those_of_all_models():
    runs = [taken("m", ["all"], results()), taken("n", ["all"], results(3.0))]
    assert columns_of(runs, "acc, loose") == {"all/acc": "higher", "maths/exact_match/loose": "higher"}
    with pytest.raises(UsageError, match="unknown metric 'accc'; did you mean acc"):
        columns_of(runs, "accc")
