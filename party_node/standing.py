"""Which room this party stands in now, and by which keys: as its files say, and as the ledger has changed it since."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.keys import Identity
from protocols.ledger.standing import in_force, standing
from protocols.logbook import Logbook
from protocols.room import Room

from .config import Config


class Standing:
    """Asked anew for every answer: an entry that was cosigned a second ago may have changed it."""

    def __init__(self, config: Config, book: Logbook) -> None:
        self._config, self._book = config, book
        self._seen: tuple[int, int] | None = None
        self._room = config.room
        self._identity: tuple[tuple[int, int], Identity] | None = None

    @property
    def founded(self) -> Room:
        """The room as its file says it began."""
        return self._config.room

    @property
    def room(self) -> Room:
        """The room now."""
        accounts = self._book.accounts
        if accounts.size and accounts.revision != self._seen:
            self._room, self._seen = standing(self.founded, accounts), accounts.revision
        return self._room

    @property
    def identity(self) -> Identity:
        """The keys in force of this party. Raises UsageError where its files have other ones."""
        accounts, party = self._book.accounts, self._config.party
        if self._identity is None or self._identity[0] != accounts.revision:
            known = accounts.members.keys_of(party) if accounts.size else None
            found = in_force(self._config.identities, known or self.founded.members.get(party), party)
            self._identity = accounts.revision, found
        return self._identity[1]

    @property
    def signing(self) -> Ed25519PrivateKey:
        """The Ed25519 key in force, which signs all but the ledger's checkpoints alone."""
        return self.identity.ed25519
