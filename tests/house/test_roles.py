"""Each role's code finds all it imports in what `pyproject.toml` names for that role: its image has nothing else."""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# What only some uses of a role need, and say so when it is not there: the auditor's second accountant.
ASKED_FOR = {"dp_accounting"}
ROLES = {
    "party": ["party_node/*.py"],
    "coordinator": ["coordinator/*.py", "coordinator/console/*.py"],
    "auditor": ["protocols/cli.py", "protocols/verify.py", "protocols/audit/*.py", "protocols/auditor/*.py"],
}
# Runs in a fresh interpreter: what the role has not is not there, then every module of the role is imported.
IMPORT = """
import importlib, sys
absent, modules = set(sys.argv[1].split(",")), sys.argv[2].split(",")
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
for module in modules:
    importlib.import_module(module)
"""


def _distributions(requirements: Iterable[str]) -> set[str]:
    """Names of all distributions that these need, directly or not."""
    found, todo = set[str](), [Requirement(text) for text in requirements]
    while todo:
        one = todo.pop()
        if (name := canonicalize_name(one.name)) in found:
            continue
        found.add(name)
        for text in metadata.requires(one.name) or []:
            further = Requirement(text)
            extras = one.extras or {""}
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(further)
    return found


def _absent(role: str) -> set[str]:
    own = _distributions([*PROJECT["dependencies"], *PROJECT["optional-dependencies"].get(role, [])]) | {"sumroom"}
    return {
        name
        for name, sources in metadata.packages_distributions().items()
        if not own & {canonicalize_name(source) for source in sources}
    }


def _modules(role: str) -> list[Path]:
    found = [path for pattern in ROLES[role] for path in sorted(ROOT.glob(pattern))]
    return [path for path in found if path.name != "__main__.py"]


def _late(path: Path) -> Iterator[str]:
    """What is imported inside functions, by the name of the outermost package."""
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    yield node.module.split(".")[0]


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_imports_nothing_that_its_image_lacks(role: str) -> None:
    absent, paths = _absent(role), _modules(role)
    assert len(paths) >= 4
    assert {"pytest", "hypothesis", {"party": "jinja2", "coordinator": "phonenumbers"}.get(role, "grpc")} <= absent
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    command = [sys.executable, "-c", IMPORT, ",".join(sorted(absent)), ",".join(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.splitlines()[-1]
    late = {(path.name, name) for path in paths for name in _late(path)}
    assert {(file, name) for file, name in late if name in absent - ASKED_FOR} == set()
