"""What must hold of further pretraining by a student that restarts near its teacher."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from system_cases import F64, gap, model, normal, shake

import blockyard as by
from blockyard.core.spec import block, corrupt, depth, head, linear, mixer, objective, phase, residual, stem
from blockyard.core.spec import model as model_of
from blockyard.model.count import training_flops
from blockyard.task._material import Ends
from blockyard.train.loop import Run, Settings, build_objective

NAME = "self_distill_further_pretraining"
VIT = by.spec(NAME, dim=16, layers=1, heads=2, height=8, width=8, channels=1, patch=2)
PIXELS = objective("reconstruct", corrupt=corrupt("patches", patch=2, channels=1))
CLASSES, NEAR = objective("classes"), objective("distil")


class Images:
    """Batches of images with few causes, a function of the step."""

    def next(self, step):
        rng = np.random.default_rng(step)
        shapes = np.random.default_rng(0).normal(size=(3, 64))
        pixels = rng.normal(size=(8, 3)) @ shapes + 0.1 * rng.normal(size=(8, 64))
        return {"tokens": pixels.reshape(8, 8, 8, 1).astype(np.float32), "targets": rng.integers(0, 10, 8)}


def program(*phases):
    return VIT.but(program=phases)


def whole(*more):
    """Pretraining, a teacher, a student that restarts, classes."""
    return program(
        phase(PIXELS, share=0.25), phase(PIXELS, share=0.25), phase(PIXELS, share=0.25, also=(NEAR,), restart=1),
        *more, phase(CLASSES, share=0.25),
    )  # fmt: skip


def start(system, steps=8, **settings):
    return Run(system, by.build(system), Images(), Settings(steps=steps, lr=1e-2, **settings))


def numbers(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def of(spec, made):
    """The objective of a spec for a model in double precision."""
    return build_objective(spec, made).double()


def images(rows=3, seed=0):
    return normal(rows, 8, 8, 1, seed=seed)


def prepared(made, batch):
    draw = torch.Generator().manual_seed(3)
    return made.prepare(batch, lambda _, shape: torch.rand(shape, generator=draw))


@pytest.mark.parametrize("weight, same", [(0.0, True), (1.0, False)])
def test_without_its_weight_it_is_further_pretraining(weight, same):
    """(1) lambda = 0 equals further pretraining bitwise, moments included."""
    plain = start(program(phase(PIXELS), phase(PIXELS)))
    near = start(program(phase(PIXELS), phase(PIXELS, also=(NEAR.but(weight=weight),))))
    losses = [(plain.advance(), near.advance()) for _ in range(8)]
    assert all(a == b for a, b in losses[:5])  # at its first step a student is where its teacher is
    assert equal(numbers(plain.model), numbers(near.model)) is same
    assert all((a == b) is same for a, b in losses[6:])
    assert equal(numbers(plain.objective), numbers(near.objective)) is same
    for (name, p), q in zip(plain.model.named_parameters(), near.model.parameters()):
        assert not same or equal(plain.moments.get(p, {}), near.moments.get(q, {})), name


def test_no_gradient_reaches_the_teacher():
    """(2) the teacher gets no gradient, is not trained, and stays to the bit; its student gets one."""
    first, second = model(VIT), model(VIT, seed=2)
    made = of(NEAR, first)
    made.adopt(first, second)
    ((total, count, weight),) = made(first, by.Batch(images())).values()
    (weight * total / count).backward()
    assert first.stem.proj.weight.grad.abs().max() > 1e-6
    assert all(p.grad is None and not p.requires_grad for p in made.teacher.parameters())
    assert all(p.grad is None for p in second.parameters())
    run = start(whole())
    for _ in range(5):
        run.advance()
    (near,) = run.also
    taught = numbers(near.teacher)
    assert not any("teacher" in name for name in run.params)
    run.advance()
    assert equal(numbers(near.teacher), taught) and all(p.grad is None for p in near.teacher.parameters())


@torch.no_grad()
def test_the_teacher_that_one_starts_from_costs_nothing():
    """(3) with theta0 as its teacher the distillation loss is exactly 0 at step 0; with another one it is its mean."""
    first, second, batch = model(VIT), model(VIT, seed=2), by.Batch(images())
    made = of(NEAR, first)
    made.adopt(first, first)
    assert made(first, batch)["distil"][0] == 0
    made.adopt(first, second)
    total, count, weight = made(first, batch)["distil"]
    wanted = (first(batch).hidden - second(batch).hidden).square().sum(-1).mean()
    assert abs(total / count - wanted) < 1e-12 and wanted > 0.1 and weight == 1.0 and count == 3
    assert of(NEAR.but(weight=0.3), first).weight == 0.3


def test_a_program_gives_each_student_its_teacher():
    """(3) in a program: zero where a phase goes on, not where it restarts; a second round has the first's student."""
    goes_on = start(program(phase(PIXELS), phase(PIXELS, also=(NEAR,))), steps=4)
    run = start(whole(phase(PIXELS, share=0.25, also=(NEAR,), restart=1)), steps=10)
    batch = by.Batch(images().float())
    goes_on.enter(0), goes_on.advance(), goes_on.enter(1)
    assert goes_on.also[0](goes_on.model, batch)["distil"][0] == 0
    for _ in range(2):
        run.advance()
    run.enter(1)
    begun = numbers(run.model)
    for _ in range(2):
        run.advance()
    teacher = numbers(run.model)
    run.enter(2)
    assert equal(numbers(run.model), begun) and equal(numbers(run.also[0].teacher.model), teacher)
    assert run.also[0](run.model, batch)["distil"][0] > 0
    run.advance()
    student, old = numbers(run.model), run.also[0]
    run.enter(3)
    assert equal(numbers(run.model), begun) and not equal(student, begun)
    assert run.also[0] is not old and equal(numbers(run.also[0].teacher.model), student)


