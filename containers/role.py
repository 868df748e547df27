"""Build steps of the images (see the Dockerfile): what a role needs goes into /opt/sumroom, and nothing else.

python role.py dependencies ROLE      its dependencies, from /wheels alone
python role.py package ROLE           this project below /package, without the packages of the other roles
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HOME = Path("/opt/sumroom")
PIP = ("/tools/bin/python", "-m", "pip")
FROM_WHEELS = ("--quiet", "--no-cache-dir", "--no-index", "--find-links", "/wheels")
SIDES = {"party": "party_node", "coordinator": "coordinator"}  # a role that is neither, the auditor, has no side
# Test suites are a tenth of what their packages weigh. numpy stays whole: scipy imports from its tests.
WITHOUT_TESTS = ("pandas", "scipy", "sklearn", "matplotlib", "sqlalchemy", "Crypto")


def dependencies(role: str) -> None:
    """A virtual environment with what pyproject.toml names for the role, its Python the only program in it."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"].get(role, [])]
    _run(sys.executable, "-m", "venv", "--without-pip", HOME)
    _run(*PIP, "--python", HOME / "bin/python", "install", *FROM_WHEELS, *wanted)
    for program in (HOME / "bin").iterdir():
        if not program.is_symlink():
            program.unlink()
    packages = _packages(HOME)
    for name in WITHOUT_TESTS:
        for tests in sorted((packages / name).glob("**/tests/"), reverse=True):
            shutil.rmtree(tests)


def package(role: str) -> None:
    """This project for one role: `sumroom-<role>`, `sumroom-audit` and the packages behind them."""
    _run(sys.executable, "-m", "venv", "--without-pip", HOME)
    _run(*PIP, "wheel", *FROM_WHEELS, "--no-deps", "--no-build-isolation", "--wheel-dir", "/own", ".")
    (wheel,) = Path("/own").glob("*.whl")
    root = Path("/package")
    _run(*PIP, "--python", HOME / "bin/python", "install", *FROM_WHEELS, "--no-deps", "--root", root, wheel)
    home = root / HOME.relative_to("/")
    for other, side in SIDES.items():
        if other != role:
            shutil.rmtree(_packages(home) / side)
            (home / "bin" / f"sumroom-{other}").unlink()


def _packages(home: Path) -> Path:
    (found,) = home.glob("lib/python3*/site-packages")
    return found


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


if __name__ == "__main__":
    {"dependencies": dependencies, "package": package}[sys.argv[1]](sys.argv[2])
