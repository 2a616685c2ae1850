"""The probes that reach inside any model: what is put in is what stood there, what is read can be told from chance."""

import numpy as np
import pytest
import torch

import blockyard as by
import blockyard.probe
from blockyard.probe import (
    attention_map_probe,
    effective_rank_probe,
    exit_losses_probe,
    linear_probe,
    logit_lens_probe,
    patch_probe,
)  # fmt: skip
from blockyard.probe._inside import kept, named, visited
from blockyard.probe.attention_map import looked_for
from blockyard.probe.effective_rank import ranks
from blockyard.probe.patch import patched, restored, scores
from tests import stubs


def draw(*shape, high=256, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def model(name="llama", **settings):
    return by.build(name, "tiny", **settings).double().eval()


def residual(name):
    spec = by.spec("llama", "tiny")
    return by.build(spec.but(model=spec["model"].but(residual=by.core.spec.residual(name)))).double().eval()


ANY = {
    "llama": lambda: model("llama"), "looped": lambda: model("albert"),
    "several streams": lambda: residual("hyper_connections"), "ladder": lambda: model("ladder_residual"),
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("which", ANY)
def test_the_first_stream_of_other_rows_makes_their_answer(which):
    """All that a model knows of ids stands behind the stem, whatever its rule carries."""
    net, clean, base = ANY[which](), by.Batch(draw(3, 7)), by.Batch(draw(3, 7, seed=1))
    given, own = kept(net, clean, "stream"), kept(net, base, "stream")
    said = patched(net, base, "stream", {"stem": (given["stem"], None)})
    assert torch.allclose(said.logits, net(clean).logits, atol=1e-10)
    last = list(given)[-1]
    assert torch.allclose(patched(net, base, "stream", {last: (given[last], None)}).logits, said.logits, atol=1e-10)
    for name, value in own.items():
        assert torch.equal(patched(net, base, "stream", {name: (value, None)}).logits, net(base).logits)


def test_a_point_that_runs_again_is_a_place_of_its_own():
    net, rows = model("universal_transformer"), by.Batch(draw(2, 5))
    names = list(kept(net, rows, "steps.0.part:context"))
    assert names[:2] == ["steps.0.part:context", "steps.0.part:context@1"] and named("x", 0) == "x"
    values = kept(net, rows, "steps.0.part:context")

    def only_second(name, value):
        return torch.zeros_like(value) if name.endswith("@1") else value

    found = kept_of = {}
    visited(net, rows, "steps.0.part:context", lambda n, v: found.setdefault(n, only_second(n, v)))
    assert torch.equal(kept_of[names[0]], values[names[0]]) and not kept_of[names[1]].any()


def test_a_causal_map_is_zero_where_rows_agree_and_whole_at_the_last_token():
    """What differs from token 3 on: nothing before it matters, and behind the last step only the last token does."""
    net, clean = model(), draw(4, 6)
    base = clean.clone()
    base[:, 3:5] = draw(4, 2, seed=5)
    found = patch_probe(net, clean, base)
    share = restored(found)
    assert share.shape == (len(net.steps) + 1, 6) and np.array_equal(share, found["map"])
    assert np.abs(share[:, :3]).max() < 1e-10 and abs(share[-1, 5] - 1) < 1e-10
    assert np.abs(share[-1, :5]).max() < 1e-10 and np.abs(share[0, 5]) < 1e-10
    by_hand = net(clean).logits[:, -1]
    right, wrong = by_hand.argmax(-1), draw(4, high=256, seed=9)
    told = patch_probe(net, clean, base, answers=torch.stack([right, wrong], 1), tokens="all", batch=3)
    gap = by_hand.gather(1, right[:, None]) - by_hand.gather(1, wrong[:, None])
    assert np.allclose(told["clean"], gap[:, 0].detach()) and np.allclose(told["stem"][:, 0], told["clean"])
    assert restored(told)[:, 0] == pytest.approx(np.ones(len(net.steps) + 1))
    with pytest.raises(by.UsageError, match="nothing to restore"):
        patch_probe(net, clean, clean)  # it is no ablation


def test_ablation_puts_zeros_or_the_mean_of_all_tokens():
    net, rows = model(), draw(3, 5)
    for by_what in ("zero", "mean"):
        found = patch_probe(net, rows, by=by_what, at="steps.0.part:context", tokens="all", batch=2)
        mean = kept(net, by.Batch(rows), "steps.0.part:context")["steps.0.part:context"].mean((0, 1))
        new = torch.zeros_like(mean) if by_what == "zero" else mean
        out = net(rows, points={"steps.0.part:context": new.expand_as}).logits[:, -1]
        whole = net(rows).logits[:, -1]
        two = whole.topk(2).indices
        gap = out.gather(1, two[:, :1]) - out.gather(1, two[:, 1:])
        assert np.allclose(found["steps.0.part:context"], gap.detach(), atol=1e-10)
        assert np.array_equal(found["clean"], found["base"])


def test_of_padded_rows_the_last_token_that_counts_answers():
    net, rows = model(), draw(2, 4)
    padded = by.Batch(torch.nn.functional.pad(rows, (0, 3)), valid=torch.arange(7).expand(2, 7) < 4)
    assert torch.allclose(scores(net(padded), padded.valid), scores(net(rows)), atol=1e-10)


def test_what_cannot_be_put_in_is_refused():
    net, rows = model(), draw(3, 5)
    for wrong, words in (
        (lambda: patch_probe(net, rows[:1]), "no neighbour"),
        (lambda: patch_probe(net, rows, draw(3, 6)), "of the same length"),
        (lambda: patch_probe(net, rows, at="steps.0.part:weights"), "as a whole only"),
        (lambda: patch_probe(net, rows, donor=model(dim=64)), "of the same shape"),
        (lambda: patch_probe(net, rows, answers=rows), "answers are"),
        (lambda: patched(net, by.Batch(rows), "stream", {"steps.9.part": (rows, None)}), "never passes steps.9"),
        (lambda: attention_map_probe(model("gla"), rows), "no step whose attention"),
        (lambda: linear_probe(net, rows, torch.zeros(4)), "labels are one a row"),
        (lambda: linear_probe(net, rows, at="*:weights"), "token by token"),
    ):
        with pytest.raises(by.UsageError, match=words):
            wrong()


def test_a_matrix_reads_what_is_linear_and_nothing_that_was_dealt_out():
    """Classes and numbers that the stem's vectors say are read everywhere there; shuffled labels are at chance."""
    net = model(vocab=8)
    rows = draw(160, 6, high=8)
    found = linear_probe(net, rows, rows[:, -1] // 2)
    assert found["stem"] == 1.0 and found["steps.0.part"] > 0.95 > 0.45 > found["stem:shuffled"]
    direction = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    number = net.stem.table.detach()[rows] @ direction
    each = linear_probe(net, rows, number, ridge=1e-6)
    assert each["stem"] > 0.999 > 0.1 > each["stem:shuffled"] and each["chance"] == 0
    first = linear_probe(net, rows, rows[:, 0], token="first")
    assert first["stem"] == 1.0 and linear_probe(net, rows, rows[:, 0])["stem"] < 0.4
    before = linear_probe(net, rows)
    assert before["steps.0.part"] > before["stem"] + 0.2  # attention alone brings the token before here


def test_a_lens_says_at_the_end_what_the_model_says():
    net, rows = model(layers=3), draw(3, 9)
    found = logit_lens_probe(net, rows)
    last = net.steps[-1].part.path
    assert np.abs(found[f"{last}:kl"]).max() < 1e-12 and (found[f"{last}:top"] == 1).all()
    assert (found["stem:kl"] > 1e-4).all() and not found[f"{last}:rank"].any() and (found["even:kl"] > 0).all()
    flow = net.run(net.start(rows), [0, 1])
    here, end = net.finish(flow).logits.log_softmax(-1), net(rows).logits.log_softmax(-1)
    by_hand = torch.nn.functional.kl_div(here, end, reduction="none", log_target=True).sum(-1).mean(1)
    assert np.allclose(found["steps.1.part:kl"], by_hand.detach())
    assert len([name for name in found if name.endswith(":kl")]) == len(net.steps) + 2
    assert exit_losses_probe(net, rows)["loss"].shape[1] == 4


def test_ranks_of_matrices_that_are_known():
    flat = torch.eye(6, dtype=torch.float64) * 3
    assert ranks(flat) == pytest.approx(dict(effective=6, participation=6, stable=6))
    line = torch.outer(torch.arange(1.0, 6), torch.ones(4))
    assert ranks(line) == pytest.approx(dict(effective=1, participation=1, stable=1), abs=1e-4)
    uneven = torch.diag(torch.tensor([2.0, 1.0, 1.0, 0.0]))
    assert ranks(uneven) == pytest.approx(dict(effective=2 * 2**0.5, participation=36 / 18, stable=1.5))
    assert set(ranks(torch.zeros(3, 2)).values()) == {0.0}
    net, rows = model(), draw(6, 8)
    found = effective_rank_probe(net, rows)
    assert found["stem:random"] == found["steps.0.part:random"] and found["stem:effective"] < 32
    same = effective_rank_probe(net, rows[:1, :1].expand(6, 8))
    assert same["stem:effective"] == pytest.approx(1) and found["stem:effective"] > 5


def test_heads_are_scored_by_what_they_look_at():
    tokens = torch.tensor([[5, 7, 9, 5, 7, 9]])
    pairs = looked_for(tokens)
    behind, asked = pairs["induction"]
    assert asked.tolist() == [[0, 0, 0, 1, 1, 1]]
    assert [row.nonzero().flatten().tolist() for row in behind[0]] == [[], [], [], [1], [2], [3]]
    net, rows = model(), draw(3, 5)
    found = attention_map_probe(net, rows, batch=2)
    weights = net(rows.repeat(1, 2), points={"steps.0.part:weights": "read"}).captures[0, 0, "steps.0.part", "weights"]
    seen = weights.detach().numpy()
    assert np.allclose(found["steps.0.part"], seen.mean(0))
    steps = np.arange(1, 10)
    assert np.allclose(found["steps.0.part:previous"], seen[:, :, steps, steps - 1].mean((0, 2)))
    assert np.allclose(found["steps.0.part:first"], seen[:, :, 1:, 0].mean((0, 2)))
    even = np.mean([1 / (t + 1) for t in steps])
    assert np.allclose(found["steps.0.part:previous even"], even) and np.allclose(
        found["steps.0.part:first even"], even
    )


def test_type_checkers_are_shown_every_probe():
    """The stub is that of the files; `import *` and `dir` know them all."""
    assert stubs.PROBES.read_text(encoding="utf-8") == stubs.probes(), "run python -m tests.stubs"
    assert {"patch_probe", "state_probe"} <= {*blockyard.probe.__all__} & {*dir(blockyard.probe)}
    with pytest.raises(AttributeError, match="no attribute 'nonsense_probe'"):
        blockyard.probe.nonsense_probe  # noqa: B018
