"""What must hold of a Transformer that is a program: it is told in Python, and that says the same for every input."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Call, UsageError
from blockyard.core.call import Moment
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_of
from blockyard.core.variables import choice, layout, temperature
from blockyard.study import transformer_programs as study
from blockyard.study._base import FAILS, HOLDS, OPEN, Given
from blockyard.study._shown import rows_of, scored
from blockyard.transform._base import make_transform
from blockyard.transform.decompile import program

EVERY = torch.tensor([*product(range(4), repeat=4)])  # the 256 rows of four values


def built(seed=0, **sizes):
    sizes = dict(values=4, layers=2, heads=2, counts=2, tables=2, inner=8) | sizes
    return by.build("transformer_programs", "tiny", seed=seed, **sizes).double()


def run(text, rows):
    held = {}
    exec(text, held)
    return [held["run"](row) for row in rows.tolist()]


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_the_program_is_the_model_on_every_input(seed):
    """(1) of the 256 rows of four values, and of longer rows whose last places have no value."""
    model = built(seed)
    text = make_transform("decompile").apply(model).report["program"]
    assert run(text, EVERY) == model(EVERY).logits.argmax(-1).tolist()
    longer = torch.randint(0, 4, (40, 7), generator=torch.Generator().manual_seed(seed))
    assert run(text, longer) == model(longer).logits.argmax(-1).tolist()
    assert run(text, EVERY) != run(program(built(seed + 7)), EVERY)
    assert "import" not in text


@torch.no_grad()
def test_choices_are_certain_when_it_is_cold():
    """(2) gates and rows of predicates are one-hot at the end of a run, and not at its beginning; outside training they
    are the argmax."""
    model = built()
    part, call = model.steps[0].part, Call.plain(torch.zeros(1, 1, 8, dtype=torch.float64))
    for name in part.choices:
        logits = getattr(part, name)
        late, early = (
            choice(logits, call._replace(tick=0, progress=share), "x", 3.0, 1e-4).amax(-1) for share in (1.0, 0.0)
        )
        assert late.min() > 0.999 and early.min() < 0.9
        hard = part.chosen(name, call)
        assert torch.equal(hard.argmax(-1), logits.argmax(-1)) and torch.equal(
            hard.sum(-1), torch.ones(hard.shape[:-1])
        )
    assert [temperature(3.0, 0.03, share) for share in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([3.0, 0.3, 0.03, 0.03])


def test_noise_is_gumbels():
    """The largest of logits plus noise is drawn with the chances that their softmax says."""
    logits = torch.tensor([1.0, 0.0, -1.0]).expand(20_000, 3).double()
    call = Call.plain(torch.zeros(1, 1, 1, dtype=torch.float64))._replace(tick=3, progress=1.0)
    shares = choice(logits, call, "gate", 1.0, 1e-3).round().mean(0)
    assert (shares - logits[0].softmax(0)).abs().max() < 0.015
    assert choice(logits.bfloat16(), call, "gate", 1.0, 0.1).isfinite().all(), "also where few digits are left"


@torch.no_grad()
def test_a_count_is_a_whole_number():
    """(3) of ones, over the tokens so far that hold the letter that is wanted: the own one, and the next."""
    model = built()
    part = model.steps[1].part
    for gate in (part.query, part.key):
        gate.copy_(torch.eye(4)[0].expand(2, 4))  # the token
    part.predicate.copy_(torch.stack([torch.eye(4), torch.eye(4).roll(1, 1)]))
    counts = model.run(model.start(EVERY), [0, 1]).x[..., -2:]
    for place, letter in enumerate((EVERY, (EVERY + 1) % 4)):
        known = (EVERY[:, None] == letter[:, :, None]).tril().sum(-1)
        assert torch.equal(counts[..., place], known.double()) and known.max() > 2


@torch.no_grad()
def test_matching_reads_the_last_one_that_holds_what_is_wanted():
    """Queries and keys are tokens, wanted is a letter, read is the place: the own one last, else the first."""
    model = built(heads=1, layers=1)
    part = model.steps[0].part
    for name, which in (("query", 0), ("key", 0), ("value", 1)):
        getattr(part, name).copy_(torch.eye(2)[which] * 9)
    part.predicate.copy_(torch.eye(4)[None] * 9)
    rows = torch.tensor([[2, 0, 2, 2], [1, 3, 3, 1]])
    places = model.run(model.start(rows), [0]).x[..., 8:12].argmax(-1)
    assert places.tolist() == [[0, 1, 0, 2], [0, 1, 1, 0]]
    part.predicate.copy_(torch.eye(4).roll(1, 1)[None] * 9)  # wanted is the letter after the own one
    places = model.run(model.start(torch.tensor([[3, 1, 1, 0], [2, 1, 0, 2]])), [0]).x[..., 8:12].argmax(-1)
    assert places.tolist() == [[0, 0, 0, 2], [0, 0, 1, 0]]


@torch.no_grad()
def test_the_stream_grows_and_what_stands_in_it_stays():
    """(4) two variables, then of each layer a variable a head and a table, and a channel a count. (5) What was written
    is the same to the bit behind every later step."""
    model = built(heads=3, counts=2, tables=1, layers=2)
    flow, before = model.start(EVERY), None
    for step in range(len(model.steps)):
        flow = model.run(flow, [step])
        if before is not None:
            assert flow.x.shape[-1] > before.shape[-1] and torch.equal(flow.x[..., : before.shape[-1]], before)
        before = flow.x
    assert before.shape[-1] == model.head.stream.size == 2 * 4 + 2 * (3 * 4 + 2 + 1 * 4)
    laid = layout(model.head.stream, 4, "test")
    assert len(laid.categorical) == 2 + 2 * 4 and laid.numbers == (20, 21, 38, 39)
    kinds = laid.variables(before)
    assert torch.equal(kinds.sum(-1), torch.ones_like(kinds[..., 0])) and set(kinds.unique().tolist()) == {0.0, 1.0}


@torch.no_grad()
def test_soft_and_hard_agree_without_doubt():
    """(6) with logits of 20 and -20 a forward of training says what one outside does; with the first ones not."""
    model = built(tables=1)
    sure = make_transform("decompile").apply(model).model
    for name, tensor in sure.named_parameters():
        if name.endswith(("down", "down_bias")):
            tensor *= 1e6  # answers of tables are choices, too
    hard = sure(EVERY).logits
    gaps = []
    for each in (sure, model):
        with each.training_at(Moment(0, 0, 0, 1.0)):
            gaps.append(float((each(EVERY).logits - hard).abs().max()))
    assert gaps[0] < 1e-6 < 1e-2 < gaps[1]
    assert run(program(sure), EVERY) == hard.argmax(-1).tolist()


def test_every_choice_learns():
    """While it trains every gate, predicate and table has a gradient."""
    model = built()
    with model.training_at(Moment(0, 0, 0, 0.0)):
        model(EVERY).logits.square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == ["steps.1.part.value"]  # of the first layer's counts there is a one to choose, and nothing else


def test_any_sublayer_may_be_appended():
    """One as wide as the stream is narrowed to `growth` channels; what comes later stands on all of it."""
    made = by.build(model_of(
        dim=16, stem=stem("tokens", vocab=32),
        blocks=(block("a", mixer("attention", heads=2), channel("mlp", inner=8)),),
        residual=residual("append", growth=6), depth=depth("stack", layers=2), head=head("lm", tied=False),
    )).double()  # fmt: skip
    rows = torch.randint(0, 32, (2, 5), generator=torch.Generator().manual_seed(0))
    widths = [made.run(made.start(rows), range(n)).x.shape[-1] for n in range(5)]
    assert widths == [16, 22, 28, 34, 40]
    first = made.run(made.start(rows), [0]).x
    step = made.steps[0]
    call = Call.plain(rows[..., None].double())
    y = step.rule.down(step.part(step.rule.norm(first[..., :16], call), call, None)[0], call)
    assert torch.allclose(first[..., 16:], y, atol=1e-12)


@pytest.mark.parametrize(
    "changed, says",
    [
        (dict(residual=residual("prenorm")), "writes 32 channels of its own, and residual:prenorm takes"),
        (dict(depth=depth("shared", loops=2)), "makes the stream wider, and its block runs 2 times"),
        (dict(depth=depth("dropped", of=depth("stack", layers=2), share=0.5)), "may leave its block out"),
        (dict(head=head("lm", norm=None)), "set tied=false"),
        (dict(blocks=(block("layer", mixer("categorical", values=5)),)), "variables of 5 values do not fill 16"),
        (dict(stem=stem("one_hot", vocab=9, places=True)), "9 ids need dim=18 or more, not 16"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changed, says):
    spec = by.spec("transformer_programs", "tiny")["model"]
    spec = spec.but(blocks=(block("layer", mixer("categorical", heads=4, values=8)),)).but(**changed)
    with pytest.raises(UsageError, match=says):
        by.build(spec)


def test_what_is_no_program_is_not_told():
    with pytest.raises(UsageError, match="stem is stem:tokens, which cannot be told as a program"):
        make_transform("decompile").plan(by.build("llama", "tiny"))
    normed = by.spec("transformer_programs", "tiny")
    normed = by.build(normed.but(model=normed["model"].but(head=Spec.of("head", "lm", {"tied": False}))))
    with pytest.raises(UsageError, match="norm=none"):
        program(normed)
    with pytest.raises(UsageError, match="no step can be cut where each makes the stream wider"):
        make_transform("cut:steps=1").plan(by.build("transformer_programs", "tiny"))


def outcome(**scores):
    return SimpleNamespace(arm=lambda name: SimpleNamespace(score=SimpleNamespace(per_seed=scores[name])))


def test_a_seed_is_not_chosen_by_what_it_reports():
    """The one that errs least when it is tried counts, whatever it scores; a best score that was not foreseen does
    not."""
    report = outcome(program=[0.02, 0.3, 0.01], ordinary=[0.0, 0.25, None])
    tried = [
        {"reverse program": error, "reverse ordinary": other}
        for error, other in ((0.1, 0.1), (0.05, 0.04), (None, 0.0))
    ]
    assert study.chosen("reverse", "program", report, tried) == 0.3
    assert study.best_below("reverse", "program", 0.1).judge(report, tried) == (FAILS, 0.3, 0.1)
    assert study.near_best("reverse", "program", "ordinary", 0.1).judge(report, tried) == (
        HOLDS, pytest.approx(0.05), 0.1,
    )  # fmt: skip
    tried[0]["reverse program"] = 0.01
    assert study.best_below("reverse", "program", 0.1).judge(report, tried) == (HOLDS, 0.02, 0.1)
    none = outcome(program=[None] * 3, ordinary=[0.1] * 3)
    for prediction in (
        study.best_below("reverse", "program", 0.1),
        study.near_best("reverse", "program", "ordinary", 1),
    ):
        assert prediction.judge(none, tried).verdict == OPEN


def test_what_is_tried_is_neither_trained_on_nor_scored():
    """The examples of the race's tuning, each held against the model of its race and arm."""
    for task in study.TASKS.values():
        rows, length = rows_of(task), rows_of(task).length
        sets = [
            {tuple(row) for row in rows.exam(role, length).take(slice(None))["tokens"].tolist()}
            for role in ("tune", "final")
        ]
        trained = {tuple(row) for step in range(3) for row in rows.order(length, 64, 0).next(step)["tokens"].tolist()}
        assert all(sets) and not sets[0] & sets[1] and not trained & (sets[0] | sets[1])


def test_models_are_tried_on_their_own_race():
    """Who knows a task errs nowhere on it; the figure is the share that is wrong."""

    def trained(race, arm):
        rows = rows_of(study.TASKS[race])
        task, wrong = rows.task, {"program": 0, "ordinary": 1}[arm]

        def model(batch):
            said = (task.solve(batch.tokens.numpy()) + wrong) % task.vocab
            out = {"logits": torch.nn.functional.one_hot(torch.from_numpy(said), task.vocab).double()}
            return SimpleNamespace(prediction=out, logits=out["logits"])

        return Wrapped(model)

    found = study.tried(Given(0, "small", trained))
    wanted = {f"{race} {arm}": float(arm == "ordinary") for race in study.TASKS for arm in ("program", "ordinary")}
    assert found == pytest.approx(wanted)
    assert np.isfinite(scored(trained("reverse", "program"), rows_of(study.TASKS["reverse"]), "final"))


class Wrapped:
    """A function as a model that is scored."""

    axes: dict = {}

    def __init__(self, model):
        self.model = model

    def blind(self, batch):
        return batch

    def __call__(self, batch):
        return self.model(batch)
