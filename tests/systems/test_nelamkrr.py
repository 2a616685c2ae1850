"""What must hold of worlds of rules: answers, proofs, balance; of checked text; of a loss that knows a rule."""

import itertools
import math

import numpy as np
import pytest
import torch
from system_cases import F64, normal

import blockyard as by
from blockyard.core import Batch, UsageError
from blockyard.core.spec import objective
from blockyard.decode.checked import checked
from blockyard.probe.consistency import consistency_probe
from blockyard.task import make_task
from blockyard.task._logic import closure, proof
from blockyard.train.loop import build_objective

ATOMS = 9


def random_worlds(count, size=11, seed=0):
    """Bodies and heads of any worlds: cycles, several proofs, bodies of none to two atoms."""
    draw = np.random.default_rng(seed)
    bodies = draw.integers(0, ATOMS, (count, size, 2))
    bodies[draw.random(bodies.shape) < 0.35] = -1
    return bodies, draw.integers(0, ATOMS, (count, size))


def fixed_point(rules):
    """{atom: rounds until it holds}, of rules (set of atoms, head)."""
    known, step = {}, 0
    while True:
        new = {head for body, head in rules if head not in known and body <= known.keys()}
        if not new:
            return known
        known |= dict.fromkeys(new, step)
        step += 1


def rules_of(bodies, heads, atoms=ATOMS):
    return [({int(b) for b in body if 0 <= b < atoms}, int(head)) for body, head in zip(bodies, heads)]


def read(task, row):
    """The rules and the question of a row, from its tokens alone."""
    lines = [row[i : i + 4] for i in range(0, task.start - 1, 4)]
    return [({x for x in line[:2] if x < task.atoms}, line[3]) for line in lines], row[task.start]


def last_answers(examples):
    return np.array([[x for x in row if x >= 0][-1] for row in examples.targets])


def test_labels_are_those_of_a_brute_fixed_point():
    """(1) on 1000 random worlds of any form, with every depth, and on 1000 of the task."""
    bodies, heads = random_worlds(1000)
    depth = closure(bodies, heads, ATOMS).depth
    for each, body, head in zip(depth, bodies, heads):
        assert {a: int(d) for a, d in enumerate(each) if d >= 0} == fixed_point(rules_of(body, head))
    task = make_task("logic_worlds:depth=3,atoms=16,statements=12")
    examples = task.sample(0, 1000)
    for row, answer in zip(examples.tokens.tolist(), last_answers(examples)):
        rules, question = read(task, row)
        assert answer == (task.yes if question in fixed_point(rules) else task.no)


def test_labels_are_those_of_clingo():
    """(1) the oracle: the one stable model of a program of definite rules."""
    clingo = pytest.importorskip("clingo")
    bodies, heads = random_worlds(60, seed=1)
    for each, body, head in zip(closure(bodies, heads, ATOMS).follows, bodies, heads):
        control = clingo.Control(["--warn=none"])
        lines = [f"a{h} :- {', '.join(f'a{b}' for b in sorted(held))}." for held, h in rules_of(body, head)]
        control.add("base", [], "\n".join(line.replace(":- .", ".") for line in lines))
        control.ground([("base", [])])
        with control.solve(yield_=True) as models:
            (found,) = [{str(atom) for atom in model.symbols(atoms=True)} for model in models]
        assert found == {f"a{atom}" for atom in np.flatnonzero(each)}


def test_every_proof_replays():
    """(2) each step's body holds by then, the last one says the atom, every step is used, the depth is as reported."""
    bodies, heads = random_worlds(150, seed=2)
    depth, met = closure(bodies, heads, ATOMS).depth, set()
    for each, body, head in zip(depth, bodies, heads):
        rules = rules_of(body, head)
        for atom in range(ATOMS):
            steps, known, used = proof(body, head, atom, ATOMS), {}, set()
            assert bool(steps) == (each[atom] >= 0)
            for step in steps:
                held, said = rules[step]
                assert held <= known.keys() and said not in known
                known[said] = max((known[b] + 1 for b in held), default=0)
                used |= held
            if steps:
                assert rules[steps[-1]][1] == atom and known[atom] == each[atom] and used | {atom} == known.keys()
                met.add(known[atom])
    assert met >= {0, 1, 2, 3}


