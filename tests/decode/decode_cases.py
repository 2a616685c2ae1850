"""Small models whose next token is far from certain, and prompts for them."""

from functools import cache

import torch

import blockyard as by
from blockyard.compare.run.speed import goes_on
from blockyard.core import registry
from blockyard.core.claims import keeps
from blockyard.core.spec import block, channel, depth, head, mixer, model, residual, stem, system
from blockyard.model.count import on_meta

RECIPES = [name for name in by.recipes() if goes_on(on_meta(by.spec(name, "tiny")))]  # what writes token by token


def going_on(kind):
    """The names of parts of a kind that go on from a state, on tokens in a row."""
    found = {name: entry.load_named() for name, entry in registry.entries(kind).items()}
    return [name for name, made in found.items() if keeps(made.claims, made.known, "streams") and not made.around]


NAMES = [*RECIPES, "windowed", "looped"]
LOOPED = system(
    model(
        dim=16,
        stem=stem("tokens", vocab=256),
        blocks=(block("a", mixer("gla", heads=2), mixer("attention", heads=2, window=4, sinks=1), channel("gated")),),
        depth=depth("shared", loops=2),
        residual=residual("peri"),
        head=head("lm"),
    )
)


@cache
def tiny(name, seed=0, dtype=torch.float64, noise=0.05, **overrides):
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    built = (by.build(LOOPED) if name == "looped" else by.build(name, "tiny", **settings)).to(dtype)
    draw = torch.Generator().manual_seed(5 + seed)
    for p in built.parameters():
        p.data += noise * torch.randn(p.shape, generator=draw, dtype=torch.float64).to(dtype)
    return built


def model_of(name, **overrides):
    """The model of a recipe, or one whose cache forgets all but the first tokens and the last."""
    return tiny("llama", mixer__window=5, mixer__sinks=2) if name == "windowed" else tiny(name, **overrides)


def reaching(name, length):
    """What is set so that a model takes texts of this length: a recipe says it where its positions end."""
    return {"length": length} if name in RECIPES and "length" in registry.find("recipe", name).schema else {}


def wide(name, **overrides):
    """A recipe in widths of whole vectors, its small parameters moved away from where they start."""
    schema = registry.find("recipe", name).schema
    size = {key: value for key, value in dict(heads=2, layers=4).items() if key in schema}
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    built = by.build(by.spec(name, "tiny", dim=128, **size, **settings))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in built.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=draw))
    return built.eval()


def ids(rows=2, length=20, seed=0, vocab=256):
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


def ragged(*lengths, vocab=256):
    return [ids(1, length, seed, vocab)[0] for seed, length in enumerate(lengths)]


def written(steps):
    """(B,T) tokens of a run, -1 where a row had finished."""
    return torch.stack([step.tokens for step in steps], 1)
