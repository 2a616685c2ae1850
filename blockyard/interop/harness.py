"""A model of a folder as lm-evaluation-harness asks models: its tasks run on ours, adapters and models of others.

    python -m blockyard.interop.harness --model blockyard --model_args pretrained=FOLDER --tasks arc_easy
    lm_eval.simple_evaluate(model="blockyard", model_args="pretrained=FOLDER", tasks=["arc_easy"])   # it is imported

An import of this file registers the class with lm_eval, whose own command knows only models that it brings; run as a
program the file is that command, with ours among them. `blockyard eval FOLDER --tasks arc_easy` needs none of this.

    loglikelihood          log p of a continuation behind its context (decode/likelihood.py)
    loglikelihood_rolling  log p of a whole text, in windows of the model's length behind one token of context
    generate_until         the text up to a stop string, an end of the folder or max_gen_toks

A text without a context begins behind the token that begins texts, else the one that ends them, else a newline.
Needs the extra `eval`.
"""
# pyright: reportMissingImports=false, reportMissingTypeStubs=false

import sys
from collections.abc import Sequence
from itertools import groupby
from json import dumps
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401  # registers its own models, which it leaves out once another is there
import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from blockyard.core import numbers
from blockyard.core.errors import UsageError, unknown
from blockyard.decode.generate import generate
from blockyard.decode.likelihood import likelihoods
from blockyard.decode.rules import SamplingParams
from blockyard.decode.text import going_on
from blockyard.interop.defaults import generation_defaults
from blockyard.interop.folder import load
from blockyard.interop.length import learned_length, text_length
from blockyard.interop.tokenizer import fitting, tokenizer
from blockyard.model.find import find_model

