"""The benches at tiny shapes: what they report and that they are fair. How fast anything is, is not tested here."""

import importlib.util
import math

import pytest
import torch

from blockyard import bench
from blockyard.bench import context as bench_context
from blockyard.bench import decode as bench_decode
from blockyard.bench import measure, mixers, overhead, parts, process, recipes, speculative, train
from blockyard.core.errors import UsageError, WorkFailed
from blockyard.model.model import build
from blockyard.systems import spec

TINY = {"dim": 32, "layers": 2, "heads": 2, "ffn": 64, "vocab": 64}
KEYS = {"bench", "contestant", "metric", "value", "unit", "shape"}


def quiet(line):
    pass


def installed(*names):
    return all(importlib.util.find_spec(name) for name in names)


needs_transformers = pytest.mark.skipif(not installed("transformers"), reason="needs the extra oracle")
needs_fla = pytest.mark.skipif(not installed("fla", "einops"), reason="needs the extra oracle")
needs_peers = pytest.mark.skipif(not installed("transformers", "x_transformers"), reason="needs the extra oracle")


def well_formed(rows, name):
    for row in rows:
        compared = {"against", "of", "low", "high"} if row.metric in ("ratio", "overhead") else set()
        assert set(row.to_json()) == KEYS | compared and row.bench == name
        assert math.isfinite(row.value)
        if compared:
            assert row.low <= row.value <= row.high
    told = {(r.contestant, r.metric, r.against, r.of, str(r.shape)) for r in rows}
    assert len(told) == len(rows), "nothing is said twice"
    text = bench.describe(rows)
    assert all(row.contestant in text for row in rows)
    return {(row.contestant, row.metric): row.value for row in rows if row.against is None}


def test_everybody_has_equally_many_turns():
    called = []

    def turn(name):
        def work():
            called.append(name)
            return float(len(called))

        return work

    found = measure.interleave({name: turn(name) for name in "abc"}, 6, warm=1)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys("abc", 6)
    rounds = ["".join(called[i : i + 3]) for i in range(0, len(called), 3)]
    assert len(rounds) == 7 and all(sorted(r) == list("abc") for r in rounds)
    assert {r[0] for r in rounds} == set("abc"), "the order rotates"
    assert min(min(values) for values in found.values()) > 3, "the warm-up is thrown away"


def test_ratios_are_paired_by_round():
    slow_rounds = [1.0, 5.0, 2.0, 9.0, 3.0, 7.0, 4.0]
    value, low, high = measure.paired(slow_rounds, [2 * s for s in slow_rounds])
    assert (value, low, high) == (2.0, 2.0, 2.0), "drift that meets both alike cancels"
    rng = torch.Generator().manual_seed(0)
    noisy = [1.5 + 0.2 * float(torch.randn((), generator=rng)) for _ in range(15)]
    value, low, high = measure.paired([1.0] * 15, noisy)
    assert low < value < high and high - low < 0.5


@needs_peers
def test_train_reports_equal_models():
    rows = train.bench(length=16, batch=2, rounds=2, quick=True, size=TINY, apart=False, tell=quiet)
    well_formed(rows, "train")
    for name in ("float32", "bfloat16"):
        here = {(r.contestant, r.metric): r.value for r in rows if r.shape.get("precision") == name}
        params = [here[f"{library}/llama", "params"] for library in train.LIBRARIES]
        assert max(params) <= 1.02 * min(params)
        assert all(here[f"{library}/llama", "tokens_per_s"] > 0 for library in train.LIBRARIES)
        assert here["machine", f"{name}_flops_per_s"] > 0
    ratios = {(r.contestant, r.against) for r in rows if r.metric == "ratio"}
    assert ratios == {
        ("blockyard/llama", "transformers/llama"),
        ("blockyard/llama", "x-transformers/llama"),
        ("blockyard/llama+defaults", "transformers/llama+defaults"),
    }


def test_recipes_are_held_against_llama():
    rows = recipes.bench(length=16, batch=2, rounds=1, quick=True, params=1.5e5, apart=False, tell=quiet)
    values = well_formed(rows, "recipes")
    params = [value for (_, metric), value in values.items() if metric == "params"]
    assert len(params) == 3 and max(params) <= 1.02 * min(params)
    pairs = {(row.contestant, row.against) for row in rows if row.metric == "ratio"}
    assert pairs == {(f"blockyard/{name}", "blockyard/llama") for name in ("gla", "mamba2")}
    assert bench.BENCHES.keys() == {
        "train",
        "recipes",
        "parts",
        "mixers",
        "decode",
        "context",
        "speculative",
        "overhead",
    }


