"""What the compose file, the images' recipe and their demo promise, as far as one can see without an engine.

That it is so in running containers, `make compose-demo` looks from inside each of them.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from coordinator.config import Config as CoordinatorConfig
from party_node.config import Config as PartyConfig
from protocols.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "complete_journey"
sys.path.insert(0, str(EXAMPLE))  # its scripts import one another, as they do when they are run
import compose  # noqa: E402
import engine as engines  # noqa: E402

FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = FILE["services"]
PARTIES = ("convenience", "drugstore", "grocer")
RUNNING = ("coordinator", *PARTIES)
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
HOME = "${SUMROOM_HOME:-./.compose/room}"


def mounted(service: str) -> dict[str, str]:
    """Target → source of a service's mounts."""
    pairs = [text.removesuffix(":ro").rsplit(":", 1) for text in SERVICES[service]["volumes"]]
    return {target: source.replace(HOME, "HOME") for source, target in pairs}


def addresses(service: str) -> dict[str, str]:
    """Network → the fixed address of a service in it."""
    default = re.compile(r"\$\{SUMROOM_NET:-([0-9.]+)\}")
    networks = SERVICES[service].get("networks", {})
    return {name: default.sub(r"\1", settings["ipv4_address"]) for name, settings in networks.items()}


# -- the compose file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_hardened(service: str) -> None:
    settings = SERVICES[service]
    assert settings["user"] == "${SUMROOM_OWNER:-10001}:${SUMROOM_OWNER:-10001}"
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert settings["tmpfs"] == ["/tmp:size=256m,mode=1777,noexec,nosuid,nodev"]
    assert settings["ulimits"]["core"] == 0
    assert (settings["pids_limit"], settings["mem_limit"]) == (256, "2g")
    assert {"max-size", "max-file"} <= set(settings["logging"]["options"])
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "env_file", "environment"} & set(settings)
    assert settings.get("network_mode", "none") == "none"


@pytest.mark.parametrize("service", RUNNING)
def test_what_stays_up_is_watched_and_ends_in_order(service: str) -> None:
    settings = SERVICES[service]
    role = "coordinator" if service == "coordinator" else "party"
    assert settings["healthcheck"]["test"][:3] == ["CMD", f"sumroom-{role}", "health"]
    assert settings["restart"] == "unless-stopped"
    assert settings["stop_grace_period"] == "20s"
    assert settings["image"] == f"sumroom-{role}"


def test_only_the_coordinator_has_a_port_outside_and_on_the_loopback_unless_told() -> None:
    assert SERVICES["coordinator"]["ports"] == ["${SUMROOM_LISTEN:-127.0.0.1}:7443:7443"]
    assert not [name for name in SERVICES if "ports" in SERVICES[name] and name != "coordinator"]


@pytest.mark.parametrize("party", PARTIES)
def test_a_party_shares_its_one_network_with_the_coordinator_alone(party: str) -> None:
    assert list(addresses(party)) == [party]
    assert FILE["networks"][party]["internal"] is True
    assert {name for name in SERVICES if party in addresses(name)} == {party, "coordinator"}
    assert SERVICES[party]["dns"] == ["127.0.0.1"]
    assert FILE["networks"][party]["x-podman.disable_dns"] is True
    assert SERVICES["coordinator"]["sysctls"] == {"net.ipv4.ip_forward": "0"}


@pytest.mark.parametrize("party", PARTIES)
def test_a_party_is_made_to_dial_every_other_address_of_the_file(party: str) -> None:
    reach = compose.expected_reach(party)
    allowed = [address for address, wanted in reach.items() if wanted == "open"]
    assert allowed == ["coordinator:7443"]
    others = {ip for name in RUNNING for network, ip in addresses(name).items() if network != party}
    assert len(others) == 5
    assert all(reach[f"{ip}:7443"] == "unreachable" for ip in others)
    assert any(address.startswith("192.0.2.") for address in reach)


