"""Virtual tokens: with the numbers of tokens that exist they are those tokens, in any kind of model and however it is
fed."""

import pytest
import torch

import blockyard as by
from blockyard.check import check
from blockyard.core.batch import Batch
from blockyard.core.spec import objective, phase, transform
from blockyard.decode.continuous import Continuous, Request
from blockyard.decode.prefix import PrefixStore
from blockyard.model.attach import attached
from blockyard.train.loop import Settings, train
from blockyard.transform._base import make_transform

IDS = torch.arange(24).view(2, 12) * 7 % 256
NAMED = (3, 9, 250, 1, 7)
KINDS = ["llama", "gpt2", "gla", "mamba2", "hybrid_linear_attention"]


class Rows:
    """The same ids at every step."""

    def next(self, step):
        return IDS.numpy()


def model(recipe="llama", **settings):
    """A model in double precision with no number at its start."""
    made, draw = by.build(recipe, "tiny", **settings).double().eval(), torch.Generator().manual_seed(1)
    for p in made.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=torch.float64)
    return made


def prompted(made, what="ids=(3,9,250,1,7)"):
    return make_transform(f"soft_prompt:tokens=5,{what}").apply(made).model.eval()


def apart(a, b):
    return (a - b).abs().max().item()


def whole(ids=IDS):
    """The same texts behind the tokens that the virtual ones begin as."""
    return torch.cat([torch.tensor(NAMED).expand(len(ids), -1), ids], 1)


@torch.no_grad()
@pytest.mark.parametrize("recipe", KINDS)
def test_it_is_what_stands_before_the_text_however_that_is_fed(recipe):
    plain = model(recipe)
    made, wanted = prompted(plain), plain(whole()).logits[:, 5:]
    out = made(IDS)
    assert out.logits.shape == wanted.shape and out.hidden.shape[1] == IDS.shape[1]
    assert apart(out.logits, wanted) < 1e-9
    state, said = made.init_state(2), []
    for piece in IDS.split([3, 1, 8], 1):
        out = made(piece, state)
        state, said = out.state.mark(), [*said, out.logits]
    assert apart(torch.cat(said, 1), wanted) < 1e-9 and state.length.tolist() == [12, 12]
    for length in (7, 3, 2, 0):
        back = state.rewind(length)
        reached = int(back.length[0])
        assert reached <= length and apart(made(IDS[:, reached:], back).logits, wanted[:, reached:]) < 1e-9
    back = state.rewind(torch.tensor([0, 5]))
    left = [IDS[row, int(back.length[row]) :] for row in range(2)]
    ragged = Batch(torch.nn.utils.rnn.pad_sequence(left, batch_first=True),
                   valid=torch.arange(max(map(len, left))) < torch.tensor([[len(each)] for each in left]))  # fmt: skip
    found = made(ragged, back).logits
    assert all(apart(found[row, : len(each)], wanted[row, -len(each) :]) < 1e-9 for row, each in enumerate(left))


@torch.no_grad()
@pytest.mark.parametrize("recipe", KINDS)
def test_rows_of_other_lengths_begin_with_it_each(recipe):
    made = prompted(model(recipe))
    wanted = [made(row[None, :n]).logits[0] for row, n in zip(IDS, (12, 7))]
    for side in (1, 0):
        valid = torch.arange(12).expand(2, 12) < torch.tensor([[12], [7]])
        ids = torch.where(valid, IDS, 0)
        if not side:
            ids, valid = ids.clone(), valid.clone()
            ids[1], valid[1] = ids[1].roll(5), valid[1].roll(5)
        for state in (None, made.init_state(2)):
            found = made(Batch(ids, valid=valid), state).logits
            assert all(apart(found[row, valid[row]], wanted[row]) < 1e-9 for row in range(2))


@torch.no_grad()
@pytest.mark.parametrize("recipe", KINDS[:3])
def test_it_writes_what_the_model_writes_behind_those_tokens(recipe):
    plain = model(recipe)
    made, greedy = prompted(plain), by.SamplingParams(temperature=0)

    def text(of, ids, **how):
        return [[int(token) for token in step.tokens] for step in by.generate(of, ids, 6, greedy, **how)]

    assert text(made, IDS) == text(plain, whole())
    rows = [IDS[0, :4], IDS[1]]
    assert text(made, rows) == text(plain, [torch.cat([torch.tensor(NAMED), row]) for row in rows])
    written = [int(step.tokens[0]) for step in by.speculate(made, IDS[:1], 6, by.PromptLookup())]
    assert written == [line[0] for line in text(plain, whole(IDS[:1]))]