@needs_peers
def test_every_trainee_sees_the_same_data_and_learns():
    assert (train.Ids(64, 2, 8).next(3) == train.Ids(64, 2, 8).next(3)).all()
    for library in train.LIBRARIES:
        made = train.trainee(library, False, TINY, 8, 2, "cpu", "float32")
        batch = made.data(0)
        first = made.advance(batch)
        for _ in range(20):
            last = made.advance(batch)
        assert last < first, library


def test_a_contestant_of_another_size_is_refused(monkeypatch):
    if not installed("transformers", "x_transformers"):
        pytest.skip("needs the extra oracle")
    real = train.trainee
    wide = TINY | {"ffn": 96}

    def unfair(library, compiled, size, *rest, **more):
        return real(library, compiled, wide if library == "transformers" else size, *rest, **more)

    monkeypatch.setattr(train, "trainee", unfair)
    with pytest.raises(WorkFailed, match="unequal"):
        train.bench(length=8, batch=1, rounds=1, precision="float32", quick=True, size=TINY, apart=False, tell=quiet)


@needs_transformers
@pytest.mark.parametrize("which", [("gla", "mamba2"), pytest.param(mixers.OURS, marks=pytest.mark.slow)], ids=len)
def test_mixers_report_equal_layers(which, monkeypatch):
    jobs = {name: peers for name, peers in mixers.JOBS.items() if name in which}
    layers = [name for name in mixers.LAYERS if name == mixers.PLAIN or any(name in peers for peers in jobs.values())]
    monkeypatch.setattr(mixers, "OURS", which)
    monkeypatch.setattr(mixers, "JOBS", jobs)
    monkeypatch.setattr(mixers, "LAYERS", {name: mixers.LAYERS[name] for name in layers})
    rows = mixers.bench(length=(32, 64, 128), batch=1, dim=64, rounds=1, apart=False, tell=quiet)
    values = well_formed(rows, "mixers")
    for name, peers in mixers.JOBS.items():
        for peer in peers:
            if (peer, "params") not in values:
                continue  # not installed
            ours, theirs = values[f"blockyard/{name}", "params"], values[peer, "params"]
            assert abs(ours - theirs) <= 0.02 * theirs, (name, peer)
    for name in mixers.OURS:
        assert {metric for contestant, metric in values if contestant == f"blockyard/{name}"} >= {
            "fwd_ms", "fwd_bwd_ms", "decode_ms", "fraction_of_floor", "fwd_bwd_slope",
        }  # fmt: skip
    held = {(row.contestant, row.against) for row in rows if row.metric == "ratio"}
    assert held >= {(f"blockyard/{name}", mixers.PLAIN) for name in mixers.OURS}
    assert ("blockyard/mamba2", "transformers/mamba2") in held
    assert ("blockyard/gla+bfloat16", "blockyard/gla") in held and ("blockyard/gla+bfloat16", "fwd_ms") not in values


@needs_fla
@pytest.mark.parametrize("name", [name for name in mixers.LAYERS if name.startswith("fla/")])
def test_their_scan_in_our_layer_computes_the_same(name):
    torch.manual_seed(0)
    theirs, x = mixers.LAYERS[name](64), torch.randn(2, 64, 64)
    with torch.no_grad():
        found = theirs.forward(x)
        torch.manual_seed(0)
        assert (found - mixers.ours(name[4:], 64).forward(x)).abs().max() < 1e-4


def test_a_slope_is_the_exponent():
    rows, same = measure.Rows("mixers"), {"batch": 1}
    for T in (16, 32, 128):
        rows.add("a", "fwd_bwd_ms", 3 * T**1.5, "ms", {"T": T, **same})
    mixers._slopes(rows, same)
    assert abs(rows.rows[-1].value - 1.5) < 1e-9 and rows.rows[-1].metric == "fwd_bwd_slope"


