"""Names of parts, recipes and tasks, read from the files' paths and headers. Needs no torch and imports no part.

A file is its registration: `parts/mixer/linear/gla.py` is `mixer:gla`, `recipe/gla.py` the recipe `gla`. What can
be known without running it comes from its syntax tree: the header, the settings of the one public class (of a
part the keyword-only arguments of its constructor), its claims and points. Other packages join by an entry point of the
group `blockyard.<kind>`, `name = "package.module"`.
"""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from blockyard.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from blockyard.core.settings import Setting

ROOT = Path(__file__).parent.parent
KINDS = (
    "stem", "mixer", "channel", "head", "position", "norm", "activation", "linear", "store", "residual", "depth",
    "junction", "pattern", "weigh", "corrupt", "router", "objective",
)  # fmt: skip
ROOMS = (  # what has names and is no part: each in a room of its own
    "recipe", "family", "task", "study", "transform", "probe", "optimiser", "source", "decoder", "tracker",
    "environment", "blend",
)  # fmt: skip
WHOLES = ("model", "phase")  # what holds parts: the functions of core/spec.py that make their specs
CHECKED = (*KINDS, *WHOLES, "transform", "optimiser")  # kinds of spec whose settings are known
FIELDS = ("Shapes", "Source", "Slug", "Family", "Needs", "Differs", "Claim", "Tags")


@dataclass(frozen=True)
class Entry:
    """One named file: where it is, what its header says, what its public class or function accepts."""

    kind: str
    name: str
    module: str
    path: Path = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def doc(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def title(self) -> str:
        return self.doc.partition("\n")[0]

    @cached_property
    def header(self) -> dict[str, str]:
        """The fields of the header: Source, Slug, Family, Differs..."""
        found = re.findall(rf"\b({'|'.join(FIELDS)})  +(.*?)(?=\s\s+(?:{'|'.join(FIELDS)})  |\n\S|\Z)", self.doc, re.S)
        return {key: " ".join(text.split()) for key, text in found}

    @cached_property
    def node(self) -> ast.ClassDef | ast.FunctionDef:
        """The class that has the file's name, the function that has the name of the kind, the file or both
        (copying_probe), or the one public class."""
        mine = self.name.replace("_", "")
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == mine:
                return node
        names = (self.kind, self.name, f"{self.name}_{self.kind}")
        for name in names:
            for node in self.tree.body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    return node
        public = [n for n in self.tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
        if len(public) != 1:
            raise UsageError(
                f"{self.path.name}: expected one public class or a function {' or '.join(names)}, found {len(public)}"
            )
        return public[0]

    @property
    def tags(self) -> dict[str, str]:
        """Where it stands on the axes by which surveys sort: `Tags  memory=matrix, decay=data`."""
        pairs = [pair.partition("=") for pair in self.header.get("Tags", "").split(",") if pair.strip()]
        if any(not equals for _, equals, _ in pairs):
            raise UsageError(f"{self.path.name}: Tags must be axis=value, axis=value, not {self.header['Tags']!r}")
        found = {axis.strip(): value.strip() for axis, _, value in pairs}
        if len(found) < len(pairs):
            raise UsageError(f"{self.path.name}: Tags has an axis twice: {self.header['Tags']}")
        return found

    @cached_property
    def arguments(self) -> dict[str, tuple[ast.arg, ast.AST | None]]:
        """The settings by their syntax: the argument and its default. What a function works on is none of them."""
        init: Any = self.node
        if isinstance(init, ast.ClassDef):
            init = next((n for n in init.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if init is None:
            return {}
        args, defaults = init.args.kwonlyargs, init.args.kw_defaults
        if not isinstance(self.node, ast.ClassDef) or self.kind in ROOMS:
            first = 0 if self.kind in ("recipe", *WHOLES) else len(init.args.args) - len(init.args.defaults)
            args, defaults = init.args.args[first:] + args, [*_aligned(init.args)[first:], *defaults]
        return {arg.arg: (arg, default) for arg, default in zip(args, defaults)}

    @property
    def schema(self) -> dict[str, Any]:
        """The settings with their defaults (the source text where a default is not a literal)."""
        return {name: _literal(default) for name, (_, default) in self.arguments.items()}

    @cached_property
    def settings(self) -> dict[str, "Setting"]:
        """The settings with what each accepts and means."""
        from blockyard.core.settings import read

        owner = f"{self.kind}:{self.name}"
        return {name: read(owner, *argument) for name, argument in self.arguments.items()}

    def constant(self, name: str, default: Any = None) -> Any:
        """A literal assigned in the public class (claims, points, known), or beside the function (sizes, example)."""
        body = self.node.body if isinstance(self.node, ast.ClassDef) else self.tree.body
        for node in body:
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                return _literal(node.value)
        return default

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)

    def load_named(self) -> Any:
        """The class or the function that the file is there for."""
        return getattr(self.load(), self.node.name)


def _aligned(args: ast.arguments) -> list[ast.expr | None]:
    """The default of every positional argument, None where there is none."""
    return [None] * (len(args.args) - len(args.defaults)) + list(args.defaults)


def _literal(node: ast.AST | None) -> Any:
    if node is None:
        return None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {k.arg: _literal(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values)}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


@lru_cache
def entries(kind: str) -> dict[str, Entry]:
    """Every part of a kind (or every recipe, every task), ours and those of other packages, by name."""
    root = ROOT / kind if kind in ROOMS else ROOT / "parts" / kind
    found: dict[str, Entry] = {}
    for path in sorted(root.rglob("*.py")):
        if not path.name.startswith("_"):
            module = ".".join(("blockyard", *path.relative_to(ROOT).with_suffix("").parts))
            _add(found, Entry(kind, path.stem, module, path))
    for point in entry_points(group=f"blockyard.{kind}"):
        spec = importlib.util.find_spec(point.value)
        if spec is None or spec.origin is None:
            raise UsageError(f"entry point {point.name!r} names {point.value}, which cannot be found")
        _add(found, Entry(kind, point.name, point.value, Path(spec.origin)))
    return found


def _add(found: dict[str, Entry], entry: Entry) -> None:
    if entry.name in found:
        raise UsageError(f"two parts are called {entry.kind}:{entry.name}: {found[entry.name].module}, {entry.module}")
    found[entry.name] = entry


def find(kind: str, name: str) -> Entry:
    """The entry of a name; `-` and `_` are the same. Unknown names raise with the nearest known ones."""
    if kind in WHOLES:
        return _whole(kind)
    if kind not in (*KINDS, *ROOMS):
        raise unknown("kind of part", kind, KINDS)
    known = entries(kind)
    entry = known.get(name.replace("-", "_"))
    if entry is None:
        raise unknown(kind, name, known)
    return entry


@lru_cache
def _whole(kind: str) -> Entry:
    return Entry(kind, kind, "blockyard.core.spec", ROOT / "core" / "spec.py")


def check_names(entry: Entry, settings: Iterable[str]) -> None:
    """Refuse a setting that the part does not have."""
    for key in settings:
        if key not in entry.arguments:
            raise unknown(f"setting of {entry.kind}:{entry.name}", key, entry.arguments)
