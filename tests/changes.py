"""Small changes of a Python file, found on its syntax tree.

An operator, a constant, a comparison, a condition, the order of two arguments, a statement left out.

Never in what does not act: docstrings, annotations, messages, decorators, and tests that stand beside a part.
"""

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_PAIRS = [
    (ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq),
    (ast.And, ast.Or), (ast.Is, ast.IsNot), (ast.In, ast.NotIn), (ast.BitAnd, ast.BitOr),
]  # fmt: skip
OTHER: dict[type, type] = dict(_PAIRS) | {b: a for a, b in _PAIRS} | {ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult}
SYMMETRIC = ("min", "max", "transpose")


@dataclass(frozen=True)
class Change:
    """What is between two places of a file (line and byte), and the text that takes its place."""

    line: int
    was: str
    now: str
    text: str
    begin: tuple[int, int]
    end: tuple[int, int]

    def apply(self, source: str) -> str:
        lines = source.encode().splitlines(keepends=True)
        (first, left), (last, right) = self.begin, self.end
        before, after = lines[first - 1][:left], lines[last - 1][right:]
        return b"".join([*lines[: first - 1], before, self.text.encode(), after, *lines[last:]]).decode()

    def __str__(self) -> str:
        return f"{_short(self.was)} -> {_short(self.now)}"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) < 60 else f"{words[:40]} ... {words[-15:]}"


def changes(source: str) -> list[Change]:
    """Every change of a file, in the order of its lines."""
    found = []
    for node in _behaviour(ast.parse(source)):
        pairs = [(node, now) for now in _others(node)]
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            pairs.append((node.test, ast.UnaryOp(ast.Not(), node.test)))
        for old, now in pairs:
            text = "pass" if isinstance(now, ast.Pass) else f"({ast.unparse(now)})"
            begin, end = (old.lineno, old.col_offset), (old.end_lineno, old.end_col_offset)
            found.append(Change(old.lineno, ast.unparse(old), ast.unparse(now), text, begin, end))
    return sorted(found, key=lambda change: (change.begin, change.end, change.now))


def chosen(source: str, count: int, seed: object) -> list[Change]:
    """Some of all changes, in the order of their lines."""
    every = changes(source)
    picked = random.Random(str(seed)).sample(every, min(count, len(every)))
    return sorted(picked, key=lambda change: change.begin)


def _behaviour(node: ast.AST) -> Iterator[Any]:
    """Every node below this one that does something when the file runs."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment", "format_spec"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.FunctionDef) and child.name.startswith("prop_"):  # a test beside its part
                continue
            if isinstance(child, ast.Assign) and isinstance(node, ast.ClassDef):  # a claim: without it less is promised
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            yield child
            if not isinstance(child, ast.Raise | ast.Assert):  # what they say is a message
                yield from _behaviour(child)


def _others(node: Any) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    new = copy.deepcopy(node)
    match node:
        case ast.BinOp() | ast.BoolOp() if type(node.op) in OTHER:
            new.op = OTHER[type(node.op)]()
            yield new
        case ast.Compare(left=left, comparators=[right, *_]) if _is_real(left) or _is_real(right):
            yield ast.UnaryOp(ast.Not(), node)  # whether a real number may just reach a bound is no question
        case ast.Compare() if type(node.ops[0]) in OTHER:
            new.ops[0] = OTHER[type(node.ops[0])]()
            yield new
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield ast.Constant(1.5 * node.value or 1.0)
        case ast.Call() if len(node.args) > 1 and not any(isinstance(arg, ast.Starred) for arg in node.args):
            new.args[:2] = new.args[1::-1]
            if ast.dump(new) != ast.dump(node) and ast.unparse(node.func).rpartition(".")[2] not in SYMMETRIC:
                yield new
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Assert() | ast.Continue() | ast.Break() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _is_real(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float)