@torch.no_grad()
@pytest.mark.parametrize("recipe", [*KINDS[:3], "mamba2_hybrid"])
def test_a_store_of_prefixes_goes_on_behind_it(recipe):
    """The first time, from a whole piece, from a piece that is not whole; and rows that come and go, twice."""
    made = prompted(model(recipe))
    held = PrefixStore(made, block_size=4)
    for length in (9, 12, 10):
        assert apart(held.feed(IDS[0, :length])[0], made(IDS[:1, :length]).logits[:, -1]) < 1e-9
    state, known = held.open(IDS[0])
    assert known in (9, 10, 11) and state.lead == 5 and state.positions.tolist() == [[*range(5 + known)]]
    greedy = by.SamplingParams(temperature=0)
    batch = Continuous(made, 2, store=PrefixStore(made, block_size=4), chunk=4)
    for _ in range(2):
        asked, written = [Request(IDS[0], 6, greedy), Request(IDS[1, :5], 4, greedy)], dict[Request, list[int]]()
        for request in asked:
            batch.add(request)
        while batch.busy:
            for token in batch.turn():
                written.setdefault(token.request, []).append(token.token)
        for request in asked:
            steps = by.generate(made, request.ids[None], request.tokens, greedy)
            assert written[request] == [int(step.tokens[0]) for step in steps]
    assert asked[0].known


@torch.no_grad()
def test_it_comes_off_and_is_saved_alone(tmp_path):
    plain = model().float()
    plain.save(tmp_path / "plain")
    made = make_transform("soft_prompt:tokens=4").apply(by.load(tmp_path / "plain")).model
    assert attached(made) == ["stem.store.prompt"] and made.head.table is made.stem.table
    table = {tuple(row.tolist()) for row in plain.stem.table}
    first = [tuple(row.tolist()) for row in made.stem.store.prompt]
    assert set(first) <= table and len(set(first)) == 4
    by.save_attachment(made, tmp_path / "prompt", of=tmp_path / "plain")
    assert torch.equal(by.load(tmp_path / "prompt")(IDS).logits, made(IDS).logits)
    assert attached(by.build(made.spec)) == attached(made)
    off = make_transform("detach").apply(made).model
    assert off.spec == plain.spec and torch.equal(off(IDS).logits, plain(IDS).logits)
    mean = make_transform("soft_prompt:tokens=2,start=mean").apply(plain).model.stem.store.prompt
    assert apart(mean, plain.stem.table.mean(0).expand(2, -1)) < 1e-6


def test_training_moves_it_alone():
    grown, spec = transform("soft_prompt", tokens=3), by.spec("llama", "tiny")
    growing = spec.but(program=(phase(objective("next_token"), apply=(grown,), train=("attached",)),))
    start = by.build(spec)
    made, held = (
        train(growing, by.build(spec), Rows(), Settings(steps=4, lr=1e-2)).model,
        dict(start.named_parameters()),
    )
    assert [path for path, p in made.named_parameters() if path not in held] == ["stem.store.prompt"]
    assert all(torch.equal(p, held[path]) for path, p in made.named_parameters() if path in held)
    begun = make_transform(grown).apply(start).model.stem.store.prompt
    assert (made.stem.store.prompt - begun).abs().amax(1).min() > 0


@torch.no_grad()
def test_what_cannot_be_is_refused():
    made = prompted(model())
    with pytest.raises(by.UsageError, match="store:prompted does not claim packs"):
        made(Batch(IDS, segment=torch.arange(12).expand(2, 12) // 6))
    for system, what, why in [
        (by.spec("bert", "tiny"), "", "score the next one"),
        (by.spec("vit", "tiny"), "", "score the next one"),
        (made, "", "stand before its texts already"),
        (by.spec("llama", "tiny"), ",ids=(3,256)", "ids=256 is no id of a table of 256"),
    ]:
        start = system if isinstance(system, torch.nn.Module) else by.build(system)
        with pytest.raises(by.UsageError, match=why):
            make_transform(f"soft_prompt:tokens=3{what}").apply(start)
    with pytest.raises(by.UsageError, match="merge"):
        make_transform("merge").apply(made)
    short = prompted(model("gpt2", length=14))
    with pytest.raises(by.UsageError, match="positions are learned for 14"):
        [*by.generate(short, IDS, 4, by.SamplingParams(temperature=0))]


def test_its_claims_hold():
    for name in ("store:prompted", "transform:soft_prompt"):
        assert all(verdict.ok for _, verdict in check(name)), name
