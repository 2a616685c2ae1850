"""How the makers of a folder would have it write: generation_config.json, or what config.json says of an end.

    followed     temperature, top_k, top_p, min_p, repetition_penalty, do_sample, max_new_tokens, max_length,
                 eos_token_id, stop_strings
    passed over  all else that would change a text: told by name

Differs  transformers takes the likeliest token unless do_sample is true, and of the 50 likeliest unless top_k is said;
         here what a file does not say is the caller's
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from blockyard.core import numbers
from blockyard.core.errors import UsageError, brief
from blockyard.core.files import read_json

FILE = "generation_config.json"
# with these values a setting changes no text; None never does
PLAIN: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences", "typical_p", "encoder_repetition_penalty",
                     "length_penalty", "guidance_scale"), (1,)),
    **dict.fromkeys(("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
                     "epsilon_cutoff", "eta_cutoff", "diversity_penalty", "penalty_alpha"), (0,)),
    **dict.fromkeys(("early_stopping", "renormalize_logits", "token_healing", "remove_invalid_values"), (False,)),
    "use_mtp": (False,),
    **dict.fromkeys(("bad_words_ids", "suppress_tokens", "begin_suppress_tokens"), ([],)),
}  # fmt: skip
# of how a text is computed or handed out, and of other kinds of models
NEUTRAL = (
    "_*", "transformers_version", "bos_token_id", "pad_token_id", "decoder_start_token_id", "*cache*", "output_*",
    "return_dict_in_generate", "trust_remote_code", "*assistant*", "*compile*", "prefill_chunk_size", "low_memory",
    "prompt_lookup_num_tokens", "max_matching_ngram_size", "*lookbehind", "speculation_type",
    "continuous_batching_config", "chat_format", "max_context_size", "max_window_size", "dtype", "torch_dtype",
)  # fmt: skip
READ = {"temperature": numbers.TEMPERATURE, "top_p": numbers.SHARE, "min_p": numbers.SHARE,
        "repetition_penalty": numbers.REPETITION}  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """What a folder says of writing.

    params   arguments of `SamplingParams`          tokens   new ones at most; length: with those of the prompt
    stop     ids that end a text, and strings       passed   settings that are not followed, as NAME=VALUE
    where    the file that says it
    """

    where: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    length: int | None = None
    stop: tuple[int | str, ...] = ()
    passed: tuple[str, ...] = ()


def generation_defaults(folder: Path) -> Defaults:
    """The defaults of a folder; of one that says nothing, none."""
    if (folder / FILE).exists():
        return _defaults(read_json(folder / FILE), str(folder / FILE))
    said = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    if "model_type" not in said or said.get("eos_token_id") is None:
        return Defaults()
    return _defaults({"eos_token_id": said["eos_token_id"]}, str(folder / "config.json"))


def _defaults(said: Mapping[str, Any], where: str) -> Defaults:
    rest = {name: value for name, value in said.items() if value is not None}
    params: dict[str, Any] = {}
    sample = rest.pop("do_sample", None)
    for name, known in READ.items():
        if name in rest:
            value = rest.pop(name)
            if type(value) not in (int, float):
                raise UsageError(f"{where}: {name} {brief(repr(value))} must be a number")
            params[name] = known(value, f"{where}: {name}")
    if rest.get("top_k") == 0:  # theirs for: all
        del rest["top_k"]
    sizes = [name for name in ("top_k", "max_new_tokens", "max_length") if name in rest]
    tops = {name: _whole(rest.pop(name), name, where) for name in sizes}
    if "top_k" in tops:
        params["top_k"] = tops["top_k"]
    if sample is False:
        params = {name: value for name, value in params.items() if name == "repetition_penalty"} | {"temperature": 0.0}
    elif sample is True:
        params = {"temperature": 1.0, **params}
    stop = (*_ids(rest.pop("eos_token_id", []), where), *_strings(rest.pop("stop_strings", []), where))
    passed = [f"{name}={brief(repr(value), 30)}" for name, value in rest.items() if not _neutral(name, value)]
    return Defaults(where, params, tops.get("max_new_tokens"), tops.get("max_length"), stop, tuple(passed))


def _neutral(name: str, value: Any) -> bool:
    return value in PLAIN.get(name, ()) or any(fnmatchcase(name, pattern) for pattern in NEUTRAL)


def _whole(value: Any, name: str, where: str) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(f"{where}: {name} {brief(repr(value))} must be a whole number above zero")
    return value


def _ids(value: Any, where: str) -> list[int]:
    found = value if isinstance(value, list) else [value]
    if not all(type(each) is int and each >= 0 for each in found):
        raise UsageError(f"{where}: eos_token_id {brief(repr(value))} must be an id, or a list of ids")
    return found


def _strings(value: Any, where: str) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise UsageError(f"{where}: stop_strings {brief(repr(value))} must be a text, or a list of texts")
    return found
