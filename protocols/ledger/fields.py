"""What the entries of the ledger are made of: names, lists, pointers, keys, and what every entry says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from ..errors import IntegrityError, UsageError
from ..keys import PublicKeys, ml_dsa_44_key, public_key
from ..schema import Base64, Count, Frozen, Name
from .notes import check_name

MAX_PARTIES = 64
# The two words that stand beside parties and blocks wherever budgets are listed.
PERSON = "person"
LIFETIME = "lifetime"

T = TypeVar("T")
_POINTER = re.compile(r"(/([^~/]|~[01])*)+")


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def distinct(items: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(items)) != len(items):
        raise ValueError("named twice")
    return items


def ascending(items: tuple[Any, ...]) -> tuple[Any, ...]:
    # Why sorted: one set of parties has one spelling, and so one digest.
    if [*items] != sorted({*items}):
        raise ValueError("must be distinct and in alphabetical order")
    return items


def _read_by(reader: Callable[[str], object]) -> Callable[[str], str]:
    """A validator: the text as it is, where `reader` raises nothing over it."""

    def text_of(text: str) -> str:
        try:
            reader(text)
        except (IntegrityError, UsageError) as exc:
            raise ValueError(exc.message) from None
        return text

    return text_of


key_text, ml_dsa_44_text = _read_by(public_key), _read_by(ml_dsa_44_key)


def _pointer(text: str) -> str:
    if not _POINTER.fullmatch(text):
        raise ValueError("not the path of a number (RFC 6901)")
    return text


Names = Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)]
Parties = Annotated[
    tuple[Name, ...],
    BeforeValidator(as_tuple),
    Field(min_length=1, max_length=MAX_PARTIES),
    AfterValidator(ascending),
]
Pointer = Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(_pointer)]
Charge = dict[Name, dict[Name, Count]]


Origin = Annotated[str, AfterValidator(_read_by(check_name))]


class Key(Frozen):
    """A member's public keys: base64 of the 32 bytes of Ed25519 and, beside it, of the 1,312 bytes of ML-DSA-44."""

    key: Annotated[Base64, AfterValidator(key_text)]
    ml_dsa_44: Annotated[Base64, AfterValidator(ml_dsa_44_text)] | None = None

    @property
    def public(self) -> PublicKeys:
        """The keys themselves."""
        return PublicKeys.from_texts(self.key, self.ml_dsa_44)


class Numbered(Frozen):
    """What every entry says: its number in the ledger, from 0, and the coordinator's clock in unix seconds."""

    seq: Count
    time: Count
