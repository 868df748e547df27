"""The example of docs/activation.md, typed as it stands there, does what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from party_node import cli
from party_node.activation import profile
from party_node.activation.tables import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "activation.md").read_text("utf-8")


def test_the_example_prints_what_the_page_shows(
    lab: ModuleType,
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    room = Path(lab.copy(template, tmp_path / "copied"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".room").mkdir()
    (tmp_path / ".room" / "grocer").symlink_to(room / "alpha")
    names = ["list.csv", "people.csv", "opted-out.csv"]
    blocks = re.findall(r"(?s)```csv\n(.*?)```", PAGE)
    assert [PAGE.index(f"`{name}`") < PAGE.index(block) for name, block in zip(names, blocks, strict=True)] == [
        True
    ] * 3
    for name, block in zip(names, blocks, strict=True):
        (tmp_path / name).write_text(block, "utf-8")
    commands = re.findall(r"(?m)^    (sumroom-party (?:.*\\\n)*.*)$", PAGE)
    shown = re.findall(r"(?s)```text\n(.*?)```", PAGE)
    assert (len(commands), len(shown)) == (2, 1)
    for command in commands:
        assert cli.main(shlex.split(command.replace("\\\n", ""))[1:]) == 0, command
        out, err = capsys.readouterr()
        if shown:
            assert err + out == shown.pop()
    assert "as signed by alpha's key" in out


def test_the_page_names_every_profile_and_setting_and_field() -> None:
    for name in profile.names():
        found, _ = profile.read(name)
        (line,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line]
        assert all(f"`{option}" in line for option in (*found.options, *found.parameters)), name
    assert all(f"`{field}`" in PAGE for field in FIELDS)


def test_the_page_is_short() -> None:
    lines = PAGE.splitlines()
    assert len(lines) <= 150
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120
