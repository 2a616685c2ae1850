"""A program by itself, started by `chat.py`: it renders one chat template and ends.

    standard input   {"template": source, "variables": {...}, "seconds": n, "memory": bytes, "length": characters}
    standard output  {"text": ...} or {"kind": "said" | "syntax" | "unsafe" | "memory" | "failed", "why": ...}

A template is somebody else's program. It runs in Jinja's sandbox, on plain data, and in a process that the system ends
after some seconds of computing, that gets so much memory and no more, and that can write no file and start no program.
"""

import json
import resource
import sys
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


class Said(TemplateError):
    """What the template itself raised."""


class Generation(Extension):
    """`{% generation %}`, which marks for training what an assistant said: the text is the same without it."""

    tags = {"generation"}

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Names(Namespace):
    """`namespace()`, without names that begin with an underscore."""

    def __init__(*args: Any, **given: Any) -> None:
        for name in dict(*args[1:], **given):
            _plain(name)
        Namespace.__init__(*args, **given)

    def __setitem__(self, name: str, value: Any) -> None:
        _plain(name)
        super().__setitem__(name, value)


class Dict:
    """`dict()` as a function: the class has more to offer than a template needs."""

    def __call__(self, *args: Any, **given: Any) -> dict[Any, Any]:
        return dict(*args, **given)


class World(ImmutableSandboxedEnvironment):
    """The sandbox; what is not allowed is an error at once, not an empty text."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"the attribute {attribute!r} of {type(obj).__name__}")


def _plain(name: Any) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace has no {name!r}")


def _raise(message: Any) -> None:
    raise Said(str(message))


def _json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:  # fmt: skip
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def rendered(template: str, variables: dict[str, Any]) -> str:
    """The text of a template with these variables."""
    world = World(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    world.filters["tojson"] = _json
    world.globals |= {"raise_exception": _raise, "strftime_now": _now, "dict": Dict(), "namespace": Names}
    return world.from_string(template).render(**variables)


def answer(order: dict[str, Any]) -> dict[str, str]:
    """What is said of an order."""
    try:
        text = rendered(order["template"], order["variables"])
        if len(text) > order["length"]:
            raise MemoryError
    except Said as error:
        return {"kind": "said", "why": str(error)}
    except TemplateSyntaxError as error:
        return {"kind": "syntax", "why": f"line {error.lineno}: {error.message}"}
    except SecurityError as error:
        return {"kind": "unsafe", "why": str(error)}
    except MemoryError:
        return {"kind": "memory", "why": ""}
    except Exception as error:  # a template may do anything wrong that a program can
        return {"kind": "failed", "why": f"{type(error).__name__}: {error}"}
    return {"text": text}


if __name__ == "__main__":
    told = json.load(sys.stdin)
    for what, most in ((resource.RLIMIT_CPU, told["seconds"]), (resource.RLIMIT_AS, told["memory"]),
                       (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):  # fmt: skip
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    sys.stdout.write(json.dumps(answer(told)))
