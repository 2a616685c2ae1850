"""Chat templates: which ones a folder has, and the text that one makes of a conversation.

    chat_template.jinja, chat_templates/NAME.jinja     where there are any, these count alone
    tokenizer_config.json "chat_template"              one template, or a list of {"name", "template"}

A template is a program of somebody else's: it is run apart, sandboxed and with little time and memory (`_render.py`).

Source   https://huggingface.co/docs/transformers/chat_templating
Differs  tools are JSON schemas, not functions
"""

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blockyard.core.child import python
from blockyard.core.errors import UsageError, WorkFailed, brief, unknown

SINGLE, SEVERAL, DEFAULT, FOR_TOOLS = "chat_template.jinja", "chat_templates", "default", "tool_use"
PROGRAM = Path(__file__).with_name("_render.py")
SECONDS = 5  # of computing
MEMORY = 1 << 29  # bytes
LENGTH = 1 << 24  # characters of a conversation
REASONING = ("reasoning_content", "thinking", "reasoning")  # what templates and callers call an answer's thoughts

Message = Mapping[str, Any]


def chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The templates of a folder by name; `config` is what its tokenizer_config.json says."""
    found = {path.stem: _read(path) for path in sorted((folder / SEVERAL).glob("*.jinja"))}
    if (folder / SINGLE).exists():
        found = {DEFAULT: _read(folder / SINGLE), **found}
    if found:
        return found
    said = config.get("chat_template")
    if said is None:
        return {}
    if isinstance(said, str):
        return {DEFAULT: said}
    try:
        found = {each["name"]: each["template"] for each in said}
        if all(isinstance(text, str) for pair in found.items() for text in pair):
            return found
    except (TypeError, KeyError):
        pass
    raise UsageError(f"{folder / 'tokenizer_config.json'}: chat_template is neither a text nor a list of templates")


def chosen(templates: Mapping[str, str], name: str | None, tools: object, where: str) -> str:
    """The template that is asked for by name; else that for tools, where there are some; else the usual one."""
    if not templates:
        raise UsageError(f"{where} has no chat template; give it a text to continue, as it stands")
    if name is None:
        name = FOR_TOOLS if tools is not None and FOR_TOOLS in templates else DEFAULT
        if name not in templates:
            raise UsageError(f"{where} has several chat templates; name one: {', '.join(sorted(templates))}")
    if name not in templates:
        raise unknown("chat template", name, templates)
    return templates[name]


def render(
    template: str, messages: Sequence[Message], where: str, special: Mapping[str, str], *,
    add_generation_prompt: bool, tools: Sequence[Mapping[str, Any]] | None, **more: Any,
) -> str:  # fmt: skip
    """The text of a conversation.

    messages               {"role": ..., "content": ...} each, in order
    special                bos_token and the like
    add_generation_prompt  whether the beginning of an answer stands at the end
    tools                  JSON schemas of functions, or None
    more                   other variables of the template
    """
    variables = {**special, **more, "messages": _checked(messages), "tools": tools, "documents": more.get("documents"),
                 "add_generation_prompt": add_generation_prompt}  # fmt: skip
    order = {"template": template, "variables": variables, "seconds": SECONDS, "memory": MEMORY, "length": LENGTH}
    try:
        said = json.dumps(order)
    except (TypeError, ValueError) as error:
        raise UsageError(f"messages and tools hold plain data, as JSON does: {error}") from None
    done = subprocess.run(python(str(PROGRAM)), input=said.encode(), capture_output=True)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise UsageError(f"the chat template of {where} ran for more than {SECONDS} seconds and was stopped")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        if b"MemoryError" not in done.stderr:  # none was left to say so
            raise WorkFailed(
                f"a chat template could not be run: {done.stderr.decode(errors='replace')[-300:]}"
            ) from None
        found = {"kind": "memory", "why": ""}
    if "text" in found:
        return found["text"]
    why = brief(" ".join(found["why"].split()), 200)
    raise UsageError({
        "said": f"the chat template of {where} refuses this conversation: {why}",
        "syntax": f"the chat template of {where} cannot be used: {why}",
        "unsafe": f"the chat template of {where} asks for what it may not have: {why}",
        "memory": f"the chat template of {where} took more than {MEMORY >> 20} MB and was stopped",
        "failed": f"the chat template of {where} failed: {why}",
    }[found["kind"]])  # fmt: skip


def _checked(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages without what is None, an answer's thoughts by each of their names."""
    if isinstance(messages, str | Mapping) or not messages:
        raise UsageError('a conversation is a list of {"role": ..., "content": ...}, of one message at least')
    found = []
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise UsageError(f'{brief(repr(message))} is no message; it has a "role" and mostly a "content"')
        said = {name: value for name, value in message.items() if value is not None}
        thoughts = next((said[name] for name in REASONING if name in said), None)
        found.append(said if thoughts is None else {"thinking": thoughts, **said, "reasoning_content": thoughts})
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is damaged: it is not UTF-8 text") from None
