"""How fast the arms of a comparison are, measured in turns so that the machine's drift meets all of them alike."""

import contextlib
import time
from dataclasses import replace
from itertools import pairwise
from statistics import median

import torch

from blockyard.compare.documents import Job, Timings
from blockyard.compare.identity import key_of
from blockyard.compare.plan.dataset import named, own_orders
from blockyard.compare.run.after import become
from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import Spec
from blockyard.decode.generate import generate
from blockyard.decode.rules import SamplingParams
from blockyard.model.model import Model, build
from blockyard.train.loop import Diverged, Run, Settings

PROMPT, DECODE = 32, 32  # tokens that are read before a round, and decoded in it


def bench(jobs: list[Job], rounds: int) -> list[Timings]:
    """Seconds a training step and a decoded token of every job, a list over rounds each; the order turns by one.

    Jobs of one training share its timings; a token is decoded by what each of them becomes.
    """
    bases = {key_of(job.base): job.base for job in jobs}
    runs = {key: prepared(job) for key, job in bases.items()}
    for run in runs.values():  # the first steps pay for what later ones reuse
        step(run)
    models = [_after(job, runs[key_of(job.base)].model) for job in jobs]
    steps: dict[str, list[float]] = {key: [] for key in runs}
    tokens: list[list[float]] = [[] for _ in jobs]
    for turn in range(rounds):
        for i in range(len(jobs)):
            which = (i + turn) % len(jobs)
            key = key_of(jobs[which].base)
            if len(steps[key]) == turn:
                began = time.perf_counter()
                step(runs[key])
                steps[key].append(time.perf_counter() - began)
            if goes_on(models[which]) and not runs[key].spread.sharded and jobs[which].length > 1:
                tokens[which].append(decode_seconds(models[which], jobs[which].length))
    return [Timings(steps[key_of(job.base)], each) for job, each in zip(jobs, tokens)]


def step(run: Run) -> None:
    """One step; an arm that diverges is as fast as it is, and fails in its runs."""
    with contextlib.suppress(Diverged):
        run.advance()


def prepared(job: Job) -> Run:
    """A run that nothing was trained of yet, and that has no end to speak of."""
    system = Spec.from_json(job.system)
    model = build(system, fold("bench")).to(job.device)
    settings = Settings(steps=10**6, lr=1e-4, precision=job.precision, device=job.device, micro=job.micro)
    own = own_orders(system, job, 0)
    return Run(system, model, named(job.choice).order(job.length, job.batch, 0), settings, own)


def _after(job: Job, model: Model) -> Model:
    """What the job's transforms make of a model that has learned nothing yet, on as little data as there can be."""
    if not job.then:
        return model
    return become(model, replace(job, shown=1), named(job.choice), lambda _: _as_it_is)[0]


def goes_on(model: Model) -> bool:
    """Whether what it predicts is what it reads next, token by token, and it reads nothing else."""
    return model.of_ids and model.head.says == "tokens" and bool(model.claims.get("streams"))


def decode_seconds(model: Model, length: int = PROMPT + DECODE) -> float:
    """The median time of one token, greedy, one row, after a short prompt: as `generate` writes it.

    length   tokens, 2 or more, that the model can read: the prompt and the new ones are no more
    """
    prompt = min(PROMPT, length // 2)
    new = min(DECODE, length - prompt)
    ids = torch.zeros(1, prompt, dtype=torch.long, device=next(model.parameters()).device)
    try:
        came = [time.perf_counter() for _ in generate(model, ids, new + 1, SamplingParams(temperature=0))]
    except UsageError:  # predictions that are no numbers are no text; what is wrong shows in the runs of this arm alone
        came = _plain_steps(model, ids, new)
    return median(after - before for before, after in pairwise(came))


@torch.no_grad()
def _plain_steps(model: Model, ids: torch.Tensor, new: int) -> list[float]:
    """The times at which the prompt, and so many tokens one after another, had gone through the model."""
    state, came = model(ids, model.init_state(1)).state, [time.perf_counter()]
    for _ in range(new):
        state = model(ids[:, :1], state).state
        came.append(time.perf_counter())
    return came


def _as_it_is(model: Model, tokens: int, rate: float) -> Model:
    """In place of training: other numbers are read no quicker."""
    return model
