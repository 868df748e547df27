"""Make the demo's room: keys, certificates, and who is in it. Enrolment between real companies comes on its own.

    .room/room.toml  authority.pem              what everybody holds
    .room/coordinator/                          settings, keys, ledger
    .room/grocer/  drugstore/  convenience/     settings, keys, data and state of each company

The authority's private key exists in this process only and is never written: nobody, the coordinator included, can
admit a fourth company to this room.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from protocols import keys
from protocols.carrier import pki
from protocols.errors import UsageError
from protocols.room import member_lines

HERE = Path(__file__).resolve().parent
ROOM = "complete-journey"
COMPANIES = ("convenience", "drugstore", "grocer")
PORT = "7443"
HOSTS = ("localhost", "127.0.0.1")
MARKER = ".demo-room"

ROOM_TOML = """\
# Who is in the room, and under which limits. Every company and the coordinator hold the same file.

room = "{room}"
origin = "complete-journey.example/ledger"
cosign_quorum = 2       # how many companies must cosign an ordinary entry; what spends budget needs all

[coordinator]
{coordinator}
{parties}
[blocks.year-2017]
first = "2017-01-01"
last = "2018-01-01"

[caps]
record = "0.133"            # ε 2.5 at δ 1e-6 for one person's records at one company
person = "0.399"            # the same person at all three
lifetime_record = "0.133"
lifetime_person = "0.399"
"""


def make(target: Path, port: int, hosts: Sequence[str] = HOSTS, edits: Mapping[str, str] | None = None) -> None:
    """A new room below `target`, in place of an earlier demo's; its coordinator will listen on `port`.

    hosts: the names its certificate is for. edits: what else than the demo's own stands in the settings, text for text.
    Raises UsageError for a folder that holds anything else.
    """
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / MARKER).exists())):
        raise UsageError(f"{target} is there and is no demo's room", "name an empty or a new folder with --room")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True, mode=0o700)
    (target / MARKER).touch()
    authority = pki.RoomCA.create(ROOM)
    (target / "authority.pem").write_bytes(authority.cert_pem)
    changes = {PORT: str(port)} | dict(edits or {})
    public = {party: _member(target / party, party, authority, changes) for party in COMPANIES}
    coordinator = _coordinator(target / "coordinator", authority, hosts, changes)
    parties = "".join(f"[parties.{party}]\n{member_lines(own)}\n" for party, own in public.items())
    text = ROOM_TOML.format(room=ROOM, coordinator=member_lines(coordinator), parties=parties)
    (target / "room.toml").write_text(text, "utf-8")


def _member(home: Path, party: str, authority: pki.RoomCA, changes: Mapping[str, str]) -> keys.PublicKeys:
    """One company's folder; returns its public keys. Its private keys are made here and stay here."""
    identity, tls = keys.Identity.generate(), pki.new_tls_key()
    request = pki.request(ROOM, party, tls, identity.ed25519)
    _settings(HERE / party, home, ("node.toml", "consent.toml"), changes)
    _keys(home, identity, tls, authority.party(request, party))
    return identity.public()


def _coordinator(
    home: Path, authority: pki.RoomCA, hosts: Sequence[str], changes: Mapping[str, str]
) -> keys.PublicKeys:
    identity = keys.Identity.generate()
    tls, certificate = authority.server(list(hosts))
    _settings(HERE, home, ("coordinator.toml",), changes)
    _keys(home, identity, tls, certificate)
    return identity.public()


def _settings(source: Path, home: Path, names: tuple[str, ...], changes: Mapping[str, str]) -> None:
    home.mkdir(mode=0o700)
    for name in names:
        text = (source / name).read_text("utf-8")
        for old, new in changes.items():
            text = text.replace(old, new)
        (home / name).write_text(text, "utf-8")


def _keys(home: Path, identity: keys.Identity, tls: bytes, certificate: bytes) -> None:
    folder = home / "keys"
    folder.mkdir(mode=0o700)
    files = {"signing.pem": identity.pem(), "tls.pem": tls, "tls-certificate.pem": certificate}
    for name, data in files.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
