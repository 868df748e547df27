"""The coordinator's settings: every mistake is a sentence, and a secret that others can read is none."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from coordinator.config import Config
from protocols.errors import UsageError


@pytest.fixture
def home(lab: ModuleType, template: Path, tmp_path: Path) -> Path:
    """The coordinator's folder, to spoil."""
    return Path(lab.copy(template, tmp_path / "trial")) / "coordinator"


def test_a_sound_folder_loads_with_paths_from_its_own_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)
    config = Config.load(Path("coordinator/coordinator.toml"))
    monkeypatch.chdir("/")
    assert config.path("state") == home / "state"
    assert config.settings.grace_s == 15
    assert config.signing.public_key() == config.room.coordinator_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_signing_key_that_anybody_else_can_touch_is_refused(home: Path, mode: int) -> None:
    (home / "signing.pem").chmod(mode)
    with pytest.raises(UsageError, match="files.signing_key: others can read") as caught:
        _ = Config.load(home / "coordinator.toml").signing
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("chmod 600")


def test_a_file_without_the_second_key_that_the_room_knows_is_refused(home: Path) -> None:
    first, _, _ = (home / "signing.pem").read_text().partition("-----END PRIVATE KEY-----\n")
    (home / "signing.pem").write_text(first + "-----END PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match="has not the keys that the room knows"):
        _ = Config.load(home / "coordinator.toml").identity


def test_in_a_room_of_ed25519_keys_a_second_key_signs_nothing(home: Path) -> None:
    room = home.parent / "room.toml"
    room.write_text("".join(line for line in room.read_text().splitlines(True) if not line.startswith("ml_dsa_44")))
    assert Config.load(home / "coordinator.toml").identity.ml_dsa_44 is None


def test_a_partys_key_is_not_the_coordinators(home: Path) -> None:
    (home / "signing.pem").write_bytes((home.parent / "beta" / "signing.pem").read_bytes())
    with pytest.raises(UsageError, match="has not the keys that the room knows its coordinator by"):
        _ = Config.load(home / "coordinator.toml").signing


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("port = 0", "port = 65536", "port"),
        ("port = 0", "port = -1", "port"),
        ("port = 0", 'port = "80"', "port"),
        ("port = 0", "port = 0\ngrace_s = 0", "grace_s"),
        ("port = 0", "port = 0\nlisten = 1", "listen"),
        ('state = "state"\n', "", "files.state"),
        ("[files]", "[files", "is not TOML"),
    ],
)
def test_a_mistake_in_the_settings_is_named_with_its_file(home: Path, old: str, new: str, named: str) -> None:
    path = home / "coordinator.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=rf"coordinator\.toml.*{named}"):
        Config.load(path)


def test_settings_that_are_not_there_are_a_usage_error(home: Path) -> None:
    with pytest.raises(UsageError, match="there is no settings file"):
        Config.load(home / "other.toml")
    with pytest.raises(UsageError, match="cannot read"):
        Config.load(home)


def test_a_file_that_is_missing_is_named_by_its_setting(home: Path) -> None:
    config = Config.load(home / "coordinator.toml")
    (home.parent / "room.toml").unlink()
    with pytest.raises(UsageError, match="files.room: cannot read"):
        _ = config.room