@pytest.mark.parametrize("party", PARTIES)
def test_the_container_that_reads_the_rows_has_neither_network_nor_keys(party: str) -> None:
    reader = SERVICES[f"{party}-register"]
    assert reader["network_mode"] == "none"
    assert "secrets" not in reader
    assert mounted(f"{party}-register")["/data"] == f"HOME/{party}/data"
    assert "/data" not in mounted(party)
    assert [name for name in SERVICES if f"HOME/{party}/data" in mounted(name).values()] == [f"{party}-register"]


def test_each_secret_and_each_state_is_one_roles_alone() -> None:
    for name, secret in FILE["secrets"].items():
        owner, _, key = name.partition("-")
        assert secret == {"file": f"{HOME}/{owner}/secrets/{key}.pem"}
        holders = [s for s in SERVICES for one in SERVICES[s].get("secrets", []) if one["source"] == name]
        assert holders == [owner]
    assert len(FILE["secrets"]) == 8
    for volume in FILE["volumes"]:
        owner = volume.partition("-")[0]
        users = {name for name in SERVICES if volume in mounted(name).values()}
        assert owner in users
        assert users <= {owner, f"{owner}-register"}


def test_settings_data_and_what_the_auditor_reads_cannot_be_written() -> None:
    for name, settings in SERVICES.items():
        for volume in settings["volumes"]:
            writable = volume.startswith(HOME) and not volume.endswith(":ro")
            assert not writable or volume == f"{HOME}/results:/results", (name, volume)
    assert SERVICES["auditor"]["network_mode"] == "none"
    assert "secrets" not in SERVICES["auditor"]
    assert list(mounted("auditor")) == ["/results"]


# -- the images --------------------------------------------------------------------------------------------------------


def test_the_images_take_only_what_the_lock_names_and_run_as_nobody_in_particular() -> None:
    build, _, final = DOCKERFILE.partition("# -- what runs")
    assert DOCKERFILE.count("FROM ${BASE}${DIGEST} AS") == 2
    assert "BASE=python:3.11-slim" in build
    assert "--require-hashes --requirement requirements.lock" in build
    assert re.findall(r"(?m)^RUN .*", final) == [
        "RUN install -d -o ${OWNER} -g ${OWNER} -m 0700 /state /accounts /results && install -d /config /data"
    ]
    assert "ARG OWNER=10001\n" in final
    assert final.index("USER ${OWNER}:${OWNER}") < final.index("FROM role AS party")
    assert re.findall(r"(?m)^FROM role AS (\w+)", final) == list(engines.ROLES)
    assert '"--no-index"' in (ROOT / "containers" / "role.py").read_text("utf-8")


def test_nothing_gets_into_a_build_but_what_is_named() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == {
        "pyproject.toml", "requirements.lock", "README.md", "LICENSE", "containers/role.py", "party_node",
        "coordinator", "protocols",
    }  # fmt: skip


def test_podman_compose_is_pinned_with_hashes() -> None:
    text = (EXAMPLE / "podman-compose.lock").read_text("utf-8")
    pinned = re.findall(r"(?m)^([a-z-]+)==", text)
    assert pinned == ["podman-compose", "python-dotenv", "pyyaml"]
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text


# -- the demo ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room as the demo makes it for containers, without its data."""
    place = tmp_path_factory.mktemp("compose") / "room"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose.cut, "cut", lambda out: [(out / party).mkdir(parents=True) for party in PARTIES])
        compose._prepare(place, engines.owner())
    return place


def test_what_the_compose_file_mounts_is_there_and_keys_are_their_owners_alone(home: Path) -> None:
    for name in SERVICES:
        for source in mounted(name).values():
            assert not source.startswith("HOME/") or (home / source.removeprefix("HOME/")).is_dir(), source
    for secret in FILE["secrets"].values():
        file = Path(secret["file"].replace(HOME, str(home)))
        assert b"PRIVATE" in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0
        assert file.stat().st_uid == engines.owner() != 0
    held = [path for path in home.rglob("*.pem") if b"PRIVATE" in path.read_bytes()]
    assert len(held) == 8
    assert {path.parent.name for path in held} == {"secrets"}


