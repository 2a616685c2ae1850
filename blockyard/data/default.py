"""The text used when none is named: English and code that every CPython carries, so that nothing is downloaded.

The topic texts of `pydoc_data` and the source of a dozen modules of the standard library, each paragraph once, about
1.3 MB, cut into pieces so that both kinds of text reach every split. The content differs between Python versions,
patch releases included: results on it compare only where the printed hash is equal.
"""

import ast
import platform
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder

from blockyard.core.errors import UsageError
from blockyard.data.text import Texts

TOPICS = "pydoc_data.topics"
MODULES = ("argparse", "ast", "collections", "configparser", "difflib", "doctest",
           "inspect", "pydoc", "random", "statistics", "subprocess", "typing")  # fmt: skip
PIECE = 4096
SHORT = 40  # characters: shorter paragraphs repeat in any text


def default_text() -> Texts:
    """Documents of the running interpreter's own documentation and library source; no module is imported for it."""
    texts = _once([*_topics().values(), *map(_source, MODULES)])
    documents = [piece for text in texts for piece in _pieces(text)]
    return Texts(f"the texts of CPython {platform.python_version()}", documents)


def _once(texts: list[str]) -> Iterator[str]:
    """The texts without paragraphs that stood earlier: topics quote each other, and train must not hold the test."""
    seen: set[str] = set()
    for text in texts:
        kept = []
        for paragraph in text.split("\n\n"):
            words = " ".join(paragraph.split())
            if len(words) < SHORT or words not in seen:
                kept.append(paragraph)
            seen.add(words)
        yield "\n\n".join(kept)


def _topics() -> dict[str, str]:
    """The dictionary written out in the topics module, read from its syntax tree."""
    for node in ast.parse(_source(TOPICS)).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return ast.literal_eval(node.value)
    raise _absent(TOPICS)


def _source(module: str) -> str:
    # The standard library's own folder first: a user's random.py beside the data must not become the text.
    for path in ([sysconfig.get_path("stdlib")], None):
        parent, _, leaf = module.rpartition(".")
        spec = PathFinder.find_spec(parent or leaf, path)
        if parent and spec is not None:
            spec = PathFinder.find_spec(module, spec.submodule_search_locations)
        get_source = getattr(spec.loader, "get_source", None) if spec is not None else None
        if get_source is not None and (text := get_source(module)):
            return text
    raise _absent(module)


def _absent(module: str) -> UsageError:
    return UsageError(f"no data was named and this Python carries no source of {module}; name a text file or folder")


def _pieces(text: str) -> Iterator[bytes]:
    """The text in pieces of PIECE characters or a little more, cut after empty lines; together they are the whole."""
    start = 0
    while start < len(text):
        cut = text.find("\n\n", start + PIECE)
        end = cut + 2 if cut >= 0 else len(text)
        yield text[start:end].encode("utf-8")
        start = end
