"""What the source of the three packages may not contain, read from its syntax and not from running it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocols", "party_node", "coordinator")
INTEGERS_ONLY = ("protocols/masking.py", "protocols/budget.py", "protocols/ledger", "coordinator/aggregate.py")

# (file, what is found there) → why it may stay. An entry that matches nothing any more fails too.
EXCEPTIONS: dict[tuple[str, str], str] = {}

Found = Iterator[tuple[int, str]]
Rule = Callable[[ast.AST], Found]


def sources(*below: str) -> list[Path]:
    """Python files of these packages, folders or files, generated ones left out."""
    found: list[Path] = []
    for name in below:
        path = ROOT / name
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path for path in found if not path.name.endswith("_pb2.py")]


def violations(paths: list[Path], rule: Rule) -> set[tuple[str, str]]:
    """(file, what) for all that the rule finds. A file that cannot be read or parsed raises."""
    found = set()
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        for _, what in rule(ast.parse(path.read_text("utf-8"), filename=str(path))):
            found.add((name, what))
    return found


# -- the rules ---------------------------------------------------------------------------------------------------------


def imported(tree: ast.AST) -> Found:
    """Every module that an import names, and every `module.name`, since a name may be a module; dots stay in front."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield node.lineno, module
            dot = "" if module.endswith(".") else "."
            yield from ((node.lineno, f"{module}{dot}{alias.name}") for alias in node.names)


def importing(*names: str) -> Rule:
    """Imports of these modules or of anything below them."""

    def rule(tree: ast.AST) -> Found:
        for line, module in imported(tree):
            for name in names:
                if module == name or module.startswith(name + "."):
                    yield line, name

    return rule


def weak_randomness(tree: ast.AST) -> Found:
    """The standard library's `random`, and numpy's under any spelling."""
    yield from importing("random", "numpy.random")(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("random", "default_rng", "RandomState"):
            yield node.lineno, f"attribute {node.attr}"


def code_from_data(tree: ast.AST) -> Found:
    """Pickle in all its forms, text that is run, modules imported by a computed name."""
    yield from importing(
        "pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "cloudpickle", "importlib.import_module"
    )(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in ("eval", "exec", "compile", "__import__"):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and node.attr in ("read_pickle", "to_pickle", "import_module"):
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield node.value.lineno, "allow_pickle"


def float_arithmetic(tree: ast.AST) -> Found:
    """A float or complex literal, true division, `float`, and numpy's or math's ways to one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"literal {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "true division"
        elif isinstance(node, ast.Name) and node.id in ("float", "complex"):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and node.attr.startswith(
            ("float", "double", "true_divide", "sqrt", "mean")
        ):
            yield node.lineno, node.attr
    yield from importing("math.sqrt", "math.log", "math.exp", "statistics", "decimal")(tree)


# -- the packages keep them --------------------------------------------------------------------------------------------


def test_there_is_something_to_read() -> None:
    assert len(sources(*PACKAGES)) > 40
    assert len(sources(*INTEGERS_ONLY)) >= 9


def test_no_package_uses_randomness_that_can_be_foretold() -> None:
    assert violations(sources(*PACKAGES), weak_randomness) == set()


def test_no_package_runs_what_it_reads() -> None:
    assert violations(sources(*PACKAGES), code_from_data) == set()


def test_masking_budget_ledger_and_aggregate_reckon_in_integers_only() -> None:
    assert violations(sources(*INTEGERS_ONLY), float_arithmetic) == set(EXCEPTIONS)


def test_opendp_is_imported_in_one_file() -> None:
    assert violations(sources(*PACKAGES), importing("opendp")) == {("protocols/noise.py", "opendp")}


def test_noise_is_drawn_by_what_sends_and_by_the_rehearsal_which_does_not() -> None:
    drawers = {name for name, _ in violations(sources(*PACKAGES), importing("protocols.noise", ".noise", "..noise"))}
    assert drawers == {"party_node/share.py", "party_node/overlap.py", "coordinator/rehearsal.py"}


# -- the rules can fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (weak_randomness, "import random"),
        (weak_randomness, "from random import gauss"),
        (weak_randomness, "import numpy.random as nr"),
        (weak_randomness, "from numpy import random"),
        (weak_randomness, "from numpy.random import default_rng"),
        (weak_randomness, "import numpy as np\nx = np.random.normal()"),
        (code_from_data, "import pickle"),
        (code_from_data, "def f():\n    from pickle import loads"),
        (code_from_data, "from importlib import import_module"),
        (code_from_data, "eval('1')"),
        (code_from_data, "run = exec"),
        (code_from_data, "np.load(file, allow_pickle=True)"),
        (code_from_data, "pd.read_pickle(file)"),
        (float_arithmetic, "x = 0.5"),
        (float_arithmetic, "x = 1e9"),
        (float_arithmetic, "x = a / b"),
        (float_arithmetic, "a /= b"),
        (float_arithmetic, "x = float(a)"),
        (float_arithmetic, "x = a.astype(np.float64)"),
        (float_arithmetic, "x = math.sqrt(a)"),
        (importing("opendp"), "import opendp.prelude as dp"),
        (importing("opendp"), "from opendp import prelude"),
        (importing("protocols.noise"), "from protocols import noise"),
        (importing(".noise"), "from . import noise"),
        (importing(".noise"), "from .noise import add_noise"),
    ],
)
def test_each_rule_finds_what_it_is_there_for(rule: Rule, text: str) -> None:
    assert list(rule(ast.parse(text)))


@pytest.mark.parametrize("rule", [weak_randomness, code_from_data, float_arithmetic, importing("opendp")])
def test_no_rule_minds_plain_integer_code(rule: Rule) -> None:
    text = "import secrets\nimport re\nx = a // b + secrets.randbelow(3)\ny = re.escape('a') and opened.exchange(x)"
    assert not list(rule(ast.parse(text)))
