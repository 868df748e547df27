"""Break the product on purpose, one patch at a time, and see that the tests notice.

    make mutants [QUICK=1]        python tests/mutants/run.py [NAME …]
    make guards [QUICK=1]         python tests/mutants/run.py --in tests/guards [NAME …]

Each `*.patch` is a mutant: a head that says what is wrong and which tests must see it, then a diff. Those beside this
file break noise, masks and bounds; those in `tests/guards` take out, one at a time, what stops an attacker or refuses
bad input.

1. the tree (what git tracks, and new files that it does not ignore) is copied to a temporary folder
2. all named tests must be green there, with the copy's own packages imported
3. for each mutant: a fresh copy, the patch, its tests; *every* named test must turn red

QUICK=1 runs only the first named test of each mutant. Exit status 1 when a mutant survives, a patch does not apply, or
a named test is not green on the unbroken copy. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TIMEOUT_S = 240
ELSEWHERE = 90  # no exit status of pytest's
# In the process that runs the tests: the packages must be the copy's, whatever is installed in the environment.
# Hypothesis need not make a failing example small: nobody reads it.
IN_THE_COPY = f"""
import sys
from pathlib import Path
import coordinator, party_node, protocols
here = Path.cwd().resolve()
for package in (coordinator, party_node, protocols):
    if Path(package.__file__).resolve().parents[1] != here:
        print(f"{{package.__name__}} was imported from {{package.__file__}}, not from {{here}}")
        sys.exit({ELSEWHERE})
import pytest
class Brief:
    def pytest_configure(self):
        from hypothesis import Phase, settings
        settings.register_profile("brief", phases=[Phase.explicit, Phase.generate])
        settings.load_profile("brief")
sys.exit(pytest.main(sys.argv[1:], plugins=[Brief()]))
"""


class Broken(Exception):
    """Something about a mutant, not about the product, is wrong; it counts as a failure."""


@dataclass(frozen=True)
class Mutant:
    """tests: pytest ids, each of which must turn red; one without parameters stands for all its cases together."""

    patch: Path
    what: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.patch.stem

    @classmethod
    def read(cls, patch: Path, *, quick: bool) -> Mutant:
        head = patch.read_text("utf-8").split("\n--- ", 1)[0]
        what = re.findall(r"(?m)^What: (.+)$", head)
        tests = re.findall(r"(?m)^Seen by: (\S+::\S+)$", head)
        if len(what) != 1 or not tests:
            raise Broken(f"{patch.name} does not say what it does and which tests see it")
        return cls(patch, what[0], tuple(tests[:1] if quick else tests))


@dataclass(frozen=True)
class Outcome:
    """Test id → how many of its cases passed, and failed. A case that was skipped or is expected to fail is neither."""

    passed: dict[str, int]
    failed: dict[str, int]

    def red(self, test: str) -> bool:
        return self.failed.get(test, 0) > 0

    def green(self, test: str) -> bool:
        return not self.red(test) and self.passed.get(test, 0) > 0


def copy_tree(to: Path) -> None:
    """The tree as it is now, not as it was committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in listed.split("\0"):
        source, target = ROOT / name, to / name
        if name and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def apply(patch: Path, copy: Path) -> None:
    """Raises Broken unless the patch changes exactly the files that it names."""
    named = re.findall(r"(?m)^\+\+\+ b/(\S+)$", patch.read_text("utf-8"))
    before = {name: (copy / name).read_bytes() for name in named if (copy / name).is_file()}
    # The ceiling: inside another repository git would silently skip every file.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)}
    command = ["git", "apply", str(patch)]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"does not apply: {done.stderr.strip()}")
    if not named or any((copy / name).read_bytes() == before.get(name) for name in named):
        raise Broken("changes nothing")


def run(tests: Iterable[str], copy: Path) -> Outcome:
    """Raises Broken when the tests cannot be run, or run on other packages than the copy's."""
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    report = copy / "outcome.xml"
    options = ["-p", "no:cacheprovider", "--tb=line", f"--junitxml={report}"]
    command = [sys.executable, "-c", IN_THE_COPY, *options, *tests]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Broken(f"no answer within {TIMEOUT_S} s") from None
    if done.returncode not in (0, 1) or not report.is_file():
        last = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise Broken(f"the tests did not run (status {done.returncode}): {' / '.join(last)}")
    return _outcome(report)


def _outcome(report: Path) -> Outcome:
    passed: dict[str, int] = {}
    failed: dict[str, int] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is not None:
            continue
        counted = passed if case.find("failure") is None and case.find("error") is None else failed
        test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        for name in {test, test.split("[")[0]}:
            counted[name] = counted.get(name, 0) + 1
    return Outcome(passed, failed)


def unbroken(mutants: list[Mutant], place: Path) -> Outcome:
    """All named tests on the tree as it is."""
    copy = place / "unbroken"
    copy_tree(copy)
    return run(dict.fromkeys(test for mutant in mutants for test in mutant.tests), copy)


def survives(mutant: Mutant, before: Outcome, place: Path) -> str | None:
    """None when every named test was green before and sees it; else why it counts as a survivor."""
    if not_green := [test for test in mutant.tests if not before.green(test)]:
        return f"not green on the unbroken tree: {', '.join(not_green)}"
    copy = place / mutant.name
    copy_tree(copy)
    try:
        apply(mutant.patch, copy)
        outcome = run(mutant.tests, copy)
    except Broken as exc:
        return str(exc)
    finally:
        shutil.rmtree(copy)
    if blind := [test for test in mutant.tests if not outcome.red(test)]:
        return f"not seen by {', '.join(blind)}"
    return None


def main() -> int:
    began, quick = time.monotonic(), bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(description="Break the product on purpose, and see that the tests notice.")
    parser.add_argument("--in", dest="folder", type=Path, default=HERE, help="where the patches are")
    parser.add_argument("names", nargs="*", help="only these")
    asked = parser.parse_args()
    patches = [p for p in sorted(asked.folder.resolve().glob("*.patch")) if not asked.names or p.stem in asked.names]
    survivors: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        try:
            mutants = [Mutant.read(patch, quick=quick) for patch in patches]
            before = unbroken(mutants, Path(folder))
        except Broken as exc:
            print(f"error: {exc}")
            print(json.dumps({"mutants": len(patches), "killed": 0, "error": str(exc)}))
            return 1
        print(f"the named tests ran on the unbroken tree ({time.monotonic() - began:.0f} s)\n", flush=True)
        for mutant in mutants:
            start = time.monotonic()
            why = survives(mutant, before, Path(folder))
            if why is not None:
                survivors[mutant.name] = why
            _tell(mutant, why, time.monotonic() - start)
    seconds, killed = round(time.monotonic() - began), len(mutants) - len(survivors)
    print(f"\n{killed} of {len(mutants)} mutants killed in {seconds} s")
    print(json.dumps({"mutants": len(mutants), "killed": killed, "survivors": survivors, "seconds": seconds}))
    return 1 if survivors or not mutants else 0


def _tell(mutant: Mutant, why: str | None, seconds: float) -> None:
    """The mutant, and below it the tests that saw it, or why it survived."""
    verdict = "killed" if why is None else "SURVIVED"
    print(f"{mutant.name:<31}{verdict:<9}{seconds:>4.0f} s  {mutant.what}")
    for line in [why] if why else mutant.tests:
        print(f"{'':10}{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
