"""What the documents and the house rules claim about the tree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from protocols.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "complete_journey"
COMPANIES = ("convenience", "drugstore", "grocer")
REGISTRY = re.compile("|".join(["py" + "pi", "python" + "hosted", "npm" + "js", "deb" + r"ian\.org"]), re.IGNORECASE)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_the_host_of_a_package_registry() -> None:
    for path in tracked():
        assert not REGISTRY.search(path.read_text("utf-8", errors="replace")), path


def test_the_lock_holds_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"(?m)^[a-z0-9][a-z0-9._-]*==\S+", text)
    assert len(pinned) > 50
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text


def test_the_lock_has_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[<>=\[; ]", dependency)[0] for dependency in wanted} - {"sumroom"}
    locked = set(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==", (ROOT / "requirements.lock").read_text()))
    assert names <= locked


def test_contributing_gives_a_reason_for_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for name in {re.split(r"[<>=\[; ]", dependency)[0] for dependency in wanted} - {"sumroom"}:
        assert re.search(rf"(?m)^\|.*\b{re.escape(name)}\b", text), name


@pytest.mark.parametrize("company", COMPANIES)
def test_each_company_consents_to_exactly_the_plans_of_the_demo(company: str) -> None:
    plans = [Plan.from_toml((EXAMPLE / name).read_bytes()) for name in ("plan.toml", "lookalike.toml")]
    rules = tomllib.loads((EXAMPLE / company / "consent.toml").read_text())["allow"]
    assert [rule["plan"] for rule in rules] == [plan.digest for plan in plans]


# One file by its purpose: what an auditor reads and carries about.
LONGER = {"protocols/verify.py": 600}


def test_no_module_outgrows_its_name() -> None:
    for path in tracked():
        if path.suffix == ".py" and "_pb2" not in path.name:
            most = LONGER.get(str(path.relative_to(ROOT)), 400)
            assert len(path.read_text("utf-8").splitlines()) <= most, path


def test_no_init_file_shadows_a_package_below_tests() -> None:
    assert not [path for path in tracked() if path.name == "__init__.py" and "tests" in path.parts]


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target


def test_every_tool_command_in_the_readme_is_one() -> None:
    modules = {"party": "party_node", "coordinator": "coordinator", "audit": "protocols"}
    text = "\n".join(
        (ROOT / name).read_text()
        for name in ("README.md", "docs/rounds.md", "docs/changes.md", "docs/segments.md", "docs/activation.md")
    )
    words = r"(?:change new |change )?[a-z]+(?:-key)?(?: check)?"
    commands = set(re.findall(rf"sumroom-(party|coordinator|audit) ({words})", text))
    assert len(commands) >= 5
    for tool, words in sorted(commands):
        command = [sys.executable, "-m", modules[tool], *words.split(), "--help"]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0, command


def test_a_node_starts_without_what_only_fits_tests_and_reports_need() -> None:
    """A restarted node has to be back within the coordinator's grace."""
    script = (
        "import sys, party_node.app; print(*sorted({'sklearn', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