def distance(a, b):
    return sum(float((p - q).detach().square().sum()) for p, q in zip(a.parameters(), b.parameters())) ** 0.5


@pytest.mark.slow
def test_a_student_stays_nearer_to_where_it_began():
    """(4) ||theta_S - theta0|| < ||theta_T - theta0|| after equal steps at one rate, on the same images each time."""

    class Again(Images):
        def next(self, step):
            return super().next(step % 2)

    system = program(
        phase(PIXELS, share=0.2), phase(PIXELS, share=0.3), phase(PIXELS, share=0.3, also=(NEAR,), restart=1),
        phase(CLASSES, share=0.2),
    )  # fmt: skip
    found = []
    for seed in range(3):
        settings = Settings(steps=60, lr=3e-3, schedule="wsd", weight_decay=0.0, seed=seed)
        run = Run(system, by.build(system, seed), Again(), settings)
        for _ in range(48):
            run.advance()
            if run.step == 30:
                begun = run.kept[1]["model"]
                teacher = distance(run.model, begun)
        found.append(distance(run.model, begun) / teacher)
    assert max(found) < 0.97


def line(inputs=3, outputs=2, dim=4):
    """A linear encoder W x + b behind a linear head, in double precision."""
    return model(model_of(
        dim=dim, stem=stem("frames", channels=inputs), blocks=(block("one", mixer("identity")),),
        residual=residual("prenorm"), depth=depth("none"), head=head("values", outputs=outputs, norm=None),
        linear=linear("dense", bias=True),
    ))  # fmt: skip


@pytest.mark.parametrize("weight", [0.0, 0.7, 20.0])
def test_a_linear_student_ends_where_the_closed_form_says(weight):
    """(5) quadratic loss plus the distance to a teacher, of a linear encoder: least squares over both."""
    student, teacher = line(), line()
    shake(teacher, seed=4)
    x, y = normal(5, 6, 3), normal(5, 6, 2, seed=1)
    batch = by.Batch(x, y)
    near, squared = of(NEAR.but(weight=weight), student), of(objective("squared"), student)
    near.adopt(student, teacher)
    learned = student.stem.proj
    free = [learned.weight, learned.bias]

    def loss():
        terms = [*squared(student, batch).values(), *near(student, batch).values()]
        return sum(weight * total / count for total, count, weight in terms)

    solver = torch.optim.LBFGS(free, lr=1, max_iter=150, tolerance_grad=1e-12, tolerance_change=0, history_size=30)

    def step():
        solver.zero_grad()
        value = loss()
        value.backward(inputs=free)
        return value

    solver.step(step)
    ones = np.concatenate([x.reshape(-1, 3).numpy(), np.ones((30, 1))], 1)
    own, bias = (p.detach().numpy() for p in (student.head.proj.weight, student.head.proj.bias))
    goal = teacher(batch).hidden.detach().reshape(-1, 4).numpy()
    design = np.concatenate([np.kron(ones, own) / 60**0.5, np.kron(ones, np.eye(4)) * (weight / 30) ** 0.5])
    wanted = np.concatenate([(y.reshape(-1, 2).numpy() - bias).ravel() / 60**0.5, goal.ravel() * (weight / 30) ** 0.5])
    solved = np.linalg.lstsq(design, wanted, rcond=None)[0].reshape(4, 4).T  # (D, C + 1)
    off = solved - torch.cat([learned.weight, learned.bias[:, None]], 1).detach().numpy()
    assert np.abs(off if weight else own @ off).max() < 1e-6  # alone, only what the head says of it is decided