@needs_transformers
def test_the_loop_over_tokens_stays_at_short_lengths(monkeypatch):
    loop = "transformers/mamba"
    monkeypatch.setattr(mixers, "FURTHEST", {loop: 16})
    monkeypatch.setattr(mixers, "OURS", ("mamba",))
    monkeypatch.setattr(mixers, "LAYERS", {name: mixers.LAYERS[name] for name in ("torch/sdpa", loop)})
    rows = mixers.bench(length=(16, 24), batch=1, dim=64, rounds=1, apart=False, tell=quiet)
    assert {row.shape["T"] for row in rows if row.contestant == loop} == {16}
    assert {row.shape["T"] for row in rows if row.contestant == "blockyard/mamba"} == {16, 24}


@pytest.mark.parametrize("name", mixers.OURS)
def test_a_layer_decodes_what_it_computes(name):
    """The bench's own way of calling a part with and without a state is the part's."""
    layer, x = mixers.ours(name, 64), torch.randn(2, 9, 64)
    with torch.no_grad():
        call, leaves = layer.begin(x[:, :8])
        one, _ = layer.module(x[:, 8:], call, leaves)
        assert torch.allclose(one, layer.forward(x)[:, 8:], atol=1e-5)


def test_decode_counts_tokens_and_bytes():
    size = {"vocab": 64, "dim": 64, "layers": 2, "heads": 2, "ffn": 96}
    rows = bench_decode.bench(batch=(1, 2), rounds=1, quick=True, size=size, apart=False, tell=quiet)
    here = {(r.contestant, r.metric, r.shape.get("batch")): r.value for r in rows}
    whole = 2 * (64 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 96))
    assert here["blockyard/bfloat16", "weight_bytes", 1] == whole
    assert here["blockyard/int8", "weight_bytes", 1] == whole * 8.5 / 16
    assert here["blockyard/int4", "weight_bytes", 2] == whole * 4.5 / 16
    losses = [here[f"blockyard/{kind}", "divergence", None] for kind in ("int8", "int4")]
    assert 0 < losses[0] < losses[1]
    assert all(value > 0 for (_, metric, _), value in here.items() if metric == "tokens_per_s")


def test_context_tells_a_short_past_from_a_long_one():
    size = {"dim": 128, "layers": 4, "heads": 2, "vocab": 64}
    rows = bench_context.bench(length=(8, 80), rounds=2, quick=True, size=size, apart=False, tell=quiet)
    here = well_formed(rows, "context")
    names = ["llama", "gpt2", "gla", "olmo_hybrid", "olmo_hybrid+int8_cache"]
    assert {f"{name}@{n}" for name in names for n in (8, 80)} == {name for name, metric in here if "@" in name}
    for name in names[:4]:
        for n in (8, 80):
            assert here[f"{name}@{n}", "state_bytes"] == here[f"{name}@{n}", "counted_bytes"]
    held = {name: here[f"{name}@80", "state_bytes"] / here[f"{name}@8", "state_bytes"] for name in names}
    assert held["llama"] == 10 and held["gla"] == 1 and 1 < held["olmo_hybrid"] < 10
    assert here["olmo_hybrid+int8_cache@80", "state_bytes"] < here["olmo_hybrid@80", "state_bytes"]
    with pytest.raises(UsageError, match="float16"):
        bench.run("context", precision="float16")


def test_guesses_change_no_token_and_are_counted(monkeypatch):
    size = {"dim": 128, "layers": 2, "vocab": 256}
    monkeypatch.setattr("blockyard.decode.generate.WORTH", (0, 0))  # programs, as of large models
    monkeypatch.setattr(speculative, "SHAPE", (2, 64))
    monkeypatch.setattr(speculative, "NEW", 128)
    rows = speculative.bench(rounds=1, size=size, steps=3, apart=False, tell=quiet)
    here = well_formed(rows, "speculative")
    for recipe in speculative.RECIPES:
        for how in speculative.RULES:
            assert 0.5 < here[f"blockyard/{recipe}+{how}+speculative", "tokens_per_forward"] <= 1 + speculative.NUM
    assert {(row.contestant, row.against) for row in rows if row.metric == "ratio"} == {
        (f"blockyard/{recipe}+{how}+speculative", f"blockyard/{recipe}+{how}")
        for recipe in speculative.RECIPES for how in speculative.RULES
    }  # fmt: skip


def test_a_bench_names_what_it_does_not_take():
    with pytest.raises(UsageError, match="bench decode takes no precision"):
        bench.run("decode", precision="float32")


