"""Settings are read from a file, or file and setting are named; a secret that others can read is not used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from protocols import schema, settings
from protocols.errors import UsageError
from protocols.schema import Frozen, Positive


class Own(Frozen):
    count: Positive


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.toml"


def test_settings_are_read_from_their_file(file: Path) -> None:
    file.write_text("count = 3")
    assert settings.load(file, Own) == Own(count=3)


def test_a_file_that_is_not_there_is_named_with_the_option_that_names_it(file: Path) -> None:
    with pytest.raises(UsageError) as caught:
        settings.load(file, Own)
    assert caught.value.message == f"there is no settings file {file}"
    assert caught.value.hint == "name it with --config"


def test_a_folder_in_place_of_the_file_is_named_with_its_fault(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UsageError, match="cannot read .*own.toml: Is a directory") as caught:
        settings.load(file, Own)
    assert caught.value.hint == "name the settings file with --config"


@pytest.mark.parametrize("data", [b"count = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(UsageError, match="own.toml is not TOML") as caught:
        settings.load(file, Own)
    assert "is it the right file?" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["count = 0", 'count = "3"', "", "count = 1\nother = 2"])
def test_a_setting_that_is_wrong_is_named_with_its_file(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=r"own.toml: (count|other): "):
        settings.load(file, Own)


def test_a_file_that_a_setting_names_is_read_or_named_by_its_setting(file: Path) -> None:
    with pytest.raises(UsageError, match="files.signing_key: cannot read .*: No such file or directory") as caught:
        settings.read(file, "signing_key")
    assert str(caught.value.hint).startswith("set files.signing_key in the settings file")
    file.write_bytes(b"key")
    assert settings.read(file, "signing_key") == b"key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_secret_that_others_can_reach_is_refused_with_the_command_that_mends_it(file: Path, mode: int) -> None:
    file.write_bytes(b"key")
    file.chmod(mode)
    with pytest.raises(UsageError, match="files.signing_key: others can read") as caught:
        settings.secret(file, "signing_key")
    assert caught.value.hint == f"chmod 600 {file}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_secret_of_its_owner_alone_is_read(file: Path, mode: int) -> None:
    file.write_bytes(b"key")
    file.chmod(mode)
    assert settings.secret(file, "signing_key") == b"key"


def test_a_rule_is_numbered_as_people_count() -> None:
    class Rule(Frozen):
        plan: int

    class Rules(Frozen):
        allow: list[Rule]

    with pytest.raises(ValidationError) as caught:
        Rules.model_validate({"allow": [{"plan": 1}, {"plan": "x"}]})
    assert "f: allow rule 2: plan: " in schema.explain(caught.value, "f", item="rule").message