def test_pieces_of_a_batch_add_up():
    """Both terms in micro-batches are those of the whole batch, and rows of padding say nothing of their own."""
    held = objective("l2_sp", weight=0.5)
    system = program(phase(PIXELS), phase(PIXELS, also=(NEAR, held), restart=0))
    run, found = start(system), []
    for _ in range(7):
        run.advance()
    batches = [each.prepare(by.Batch(images(8).float()), run._drawing(0)) for each in run._minimised()]
    for micro in (None, 3):
        run.micro = micro
        loss = run._gradient(batches)
        found.append((loss, {name: p.grad.clone() for name, p in run.params.items() if p.grad is not None}))
    (whole, slopes), (summed, others) = found
    assert whole == pytest.approx(summed, rel=1e-5) and slopes.keys() == others.keys()
    assert all(torch.allclose(slopes[name], others[name], rtol=1e-3, atol=1e-5) for name in slopes)
    run.also.clear()
    assert whole > run._gradient(batches[:1]) + 1e-3
    made = model("bert", dim=16, layers=1, heads=2, vocab=20)
    other = model("bert", seed=2, dim=16, layers=1, heads=2, vocab=20)
    near = of(NEAR, made)
    near.adopt(made, other)
    ids, valid = torch.arange(12).view(2, 6), torch.arange(6) < torch.tensor([[6], [4]])
    total, count, _ = near(made, by.Batch(ids, valid=valid))["distil"]
    alone = [near(made, by.Batch(ids[i : i + 1, :n]))["distil"][0] for i, n in ((0, 6), (1, 4))]
    assert count == 2 and abs(total - sum(alone)) < 1e-9


def test_a_teacher_of_another_shape_is_refused():
    wide, short = (
        (by.build(VIT.override("model.dim", 32))),
        by.build(VIT.map(lambda s: s.but(patch=4) if s.kind == "stem" else s)),
    )
    student = by.build(VIT)
    near = build_objective(NEAR, student)
    with pytest.raises(by.UsageError, match="32 channels, the model's 16"):
        near.adopt(student, wide)
    near.adopt(student, short)
    with pytest.raises(by.UsageError, match="they must agree"):
        near(student, by.Batch(images().float()))


def test_parameters_are_held_to_where_their_phase_began():
    """weight / 2 sum (w - w0)^2, over what trains; w0 is where a phase restarts, not where the last one ended."""
    made, other = model(VIT), model(VIT, seed=2)
    held = of(objective("l2_sp", weight=0.3), made)
    held.adopt(made, other)
    batch, before = by.Batch(images()), made.stem.proj.weight.detach().clone()
    assert held(made, batch)["l2_sp"][0] == 0
    with torch.no_grad():
        made.stem.proj.weight.add_(0.1), made.head.proj.bias.add_(1.0)
    made.head.requires_grad_(False)
    total, count, weight = held(made, batch)["l2_sp"]
    (weight * total / count).backward()
    assert gap(total / count, torch.tensor(0.005 * before.numel(), dtype=F64)) < 1e-12 and weight == 0.3
    assert gap(made.stem.proj.weight.grad, torch.full_like(before, 0.03)) < 1e-12
    assert all(p.grad is None for p in held.parameters())
    grown = by.build(VIT.override("model.dim", 32))
    with pytest.raises(by.UsageError, match="transformed since"):
        held(grown, batch)
    with pytest.raises(by.UsageError, match="transformed since"):
        held(by.build(VIT.override("depth.layers", 2)), batch)
    run = start(program(phase(PIXELS), phase(PIXELS), phase(PIXELS, also=(objective("l2_sp"),), restart=1)), steps=6)
    for _ in range(2):
        run.advance()
    run.enter(1)
    begun = numbers(run.model)
    for _ in range(2):
        run.advance()
    run.enter(2)
    assert equal(numbers(run.also[0].start.model), begun)


def test_pulled_harder_it_stays_nearer():
    apart = []
    for weight in (0.0, 0.1, 10.0):
        run = start(program(phase(PIXELS, also=(objective("l2_sp", weight=weight),))), steps=20, weight_decay=0.0)
        begun = by.build(VIT)
        for _ in range(20):
            run.advance()
        apart.append(distance(run.model, begun))
    assert apart[0] > apart[1] > apart[2]