@pytest.mark.parametrize("party", PARTIES)
def test_a_party_in_a_container_dials_the_coordinator_and_finds_what_is_mounted(home: Path, party: str) -> None:
    config = PartyConfig.load(home / party / "config" / "node.toml")
    assert config.settings.coordinator == "coordinator:7443"
    assert (config.path("state"), config.path("accounts")) == (Path("/state"), Path("/accounts/accounts.db"))
    assert config.path("signing_key") == Path("/run/secrets/signing.pem")
    assert config.path("tls_key") == Path("/run/secrets/tls.pem")
    assert all(pattern.startswith("../data/") for pattern in config.settings.table.files)
    assert all(config.path(name).is_file() for name in ("room", "authority", "consent", "tls_certificate"))


def test_the_coordinator_in_a_container_listens_for_its_service_name(home: Path) -> None:
    config = CoordinatorConfig.load(home / "coordinator" / "config" / "coordinator.toml")
    assert (config.settings.host, config.settings.port) == ("0.0.0.0", 7443)
    certificate = x509.load_pem_x509_certificate(config.read("tls_certificate"))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "coordinator" in names.get_values_for_type(x509.DNSName)


GOOD: dict[str, Any] = {
    "uid": 10001,
    "gid": 10001,
    "status": {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"},
    "limits": {"memory": "2147483648", "pids": "256"},
    "core": 0,
    "root": "ro",
    "writable": ["/tmp", "/state"],
    "programs": ["python", "python3", "python3.11", "sumroom-audit", "sumroom-party"],
    "rows": [],
    "loose": [],
    "dial": ["open", "refused", "unreachable"],
    "names": [],
}
REACH = {"coordinator:7443": "open", "10.0.0.1:7443": "closed", "10.0.0.2:7443": "unreachable"}


def test_a_container_that_is_as_it_should_be_is_left_in_peace() -> None:
    assert compose.judge("grocer", GOOD, REACH) == []


@pytest.mark.parametrize(
    ("where", "what", "said"),
    [
        ("uid", 0, "root"),
        ("gid", 0, "root"),
        ("status.CapBnd", "00000000800405fb", "CapBnd"),
        ("status.NoNewPrivs", "0", "privileges"),
        ("status.Seccomp", "0", "system call"),
        ("limits", {"memory": "max", "pids": "256"}, "limits"),
        ("core", -1, "core files"),
        ("root", "rw", "root can be written"),
        ("writable", ["/tmp", "/state", "/config"], "/config"),
        ("writable", ["/tmp"], "write"),
        ("programs", ["python", "sumroom-audit", "sumroom-party", "sumroom-coordinator"], "sumroom-coordinator"),
        ("rows", ["sales.csv"], "sales.csv"),
        ("loose", ["/run/secrets/tls.pem"], "tls.pem"),
        ("dial", ["refused", "refused", "unreachable"], "coordinator:7443 is refused"),
        ("dial", ["open", "open", "unreachable"], "10.0.0.1:7443 is open"),
        ("dial", ["open", "refused", "refused"], "10.0.0.2:7443 is refused"),
        ("names", ["drugstore"], "drugstore"),
    ],
)
def test_whatever_else_a_container_may_do_hold_or_reach_is_named(where: str, what: object, said: str) -> None:
    found = copy.deepcopy(GOOD)
    *groups, name = where.split(".")
    (found[groups[0]] if groups else found)[name] = what
    (problem,) = compose.judge("grocer", found, REACH)
    assert said in problem


def test_without_an_engine_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="neither a Docker engine .* nor podman") as caught:
        engines.find("sumroom-test", {})
    assert "podman info" in str(caught.value.hint)


def test_an_ordinary_user_runs_containers_as_oneself_and_root_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert engines.owner() == 1234
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert engines.owner() == engines.CONTAINER_UID != 0