def test_a_derivation_says_all_that_follows_in_an_order_that_replays():
    """(2) of the rows: every step follows from facts and the steps before it, and nothing is left out."""
    task = make_task("logic_worlds:depth=3,atoms=18,statements=14,derivation=yes")
    tokens, targets = task.sample(1, 300)
    for row, asked in zip(tokens.tolist(), targets.tolist()):
        rules, question = read(task, row)
        *steps, answer = [x for x in asked if x >= 0]
        facts = {head for body, head in rules if not body}
        for i, step in enumerate(steps):
            assert any(head == step and body <= facts | {*steps[:i]} for body, head in rules)
        assert facts | {*steps} == fixed_point(rules).keys() and not facts & {*steps}
        assert answer == (task.yes if question in facts | {*steps} else task.no)
        assert row[task.start + 1 : task.start + 1 + len(steps)] == steps


@pytest.mark.parametrize("names", [False, True])
def test_order_and_names_change_no_label(names):
    """(3) and the rows do change."""
    task = make_task("logic_worlds:depth=3,atoms=16,statements=12")
    examples = task.sample(2, 300)
    again = task.told_again(examples.tokens, 5, names=names)
    assert np.array_equal(examples.targets, again.targets)
    assert (examples.tokens != again.tokens).any(1).all()
    assert np.array_equal(task.depths(examples.tokens), task.depths(again.tokens))
    assert (examples.tokens[:, task.start] != again.tokens[:, task.start]).any() == names


def counts(task, tokens):
    """(n,F) what a bag of rules tells: how often each atom is in bodies and heads, a fact, asked; how often the one
    that is asked is in a head or a body; how many rules and facts there are."""
    lines = tokens[:, : task.start - 1].reshape(len(tokens), -1, 4)
    every = np.arange(task.atoms)
    body, head = (lines[:, :, :2, None] == every).sum((1, 2)), lines[:, :, 3, None] == every
    is_fact = (lines[:, :, :2] >= task.atoms).all(2)
    facts, asked = (head & is_fact[..., None]).sum(1), tokens[:, task.start, None] == every
    more = [(x * asked).sum(1, keepdims=True) for x in (body, head.sum(1))]
    more += [((lines[:, :, :2] < task.atoms).sum(2) == k).sum(1, keepdims=True) for k in range(3)]
    more += [(facts * body).sum(1, keepdims=True), (body == 0).sum(1, keepdims=True)]
    return np.concatenate([body, head.sum(1), facts, asked, *more], 1).astype(float)


def test_no_depth_and_no_count_tells_the_label():
    """(4) half of the questions of each depth follow, a logistic model of a bag of rules is right on at most 60%."""
    task = make_task("logic_worlds:depth=3,atoms=16,statements=12")
    many = task.sample(3, 12_000)
    depth, label = task.depths(many.tokens), last_answers(many) == task.yes
    for k in range(4):
        assert abs(label[depth == k].mean() - 0.5) < 0.02 and (depth == k).mean() > 0.2
    shown = counts(task, many.tokens[:2400])
    shown = (shown - shown.mean(0)) / (shown.std(0) + 1e-9)
    weights = np.zeros(shown.shape[1])
    for _ in range(8):  # Newton's steps of the logistic loss, with a ridge
        p = 1 / (1 + np.exp(-shown[:1600] @ weights))
        hessian = (shown[:1600].T * (p * (1 - p))) @ shown[:1600] + np.eye(len(weights))
        weights -= np.linalg.solve(hessian, shown[:1600].T @ (p - label[:1600]) + weights)
    assert ((shown[1600:] @ weights > 0) == label[1600:2400]).mean() <= 0.6
    deep = depth[:1600] > 0
    assert abs(shown[:1600][deep].T @ (label[:1600][deep] - 0.5)).max() / deep.sum() < 0.08, (
        "no count alone does either"
    )


class Said:
    """A model that says these scores."""

    def __init__(self, scores):
        self.scores = scores
        self.head = type("Head", (), {"classes": type("Axis", (), {"size": scores.shape[1]})})

    def __call__(self, batch):
        return type("Out", (), {"prediction": {"classes": self.scores}})


def semantic(scores, clauses=()):
    """The mean loss of scores (n,K)."""
    model = by.build("llama", "tiny")
    made = build_objective(objective("semantic_loss", clauses=clauses), model)
    total, count, _ = made(Said(scores), Batch(torch.zeros(len(scores), 1)))["semantic_loss"]
    return float(total / count)


def keeps(case, rule):
    return all(any(case[abs(x) - 1] == (x > 0) for x in clause) for clause in rule)


