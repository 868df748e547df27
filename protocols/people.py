"""Who is one person: the value that two parties know somebody by, how it is spelled, which rows are of one person.

Text that differs in spelling only must become the same text at every party, so the spelling is versioned: the
normaliser's name is part of what the parties agree on, and a rule here is succeeded (`/v2`), never changed. What
platforms ask for before an address is hashed, and what of ours is our own, with sources: docs/overlap.md. Telephone
numbers need tables of all countries: `party_node/identity.py`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from .schema import Frozen, Name, Schema

KEYS = ("email", "phone", "maid", "sha256")  # the types of columns that are spelled in one way; see `schema.Column`
_GMAIL = ("gmail.com", "googlemail.com")
_UUID = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_MAID = "00000000-0000-0000-0000-000000000000"  # what a phone gives whose owner allows no tracking

Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class PeopleRules(Frozen):
    """Public constants by which a party's rows become persons, and a person has one key at every party.

    column      the column of the table whose value is a person's key
    key         what such a value is
    links       further columns: rows that share a value of one of these, of `column` or of `customer` are of one person
    country     what a telephone number without + belongs to (ISO 3166); where the key or a link is one, and only there
    gmail_dots  whether x.y+shop@googlemail.com is xy@gmail.com; only where the key or a link is an e-mail address
    """

    column: Name
    key: Literal["email", "phone", "id", "maid", "sha256"]
    links: Annotated[list[Name], Field(min_length=1, max_length=8)] | None = None
    country: Country | None = None
    gmail_dots: bool | None = None

    @model_validator(mode="after")
    def _links_are_others(self) -> Self:
        links = self.links or []
        if len(set(links)) < len(links) or self.column in links:
            raise ValueError(f"links must be distinct, and {self.column!r} is the key's column already")
        return self

    @model_validator(mode="after")
    def _settings_of_the_key(self) -> Self:
        if self.key == "phone" and self.country is None:
            raise ValueError("country is missing: what is a telephone number without + in?")
        if self.links is None:
            self._only_for({self.key})
        return self

    @property
    def normaliser(self) -> str:
        """The versioned name of the key's spelling, the same for all parties of a plan."""
        name = f"sumroom/{self.key}/v1"
        if self.key == "phone":
            return f"{name}/{self.country}"
        return f"{name}/gmail" if self.key == "email" and self.gmail_dots else name

    def check(self, table: Schema) -> None:
        """Raise ValueError unless the columns are in the table and of fitting types."""
        kinds: set[str] = {self.key}
        for name in (self.column, *(self.links or [])):
            if name not in table.columns:
                raise ValueError(f"people: the table has no column {name!r}")
        found = table.columns[self.column].type
        if found not in ("id", self.key):
            raise ValueError(f"people.column: {self.column!r} is of type {found}, and neither {self.key} nor id")
        for name in self.links or []:
            if (kind := table.columns[name].type) not in ("id", *KEYS):
                raise ValueError(f"people.links: {name!r} is of type {kind}; a link is id or {', '.join(KEYS)}")
            kinds.add(kind)
        self._only_for(kinds)
        if "phone" in kinds and self.country is None:
            raise ValueError("people.country is missing: what is a telephone number without + in?")

    def _only_for(self, kinds: set[str]) -> None:
        if self.country is not None and "phone" not in kinds:
            raise ValueError("people.country is for telephone numbers, and neither the key nor a link is one")
        if self.gmail_dots is not None and "email" not in kinds:
            raise ValueError("people.gmail_dots is for e-mail addresses, and neither the key nor a link is one")


def email(text: str, gmail_dots: bool = False) -> str | None:
    """An e-mail address in its one spelling, None for what is none: one @, something on both sides, no blank.

    gmail_dots: at gmail.com and googlemail.com, which are one, dots before the @ and all from a + on are taken out.
    """
    whole = text if text.isascii() else unicodedata.normalize("NFC", text)
    whole = whole.strip().lower()
    if not whole.isascii():
        whole = unicodedata.normalize("NFC", whole)
    mailbox, at, host = whole.partition("@")
    if not (mailbox and at and host) or "@" in host or not whole.isprintable() or " " in whole:
        return None
    if gmail_dots and host in _GMAIL:
        mailbox, host = mailbox.partition("+")[0].replace(".", ""), _GMAIL[0]
    return f"{mailbox}@{host}" if mailbox else None


def identifier(text: str) -> str | None:
    """A number or name that the parties share, as that of a loyalty card: trimmed, its case kept, None when empty."""
    return unicodedata.normalize("NFC", text).strip() or None


def maid(text: str) -> str | None:
    """A mobile advertising id: a UUID in lower case with its dashes. None for another text, and for all zeros."""
    if (found := _UUID.fullmatch(text.strip().lower())) is None:
        return None
    spelled = "-".join(found.groups())
    return None if spelled == _NO_MAID else spelled


def sha256(text: str) -> str | None:
    """What was hashed before it came here: 64 hex digits, in lower case."""
    spelled = text.strip().lower()
    return spelled if _SHA256.fullmatch(spelled) else None