__all__ = ["Harnessed", "simple_evaluate"]
ROWS, GENERATED = 16, 256  # of a forward that writes; new tokens where a task does not say how many
SAMPLED = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@register_model("blockyard")
class Harnessed(TemplateLM):
    """A trained model with its tokenizer.

    pretrained   the folder of a model of ours or of transformers, of an adapter, or OUT:ARM of a comparison
    batch_size   rows of a forward; auto: as many as have some thousand tokens       device   as "cuda"
    max_length   tokens that are read at once; None: as the folder says (interop/length.py)
    """

    def __init__(
        self, pretrained: str | Path, batch_size: int | str | None = None, max_length: int | str | None = None,
        device: str | None = None, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        more.pop("max_batch_size", None)  # of a search for sizes that is not made here
        if more:
            known = ("pretrained", "batch_size", "max_length", "device")
            raise unknown("argument of the model", next(iter(more)), known)
        auto = batch_size is None or str(batch_size).startswith("auto")
        self.batch_size = None if auto else numbers.BATCH(batch_size, "batch_size")
        path = find_model(pretrained)
        self.model = load(path, device or "cpu").eval()
        self.model.require("causal", "a task of lm_eval")
        self.words, self._device = fitting(tokenizer(path), self.model, path), torch.device(device or "cpu")
        asked = None if max_length is None else numbers.LENGTH(max_length, "max_length")
        self.max_length = text_length(path, self.model) if asked is None else asked
        learned = learned_length(self.model)
        if asked is not None and learned is not None and asked > learned:
            raise UsageError(f"max_length {asked}: {path} has learned {learned} positions")
        self._ends = generation_defaults(Path(self.words.where)).stop

    @property
    def eot_token_id(self) -> int | None:
        """The token that ends a text."""
        return self._named("eos_token")

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context."""
        begins = self._named("bos_token")
        begins = self.eot_token_id if begins is None else begins
        return self.words.encode("\n", whole=False)[-1] if begins is None else begins

    def _named(self, name: str) -> int | None:
        text = self.words.special.get(name)
        ids = [] if text is None else self.words.encode(text, whole=False)
        return ids[0] if len(ids) == 1 else None

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The ids of a text, with those in front of it unless it begins with their text, or it is said otherwise."""
        begins = self.words.special.get("bos_token")
        if add_special_tokens is None:
            add_special_tokens = not (begins and string.startswith(begins))
        return self.words.prompt(string) if add_special_tokens else self.words.encode(string, whole=False)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_more: Any
    ) -> list[tuple[float, bool]]:
        for asked, _context, said in requests:
            if not said:
                raise UsageError(f"{asked[1]!r} adds no token of its own to {asked[0][-40:]!r}: it has no likelihood")
        with tqdm(total=len(requests), disable=disable_tqdm, desc="likelihoods") as bar:
            found = likelihoods(
                self.model, [(context, said) for _, context, said in requests], length=self.max_length,
                rows=self.batch_size, done=bar.update,
            )  # fmt: skip
        answers = [(float(each.logprob), bool(each.greedy)) for each in found]
        for (texts, _, _), answer in zip(requests, answers):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """log p of whole texts, each token once."""
        pairs: list[tuple[Any, list[int], list[int]]] = []
        owner = []
        for i, (text,) in enumerate(each.args for each in requests):
            ids = self.tok_encode(text)
            size = self.max_length or max(1, len(ids))
            windows = get_rolling_token_windows(ids, self.prefix_token_id, size, 1)
            found = [make_disjoint_window(window) for window in windows]
            pairs += [(None, context, said) for context, said in found]
            owner += [i] * len(found)
        totals = [0.0] * len(requests)
        for i, (logprob, _) in zip(owner, self._loglikelihood_tokens(pairs, disable_tqdm)):
            totals[i] += logprob
        for each, total in zip(requests, totals):
            self.cache_hook.add_partial("loglikelihood_rolling", each.args, total)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes behind each context; the same request asked again draws anew."""
        found = [""] * len(requests)
        order = sorted(range(len(requests)), key=lambda i: dumps(requests[i].args[1], sort_keys=True, default=str))
        with tqdm(total=len(requests), disable=disable_tqdm, desc="texts") as bar:
            for _, each in groupby(order, key=lambda i: dumps(requests[i].args[1], sort_keys=True, default=str)):
                alike = sorted(each, key=lambda i: -len(requests[i].args[0]))
                for first in range(0, len(alike), self.batch_size or ROWS):
                    some = alike[first : first + (self.batch_size or ROWS)]
                    texts = self._written([requests[i].args[0] for i in some], requests[some[0]].args[1], some)
                    for i, text in zip(some, texts):
                        found[i] = text
                        self.cache_hook.add_partial("generate_until", requests[i].args, text)
                    bar.update(len(some))
        return found

    def _written(self, contexts: Sequence[str], asked: dict[str, Any], seeds: Sequence[int]) -> list[str]:
        """What follows some contexts under the same settings."""
        how = dict(normalize_gen_kwargs(asked, GENERATED))
        until, tokens = how.pop("until", None) or [], int(how.pop("max_gen_toks"))
        until = [each for each in ([until] if isinstance(until, str) else until) if each]
        params = _params(how)
        most = None if self.max_length is None else self.max_length - tokens
        if most is not None and most < 1:
            raise UsageError(
                f"the task asks for {tokens} new tokens and the model reads {self.max_length}; say max_gen_toks in the "
                "task, or a larger length"
            )
        rows = [self.tok_encode(text) or [self.prefix_token_id] for text in contexts]
        rows = [ids if most is None else ids[-most:] for ids in rows]
        prompt = [torch.tensor(ids, device=self._device) for ids in rows]
        ends = {each for each in (*self._ends, self.eot_token_id) if isinstance(each, int)}
        until += [each for each in self._ends if isinstance(each, str)]
        said: list[list[int]] = [[] for _ in rows]
        over = [False] * len(rows)
        steps = generate(
            self.model, prompt, tokens, params, seeds=seeds, stop=[*sorted(ends), *until], decode=self.words.decode
        )
        for step in steps:
            for i, token in enumerate(step.tokens.tolist()):
                over[i] = over[i] or token < 0 or token in ends
                if not over[i]:
                    said[i].append(token)
        texts = [going_on(self.words.decode, ids)(own) for ids, own in zip(rows, said)]
        return [_cut(text, until) for text in texts]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation by the template of the folder; without a new answer it ends in the last message itself."""
        text = self.words.chat(chat_history, add_generation_prompt=add_generation_prompt)
        last = chat_history[-1]["content"] if chat_history else ""
        return text if add_generation_prompt or last not in text else text[: text.rindex(last) + len(last)]

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that conversations are written by, None where none is."""
        if not chat_template or not self.words.templates:
            return None
        name = chat_template if isinstance(chat_template, str) else "default"
        return self.words.templates.get(name, next(iter(self.words.templates.values())))

    @property
    def tokenizer_name(self) -> str:
        """What kept requests are told apart by."""
        return self.words.where.replace("/", "__")


def _params(how: dict[str, Any]) -> SamplingParams:
    """How tokens are chosen; UsageError where a task asks for what is not followed."""
    sampled = bool(how.pop("do_sample", False))
    said = {name: how.pop(name) for name in SAMPLED if how.get(name) is not None}
    odd = [name for name, value in how.items() if value is not None]
    if odd:
        raise UsageError(f"a task asks for {', '.join(odd)}, which is not followed; take it out of generation_kwargs")
    return SamplingParams(**said) if sampled else SamplingParams(temperature=0)


def _cut(text: str, until: Sequence[str]) -> str:
    """The text in front of the first stop string."""
    return text[: min((at for each in until if (at := text.find(each)) >= 0), default=len(text))]


def main() -> None:
    """The command of lm_eval, which knows our models too."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except UsageError as error:
        print(f"blockyard: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