def test_the_hand_written_forwards_are_the_model():
    model = build(spec("llama", None, **TINY))
    ids = torch.randint(64, (2, 12))
    logits = {name: run(ids) for name, run in overhead.forwards(model, ids).items()}
    for name, found in logits.items():
        assert torch.allclose(found, logits["blockyard/llama"], atol=1e-5), name


def test_overhead_reports_every_part():
    rows = overhead.bench(length=16, batch=2, rounds=2, size=TINY, params=5e4, count=1, tell=quiet)
    values = well_formed(rows, "overhead")
    assert {"python/empty", "torch/import", "blockyard/import", "blockyard/help"} <= {name for name, _ in values}
    assert ("blockyard/llama", "us_per_step_over_loop") in values
    compared = {(r.against, r.of, r.shape["T"]) for r in rows if r.metric == "overhead"}
    assert compared == {
        *((bare, of, 16) for bare in ("loop/llama", "torch/llama") for of in ("fwd_ms", "fwd_bwd_ms")),
        ("loop/llama", "fwd_ms", 1), ("torch/llama", "fwd_ms", 1), ("loop/step", "step_ms", 16),
    }  # fmt: skip


def test_a_child_answers_fails_and_dies_in_words():
    makers = {
        "machine": ("measure:machine", {"device": "cpu", "small": True}),
        "peer/broken": ("measure:machine", {"device": "nowhere"}),
    }
    said = []
    with process.contestants(makers, tell=said.append) as stand:
        assert set(stand) == {"machine"} and any("peer/broken" in line and "left out" in line for line in said)
        assert stand["machine"].call("copy") > 0
        with pytest.raises(WorkFailed, match="machine"):
            stand["machine"].call("no_such_method")
        stand["machine"].process.kill()
        with pytest.raises(WorkFailed, match="died"):
            stand["machine"].call("copy")
    with pytest.raises(WorkFailed), process.contestants({"blockyard/x": ("measure:machine", {})}, tell=quiet):
        pass


def test_a_missing_peer_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("train", "mixers"):
        with pytest.raises(UsageError, match=r"transformers.*blockyard\[oracle\]"):
            bench.run(name)


@pytest.mark.parametrize(
    "asked, said",
    [
        (dict(name="trian"), "train"),
        (dict(name="train", rounds=0), "rounds"),
        (dict(name="mixers", length="5,x"), "length"),
        (dict(name="mixers", length=1), "length"),
        (dict(name="train", length=(8, 16)), "one length"),
        *((dict(name=name, precision="float8"), "precision") for name in bench.BENCHES),
    ],
)
def test_a_wrong_request_is_refused_in_words(asked, said):
    with pytest.raises(UsageError, match=said):
        bench.run(**asked, tell=quiet)


def test_a_recipe_that_decodes_as_it_trains_is_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(bench_context.Program, "of", lambda *_: None)
    monkeypatch.setattr(bench_context, "refusal", lambda model: "aten.sort.default")
    with pytest.raises(WorkFailed, match="gla decodes as it trains: aten"):
        bench_context.Contestant("gla", dict(layers=2, dim=64, vocab=256), [16], "float32", False, 1)


def test_parts_are_measured_beside_the_plain_body(monkeypatch):
    """Those that fit, none that does not; what keeps one from a recorded program is said."""
    told = []
    monkeypatch.setattr(parts, "KINDS", ("residual", "position"))
    found = parts.swaps(60e3, told.append)
    assert "llama:residual=peri" in found and "llama:position=alibi" in found and "llama:position=learned" not in found
    assert any("llama:position=learned" in line and "adds to what the stem gives" in line for line in told)
    arms = ("llama:residual=postnorm", "llama:position=cope")
    rows = parts.bench(length=16, batch=2, rounds=2, params=60e3, arms=arms, apart=False, tell=told.append)
    values = well_formed(rows, "parts")
    assert values["llama", "recorded"] == 1 and values["llama:position=cope", "recorded"] == 0
    assert any(line.startswith("llama:position=cope writes as it trains: ") for line in told)
    ratios = {(row.contestant, row.of) for row in rows if row.metric == "ratio"}
    assert ratios == {(arm, of) for arm in arms for of in ("steps_per_s", "tokens_per_s")}
