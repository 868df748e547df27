"""A node's settings: every mistake is a sentence that names file and setting, and a secret others can read is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from party_node.config import Config
from protocols.errors import UsageError


@pytest.fixture
def home(lab: ModuleType, template: Path, tmp_path: Path) -> Path:
    """Alpha's folder, to spoil."""
    return Path(lab.copy(template, tmp_path / "trial")) / "alpha"


def test_a_sound_folder_loads_with_paths_from_its_own_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)
    config = Config.load(Path("alpha/node.toml"))
    monkeypatch.chdir("/")
    assert config.party == "alpha"
    assert config.settings.budget.record == 10**9
    assert config.path("consent") == home / "consent.toml"
    assert config.signing.public_key() == config.room.identities["alpha"]
    assert config.table().files == (home / "sales.csv",)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o610, 0o666])
def test_a_signing_key_that_anybody_else_can_touch_is_refused(home: Path, mode: int) -> None:
    (home / "signing.pem").chmod(mode)
    with pytest.raises(UsageError, match="files.signing_key: others can read") as caught:
        _ = Config.load(home / "node.toml").signing
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("chmod 600")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_signing_key_that_only_its_owner_can_read_is_taken(home: Path, mode: int) -> None:
    (home / "signing.pem").chmod(mode)
    _ = Config.load(home / "node.toml").signing


def test_a_tls_key_that_others_can_read_is_refused(home: Path) -> None:
    (home / "tls.pem").write_bytes(b"key")
    (home / "tls.pem").chmod(0o644)
    with pytest.raises(UsageError, match="files.tls_key: others can read"):
        Config.load(home / "node.toml").secret("tls_key")


def test_a_file_without_the_second_key_that_the_room_knows_is_refused(home: Path) -> None:
    first, _, _ = (home / "signing.pem").read_text().partition("-----END PRIVATE KEY-----\n")
    (home / "signing.pem").write_text(first + "-----END PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match="has not the keys that the room knows"):
        _ = Config.load(home / "node.toml").identity


def test_in_a_room_of_ed25519_keys_a_second_key_signs_nothing(home: Path) -> None:
    room = home.parent / "room.toml"
    room.write_text("".join(line for line in room.read_text().splitlines(True) if not line.startswith("ml_dsa_44")))
    assert Config.load(home / "node.toml").identity.ml_dsa_44 is None


def test_another_partys_key_is_refused(home: Path) -> None:
    (home / "signing.pem").write_bytes((home.parent / "beta" / "signing.pem").read_bytes())
    with pytest.raises(UsageError, match="has not the keys that the room knows"):
        _ = Config.load(home / "node.toml").signing


def test_a_file_that_is_no_key_is_refused_without_its_content(home: Path) -> None:
    (home / "signing.pem").write_text("hunter2")
    with pytest.raises(UsageError, match="not an unencrypted PEM private key") as caught:
        _ = Config.load(home / "node.toml").signing
    assert "hunter2" not in caught.value.diagnostics()


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (replaced('party = "alpha"', 'party = "Alpha"'), "party"),
        (replaced("localhost:1", "https://localhost:1/"), "coordinator"),
        (replaced('record = "1"', "record = 1.0"), r"budget\.record"),
        (replaced('record = "1"', 'record = "0"'), r"budget\.record"),
        (replaced('files = ["sales.csv"]', "files = []"), r"table\.files"),
        (replaced('accounts = "accounts.db"\n', ""), r"files\.accounts"),
        (replaced("[budget]", "[budget]\nperson = 3"), r"budget\.person"),
        (replaced("[budget]", "[budget"), "is not TOML"),
        pytest.param(
            replaced('record = "1"', 'record = "lots"'),
            r"budget\.record",
        ),
    ],
)
def test_a_mistake_in_the_settings_is_named_with_its_file(home: Path, change: Callable[[str], str], named: str) -> None:
    path = home / "node.toml"
    path.write_text(change(path.read_text()))
    with pytest.raises(UsageError, match=rf"node\.toml.*{named}|node\.toml {named}"):
        Config.load(path)


def test_settings_that_are_not_there_or_not_readable_are_a_usage_error(home: Path) -> None:
    with pytest.raises(UsageError, match="there is no settings file"):
        Config.load(home / "nodes.toml")
    with pytest.raises(UsageError, match="cannot read"):
        Config.load(home)
    (home / "node.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not TOML"):
        Config.load(home / "node.toml")


def test_a_party_that_is_not_in_its_room_is_refused(home: Path) -> None:
    path = home / "node.toml"
    path.write_text(path.read_text().replace('party = "alpha"', 'party = "delta"'))
    with pytest.raises(UsageError, match="party 'delta' is not in the room 'trial'"):
        _ = Config.load(path).room


def test_a_file_pattern_takes_every_match_and_one_without_a_match_is_refused(home: Path) -> None:
    (home / "sales-2.csv").write_text((home / "sales.csv").read_text())
    path = home / "node.toml"
    path.write_text(path.read_text().replace('["sales.csv"]', '["sales*.csv"]'))
    assert [file.name for file in Config.load(path).table().files] == ["sales-2.csv", "sales.csv"]
    path.write_text(path.read_text().replace('["sales*.csv"]', '["*.parquet"]'))
    with pytest.raises(UsageError, match="table.files: nothing matches"):
        Config.load(path).table()


def test_a_file_that_is_missing_is_named_by_its_setting(home: Path) -> None:
    (home.parent / "room.toml").unlink()
    with pytest.raises(UsageError, match=r"files\.room: cannot read"):
        _ = Config.load(home / "node.toml").room
