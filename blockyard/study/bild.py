"""Does a small model write most of a text, with a large one that looks after what it was unsure of?

Source   arXiv 2302.07863    Slug  bild    Family  decode
Claim    with a large model asked now and then a small one writes nearly what the large one would, several tokens a call
Differs  models of bytes, of one layer and of four, on the texts of CPython; calls of the large model are counted, not
         time; nothing aligns the small model with the large one
"""

import numpy as np
import torch

from blockyard.data.default import default_text
from blockyard.decode.fallback import Calls, fallback
from blockyard.decode.generate import generate
from blockyard.decode.rules import GREEDY
from blockyard.model.model import Model
from blockyard.study._base import Given, Race, Study, Trial, figure

PROMPT, ROLLBACK = 32, 2.0
UNSURE = (0.3, 0.5, 0.7)
NEAR = 0.05  # nats a token by which a text may be less likely than the large model's own
KINDS = ("attention", "recurrent")


def written(given: Given) -> dict[str, float | None]:
    """Calls of the large model a token, and what their texts lose, for models of both kinds."""
    return {f"{kind} {name}": value for kind in KINDS for name, value in _of(given, kind).items()}


def _of(given: Given, kind: str) -> dict[str, float | None]:
    """The fewest calls at which little is lost, and what is lost at each threshold and by the small model alone."""
    small, large = given.trained("small", kind), given.trained("large", kind)
    rows, tokens = (12, 96) if given.tier == "small" else (2, 4)
    prompts = _prompts(rows, given.seed)
    own = [_greedy(large, ids, tokens) for ids in prompts]
    base = _nats(large, prompts, own)
    found: dict[float, tuple[float, float]] = {}
    for unsure in UNSURE:
        calls, texts = Calls(), list[torch.Tensor]()
        for ids in prompts:
            steps = fallback(small, large, ids, tokens, unsure=unsure, rollback=ROLLBACK, calls=calls)
            texts.append(torch.stack([step.tokens for step in steps], 1))
        found[unsure] = calls.large / calls.tokens, _nats(large, prompts, texts) - base
    near = [each for each in found.values() if each[1] <= NEAR]
    alone = _nats(large, prompts, [_greedy(small, ids, tokens) for ids in prompts]) - base
    return {
        "calls": min(near)[0] if near else None, "settings that lose little": float(len(near)), "small loses": alone,
        **{f"calls at {unsure:g}": calls for unsure, (calls, _) in found.items()},
        **{f"loses at {unsure:g}": lost for unsure, (_, lost) in found.items()},
    }  # fmt: skip


def _prompts(rows: int, seed: int) -> list[torch.Tensor]:
    """Bytes (1,PROMPT) from anywhere in the texts."""
    text = np.frombuffer(b"".join(default_text().documents), np.uint8).astype(np.int64)
    begins = np.random.default_rng(seed).integers(0, len(text) - PROMPT, rows)
    return [torch.from_numpy(text[at : at + PROMPT])[None] for at in begins]


def _greedy(model: Model, ids: torch.Tensor, tokens: int) -> torch.Tensor:
    return torch.stack([step.tokens for step in generate(model, ids, tokens, GREEDY)], 1)


@torch.no_grad()
def _nats(model: Model, prompts: list[torch.Tensor], texts: list[torch.Tensor]) -> float:
    """What a model loses a token on what was written behind prompts."""
    whole = torch.cat([torch.cat(each, 1) for each in zip(prompts, texts)])
    said = model(whole[:, :-1]).logits.log_softmax(-1).gather(-1, whole[:, 1:, None])[..., 0]
    return float(-said[:, PROMPT - 1 :].mean())


def study() -> Study:
    options = {"tokens": "400k", "seeds": 2, "tuning": "none"}
    arms = {layers: tuple(f"{kind}={name}:layers={layers}" for kind, name in zip(KINDS, ("llama", "gla")))
            for layers in (1, 4)}  # fmt: skip
    return Study(
        races=(
            Race("small", arms[1], options=options | {"params": "30k"}, smallest="30k"),
            Race("large", arms[4], options=options | {"params": "600k"}, smallest="100k"),
        ),
        trials=(Trial("written", written),),
        predictions=(
            figure("written", "attention calls", most=0.6),
            figure("written", "attention small loses", least=0.2),
            figure("written", "recurrent calls", most=0.6),
        ),
    )
