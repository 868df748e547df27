"""The coordinator's settings. It is trusted for availability only; beside each file, who could do what with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from protocols import settings
from protocols.errors import UsageError
from protocols.keys import Identity
from protocols.room import Room
from protocols.schema import Frozen


class Files(Frozen):
    """Paths.

    room             who is in the room; must be what the parties hold, or they will not cosign
    signing_key      its two keys in one file: signs checkpoints, releases and messages. Secret: whoever has it can
                     stop or fork the room, and is found out by the first party that looks
    signing_key_next  its next keys, where they are being changed: used once the ledger names them
    tls_key, tls_certificate, authority   open the connection; the authority's own key is not here, and not needed
    state            ledger, releases, journal. An older copy put back is noticed by every party
    """

    room: str
    signing_key: str
    signing_key_next: str | None = None
    tls_key: str
    tls_certificate: str
    authority: str
    state: str


class Settings(Frozen):
    """`listen`: host and port. `grace_s`: how long a party may be away before a round gives up on it."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=0, le=65535)]
    grace_s: Annotated[int, Field(strict=True, ge=1, le=3600)] = 15
    files: Files


@dataclass(frozen=True)
class Config:
    """The settings, the folder that relative paths start at, and the file they came from."""

    base: Path
    settings: Settings
    file: Path

    @classmethod
    def load(cls, path: Path) -> Config:
        """Raises UsageError naming the file and the setting."""
        return cls(path.resolve().parent, settings.load(path, Settings), path.resolve())

    def path(self, name: str) -> Path:
        return self.base / str(getattr(self.settings.files, name))

    def read(self, name: str) -> bytes:
        """The file that one of `files` names. Raises UsageError."""
        return settings.read(self.path(name), name)

    def secret(self, name: str) -> bytes:
        """The same, for a file that only its owner may read. Raises UsageError otherwise."""
        return settings.secret(self.path(name), name)

    @cached_property
    def room(self) -> Room:
        return Room.from_toml(self.read("room"), where=str(self.path("room")))

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        """The private keys it has: those in use and, while they are being changed, the next."""
        files = ("signing_key", *(("signing_key_next",) if self.settings.files.signing_key_next is not None else ()))
        return tuple(Identity.from_pem(self.secret(name), where=str(self.path(name))) for name in files)

    @cached_property
    def identity(self) -> Identity:
        """The private keys that the room file knows the coordinator by. The ledger may know it by the next ones."""
        identity = self.identities[0].known_as(self.room.coordinator_keys)
        if identity is None:
            raise UsageError("files.signing_key has not the keys that the room knows its coordinator by")
        return identity

    @property
    def signing(self) -> Ed25519PrivateKey:
        """Its Ed25519 key, which signs all but the ledger's checkpoints alone."""
        return self.identity.ed25519