@torch.no_grad()
@pytest.mark.parametrize("entry, token", [("patches", "classes"), ("class_patches", "class_token")])
def test_pixels_are_said_where_they_are_hidden(entry, token):
    """The loss is the mean squared error of the pixels of hidden patches, and nothing there is read."""
    made = model(VIT.map(lambda s: s.but(stem=stem(entry, height=8, width=8, channels=1, patch=2),
                                         head=head(token, classes=10)) if s.kind == "model" else s))  # fmt: skip
    asks, batch = shake(of(PIXELS, made), seed=5), by.Batch(images())
    shown = prepared(asks, batch)
    asked = shown.targets.isfinite()
    hidden = asked.all(-1)
    assert hidden.sum(1).tolist() == [12] * 3 and torch.equal(asked.any(-1), hidden)
    cells = asks.corrupt.cells(batch.tokens)
    assert cells.shape == (3, 16, 4) and torch.equal(cells[0, 5], batch.tokens[0, 2:4, 2:4].flatten())
    total, count, weight = asks(made, shown)["hidden"]
    assert count == 3 * 12 * 4 == asks.counts(shown)["hidden"] and weight == 1.0
    other = replace(shown, tokens=torch.where(shown.tokens == 0, 7.0, shown.tokens))
    assert not torch.equal(other.tokens, shown.tokens) and gap(asks(made, other)["hidden"][0], total) < 1e-9
    x = made.start(shown).carry[:, -16:] - made.stem.position.table[-16:]
    mixed = torch.where(hidden[..., None], asks.hidden, x)
    own = made.start(shown, points={"stem:embedded": lambda _: mixed})
    y = asks.head.proj(asks.head.norm(made.run(own).x, None), None)[:, -16:]
    assert gap((y - cells)[hidden].square().sum(), total) < 1e-9
    asks.hidden.add_(1.0)
    assert gap(asks(made, shown)["hidden"][0], total) > 1e-3


def test_vectors_are_said_too_and_what_does_not_fit_is_refused():
    spec = model_of(
        dim=16, stem=stem("frames", channels=3), blocks=(block("one", mixer("attention", heads=2)),), causal=False,
        residual=residual("prenorm"), depth=depth("stack", layers=1), head=head("row_values"),
    )  # fmt: skip
    made = model(spec)
    asks = of(objective("reconstruct", corrupt=corrupt("frames", channels=3)), made)
    valid = torch.arange(6) < torch.tensor([[6], [4]])
    shown = prepared(asks, by.Batch(normal(2, 6, 3), valid=valid))
    assert shown.targets.isfinite().all(-1).sum(1).tolist() == [3, 2]
    total, count, _ = asks(made, shown)["hidden"]
    assert count == 15 and total > 0
    with pytest.raises(by.UsageError, match="objective:masked asks"):
        of(objective("reconstruct", corrupt=corrupt("mask")), made)
    vit, four = model(VIT), objective("reconstruct", corrupt=corrupt("patches", channels=1))
    with pytest.raises(by.UsageError, match="4 tokens, the stem into 16"):
        asks = of(four, vit)
        asks(vit, prepared(asks, by.Batch(images())))
    with pytest.raises(by.UsageError, match="patch=4 does not divide images of 6 by 8"):
        prepared(asks, by.Batch(normal(2, 6, 8, 1)))
    pyramid = model(by.spec("swin", "tiny"))
    with pytest.raises(by.UsageError, match="unknown hook point"):
        asks = of(objective("reconstruct", corrupt=corrupt("patches", channels=pyramid.stem.image[2])), pyramid)
        asks(pyramid, prepared(asks, pyramid.example(2, 16)))
    with pytest.raises(by.UsageError, match="bidirectional"):
        of(PIXELS, by.build(VIT.override("model.causal", True)))


def test_what_data_say_reaches_every_objective_of_a_program():
    """Patches, channels, classes; a second forward and a teacher are charged; a task of tokens keeps none of it."""
    told = dict(height=12, width=8, channels=2, patch=4, classes=3)
    ends = Ends("images", "classes", "classes", stem("patches"), head("classes"), CLASSES, settings=told)
    system = ends.fit(by.spec(NAME, "tiny", held=0.1))
    assert [each["objective"].name for each in system["program"]] == ["reconstruct"] * 3 + ["classes"]
    for each in system["program"][:3]:
        hides = dict(each["objective"]["corrupt"].settings)
        assert (hides["patch"], hides["channels"]) == (4, 2)
    assert [each.get("also", ()) for each in system["program"]] == [
        (), (objective("l2_sp", weight=0.1),), (objective("distil", weight=1.0),), (),
    ]  # fmt: skip
    assert [each.get("restart") for each in system["program"]] == [None, None, 1, None]
    assert [each["share"] for each in system["program"]] == pytest.approx([0.2, 0.2, 0.2, 0.4])
    forward = by.count(system, 6).flops_per_token
    assert training_flops(system, 6) == pytest.approx((3 + 0.2 * 4) * forward)
    plain = by.spec(NAME, "tiny", further=0, distilling=0)
    assert [each["share"] for each in plain["program"]] == [0.2, 0.8]
    early = by.spec(NAME, "tiny", further=0)
    assert [each.get("restart") for each in early["program"]] == [None, 0, None]
    with pytest.raises(by.UsageError, match="needs a teacher"):
        by.spec(NAME, "tiny", further=0, pretraining=0)