@pytest.mark.parametrize("clauses, rule", [
    ((), None), (("-0|1", "2|-3"), ((-1, 2), (3, -4))), (("0|1|2|3",), ((1, 2, 3, 4),)), (("-1",), ((-2,),)),
])  # fmt: skip
def test_the_semantic_loss_is_the_sum_over_cases(clauses, rule):
    """(5) nothing for a certain distribution that keeps the rule; else -log of the mass of the cases that keep it."""
    scores = 2 * normal(5, 4)
    wanted = []
    for row in (1 / (1 + torch.exp(-scores))).tolist():
        mass = 0.0
        for case in itertools.product((False, True), repeat=4):
            if sum(case) == 1 if rule is None else keeps(case, rule):
                mass += math.prod(p if x else 1 - p for p, x in zip(row, case))
        wanted.append(-math.log(mass))
    assert abs(semantic(scores, clauses) - sum(wanted) / 5) < 1e-8
    certain = torch.tensor([[-60.0, -60, 60, -60]], dtype=F64)
    assert abs(semantic(certain, clauses)) < 1e-12
    wrong = semantic(torch.tensor([[-60.0, 60, -60, 60]], dtype=F64), clauses)
    assert wrong == pytest.approx(0 if clauses == ("0|1|2|3",) else 60, abs=1)


@pytest.mark.parametrize("clauses, says", [
    (("0", "-0"), "nothing keeps"), (("7",), "no class 7"), (("a|b",), "is no clause"), (("0|",), "is no clause"),
])  # fmt: skip
def test_a_rule_that_cannot_be_kept_is_refused(clauses, says):
    """A clause that is none, about no class, or against another one."""
    with pytest.raises(UsageError, match=says):
        build_objective(objective("semantic_loss", clauses=clauses), by.build("llama", "tiny")).adopt(
            Said(torch.zeros(1, 4)), None
        )


def test_steps_behind_a_checker_are_sound():
    """(6) all of them, of a model that knows nothing; without the checker hardly any."""
    task = make_task("logic_worlds:depth=3,atoms=16,statements=14,derivation=yes")
    prompts = torch.from_numpy(task.sample(4, 16).tokens[:, : task.start + 1])
    model = by.build(task.ends.fit(by.spec("llama", "tiny")))
    stop = (task.yes, task.no)

    def sound(steps):
        """How many steps were said before the answer, and how many of them follow."""
        said = torch.stack([step.tokens for step in steps], 1).tolist()
        met = [0, 0]
        for row, ids in zip(prompts.tolist(), said):
            rules, _ = read(task, row)
            known = {head for body, head in rules if not body}
            for atom in itertools.takewhile(lambda x: x not in (*stop, -1), ids):
                met[0] += 1
                met[1] += atom not in known and any(head == atom and body <= known for body, head in rules)
                known.add(atom)
        return met

    rules = by.SamplingParams(seed=3)
    late = lambda ids: task.sound(ids)[:-2] or stop  # noqa: E731  (no answer before nothing more follows)
    for checker, least in ((task.sound, 1), (late, 16)):
        count, good = sound(checked(model, prompts, 8, checker, rules, stop=stop))
        assert count == good >= least
    count, good = sound(by.generate(model, prompts, 8, rules, stop=stop))
    assert good < count / 2


def test_consistency_is_the_agreement_of_ways():
    """A model is asked the same question in two orders; ways that are the same row agree, to the last bit."""
    task = make_task("logic_worlds:atoms=16")
    tokens = task.sample(0, 20).tokens
    again = task.told_again(tokens, 1).tokens
    model = by.build(task.ends.fit(by.spec("llama", "tiny"))).double()
    twice = consistency_probe(model, torch.from_numpy(np.repeat(tokens, 3, 0)), ways=3)
    assert (
        (twice["agreement"] == 1).all() and np.abs(twice["divergence"]).max() < 1e-12 and len(twice["divergence"]) == 20
    )
    mixed = consistency_probe(model, torch.from_numpy(np.stack([tokens, again], 1).reshape(40, -1)))
    log_p = [model(torch.from_numpy(x)).logits[:, -1].detach().log_softmax(-1) for x in (tokens, again)]
    same = (log_p[0].argmax(-1) == log_p[1].argmax(-1)).double()
    assert np.array_equal(mixed["agreement"], same.numpy()) and 0 < same.mean() < 1
    mean = ((log_p[0].exp() + log_p[1].exp()) / 2).log()
    bits = sum((p.exp() * (p - mean)).sum(-1) / 2 for p in log_p) / math.log(2)
    assert np.abs(mixed["divergence"] - bits.numpy()).max() < 1e-10
    with pytest.raises(UsageError, match="ways=3"):
        consistency_probe(model, torch.from_numpy(tokens), ways=3)
