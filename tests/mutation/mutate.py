"""Every small change that can be made to a module's code, one at a time, as changed syntax trees.

    <  <=  >  >=  ==  !=  in  not in  is  is not      its neighbour or its opposite
    +  -  *  //  %  **  &  |  <<  >>                  its opposite
    and  or  not  -x  if …  while …  x if … else y    the other one, or without
    0  1  2  True  "name"                             another value (words for people are left alone)
    a call that stands alone, a raise, an assignment  left out
    return x                                          return None

Left alone: annotations of functions, docstrings, what is said in errors, lines marked `pragma: no cover`, and the words
of the type checker.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
COMBINED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_@-]*")  # a name that code looks at, not a sentence
TYPING = {"TYPE_CHECKING", "cast", "TypeVar", "overload"}

Change = Callable[[ast.AST], ast.AST]


@dataclass(frozen=True)
class Mutant:
    """number: its place among those of its module, by which it is made again.

    later: it is in a function's body, which no import runs; lines: first and last of its statement's own.
    """

    path: Path
    number: int
    line: int
    before: str
    after: str
    later: bool
    lines: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.before}  →  {self.after}"


@dataclass(frozen=True)
class _Site:
    where: tuple[tuple[str, int | None], ...]
    change: Change


def mutants(path: Path) -> list[Mutant]:
    """All of a module, in the order of its lines."""
    source = path.read_text("utf-8")
    tree, lines = ast.parse(source), source.split("\n")
    found = []
    for number, site in enumerate(_sites(tree)):
        node = _at(tree, site.where)
        line = getattr(node, "lineno", _lines(tree, site.where)[0])
        if any("pragma: no cover" in text for text in lines[line - 1 : line]):
            continue
        after = site.change(copy.deepcopy(node))
        later, own = _later(tree, site.where), _lines(tree, site.where)
        found.append(Mutant(path, number, line, _shown(node), _shown(after), later, own))
    return found


def tree_of(mutant: Mutant) -> ast.Module:
    """The module with this one change."""
    tree = ast.parse(mutant.path.read_text("utf-8"))
    site = next(site for number, site in enumerate(_sites(tree)) if number == mutant.number)
    *above, (field, place) = site.where
    parent = _at(tree, tuple(above))
    old = _at(tree, site.where)
    new = ast.copy_location(site.change(copy.deepcopy(old)), old)
    if place is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[place] = new
    return ast.fix_missing_locations(tree)


def _at(tree: ast.AST, where: tuple[tuple[str, int | None], ...]) -> ast.AST:
    for field, place in where:
        tree = getattr(tree, field) if place is None else getattr(tree, field)[place]
    return tree


def _later(tree: ast.AST, where: tuple[tuple[str, int | None], ...]) -> bool:
    node = tree
    for step in where:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and step[0] == "body":
            return True
        node = _at(node, (step,))
    return False


def _lines(tree: ast.AST, where: tuple[tuple[str, int | None], ...]) -> tuple[int, int]:
    """Of the statement around it; of one with a body, its head's."""
    around: ast.AST = tree
    for depth in range(len(where) + 1):
        node = _at(tree, where[:depth])
        if isinstance(node, ast.stmt):
            around = node
    first = getattr(around, "lineno", 1)
    body = getattr(around, "body", None) or getattr(around, "cases", None)
    if not body:
        return first, getattr(around, "end_lineno", first)
    inside = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
    return first, max(first, inside.lineno - 1)


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else text[:67] + "…"


# -- where -------------------------------------------------------------------------------------------------------------


def _sites(tree: ast.Module) -> Iterator[_Site]:
    yield from _below(tree, (), in_class=False)


def _below(node: ast.AST, where: tuple[tuple[str, int | None], ...], *, in_class: bool) -> Iterator[_Site]:
    for field, value in ast.iter_fields(node):
        if field in _left_alone(node, in_class):
            continue
        parts = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, part in parts:
            if isinstance(part, ast.AST):
                here = (*where, (field, place))
                if not _is_passed_over(part, node, place):
                    yield from (_Site(here, change) for change in _changes(part))
                    yield from _below(part, here, in_class=isinstance(part, ast.ClassDef))


def _left_alone(node: ast.AST, in_class: bool) -> set[str]:
    """Fields of a node in which nothing is changed."""
    match node:
        case ast.FunctionDef():
            return {"returns", "type_params", "decorator_list"}
        case ast.ClassDef():
            return {"bases", "keywords", "decorator_list"}
        case ast.arg():
            return {"annotation"}
        case ast.AnnAssign() if not in_class:
            return {"annotation", "target"}
        case ast.Raise() | ast.Import() | ast.ImportFrom():
            return {"exc", "cause", "names"}
        case ast.JoinedStr():
            return {"values"}
    return set()


def _is_passed_over(part: ast.AST, parent: ast.AST, place: int | None) -> bool:
    if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
        return True  # a docstring
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
        return part.func.id in TYPING or part.func.id.endswith("Error") or part.func.id == "Refused"
    return isinstance(part, ast.If) and isinstance(part.test, ast.Name) and part.test.id in TYPING


# -- what --------------------------------------------------------------------------------------------------------------


def _changes(node: ast.AST) -> list[Change]:
    match node:
        case ast.Compare():
            return [_compared(at) for at in range(len(node.ops))]
        case ast.BinOp() if type(node.op) in COMBINED:
            return [_combined]
        case ast.AugAssign() if type(node.op) in COMBINED:
            return [_combined, _nothing]
        case ast.BoolOp():
            return [_other_word]
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            return [lambda unary: unary.operand]
        case ast.If() | ast.While() | ast.IfExp():
            return [] if isinstance(node.test, ast.Compare | ast.UnaryOp) else [_negated]
        case ast.comprehension() if node.ifs:
            return [_unfiltered]
        case ast.Constant():
            return _constant(node)
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            return [_nothing] if isinstance(node.value, ast.Call) else []
        case ast.Raise():
            return [_nothing]
        case ast.Return() if node.value is not None and not _is_none(node.value):
            return [_return_none]
        case ast.Break():
            return [lambda _: ast.Continue()]
        case ast.Continue():
            return [lambda _: ast.Break()]
    return []


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _compared(at: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Compare)
        node.ops[at] = COMPARED[type(node.ops[at])]()
        return node

    return change


def _combined(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.BinOp | ast.AugAssign)
    node.op = COMBINED[type(node.op)]()
    return node


def _other_word(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.BoolOp)
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return node


def _negated(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.If | ast.While | ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return node


def _unfiltered(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.comprehension)
    node.ifs = []
    return node


def _nothing(_: ast.AST) -> ast.AST:
    return ast.Pass()


def _return_none(_: ast.AST) -> ast.AST:
    return ast.Return(ast.Constant(None))


def _constant(node: ast.Constant) -> list[Change]:
    value = node.value
    if isinstance(value, bool):
        return [lambda _: ast.Constant(not value)]
    if isinstance(value, int):
        return [lambda _: ast.Constant(value + 1)]
    if isinstance(value, str) and WORD.fullmatch(value):
        return [lambda _: ast.Constant(value + "x")]
    if isinstance(value, bytes):
        return [lambda _: ast.Constant(value + b"x")]
    return []
