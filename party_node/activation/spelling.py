"""How what a person is known by is spelled: first in the one way of this project, then as a platform wants it.

The first step is that of `protocols/people.py` and `identity.py`, so that an address which stands in three spellings in
the party's files is one. The second turns that spelling into a profile's; what has none is None, and is not written.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Literal

import phonenumbers

from protocols.errors import UsageError
from protocols.people import email, maid

from ..identity import phone

Field = Literal["customer", "email", "phone", "maid", "first_name", "last_name", "postcode", "country"]
Spelling = Literal["as-written", "lower", "upper", "unspaced-lower", "unaliased", "no-plus", "digits"]

IDS: tuple[Field, ...] = ("email", "phone", "maid")  # each of which is one person's, or a household's, by itself
_GMAIL = ("gmail.com", "googlemail.com")
# What spreadsheets take for the start of a formula (OWASP, CSV injection), full-width forms among them; and the mark
# itself before one of these, so that two values never become one cell.
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")

UNSPELLED: dict[Field, str] = {
    "email": "not an e-mail address",
    "phone": "not a telephone number",
    "maid": "not an advertising id",
    "first_name": "not one line of text",
    "last_name": "not one line of text",
    "postcode": "not one line of text",
    "country": "not the two letters of a country",
}


def first(field: Field, country: str | None) -> Callable[[str], str | None]:
    """The project's spelling of a field's text. country: what a telephone number without + belongs to.

    Raises UsageError: there are no telephone numbers of that country.
    """
    if field == "phone":
        if country is not None and country not in phonenumbers.SUPPORTED_REGIONS:
            raise UsageError(f"there are no telephone numbers of {country!r}", "two capital letters, as DE, FR, US")
        return lambda text: phone(text, country)
    return {"email": email, "maid": maid, "country": _country}.get(field, _line)


def then(spelling: Spelling) -> Callable[[str], str | None]:
    """A platform's spelling, of text in the project's."""
    return {
        "as-written": _same,
        "lower": str.lower,
        "upper": str.upper,
        "unspaced-lower": lambda text: "".join(text.lower().split()),
        "unaliased": lambda text: _unaliased(text, _GMAIL),
        "no-plus": _no_plus,
        "digits": lambda text: "".join(char for char in text if char in "0123456789"),
    }[spelling]


def hashed(text: str) -> str:
    """SHA-256 of the text's UTF-8, as 64 lower-case hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def known_by(field: Field, text: str) -> str:
    """The value by which two rows are found to be of one person: no profile's spelling makes one of two of these.

    Why: whoever asked to be left out as x.y+shop@gmail.com is left out as xy@googlemail.com too, and as x+a@example.org
    also as x@example.org, which one edition of a platform's page takes for the same.
    """
    if field != "email":
        return text
    plain = email(text, gmail_dots=True) or text
    return _no_plus(plain) or plain


def cell(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula: with a ' before it, if it were one."""
    return f"'{text}" if _FORMULA.match(text) else text


def one_line(text: str) -> bool:
    """Whether a text may stand in a cell as it is: no line break, no other control character."""
    return all(unicodedata.category(char) not in ("Cc", "Zl", "Zp", "Cs") for char in text)


def _line(text: str) -> str | None:
    """One line of text in one form of its accents, with single blanks; None when it is several, or nothing."""
    if not one_line(text.strip()):
        return None
    return " ".join(unicodedata.normalize("NFC", text).split()) or None


def _country(text: str) -> str | None:
    letters = text.strip().upper()
    return letters if letters in phonenumbers.SUPPORTED_REGIONS else None


def _same(text: str) -> str:
    return text


def _unaliased(text: str, hosts: tuple[str, ...]) -> str | None:
    """Without the dots, and all from a + on, before the @ of these hosts; the host stays as it is."""
    mailbox, _, host = text.partition("@")
    if host not in hosts:
        return text
    mailbox = mailbox.partition("+")[0].replace(".", "")
    return f"{mailbox}@{host}" if mailbox else None


def _no_plus(text: str) -> str | None:
    mailbox, _, host = text.partition("@")
    mailbox = mailbox.partition("+")[0]
    return f"{mailbox}@{host}" if mailbox else None
