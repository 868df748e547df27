"""What a platform takes: one small document for each in `profiles/`, of which a party's list is an instance.

A profile has a version; what it says changes by a new version only. It names the pages it was made after and the day
they were read, since platforms change theirs. `sumroom-party profiles NAME` shows all of it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import Field as Setting
from pydantic import model_validator

from protocols.encoding import digest
from protocols.errors import UsageError
from protocols.schema import Date, Frozen, Name, Positive

from ..files import nearest
from .spelling import Field, Spelling, cell, one_line

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_NUMBER = re.compile(r"-?[1-9][0-9]{0,18}")


class Page(Frozen):
    """Where a rule was read, which edition (the page's own date, or a commit), and what it says of the format."""

    url: str
    says: str
    edition: str | None = None


class Column(Frozen):
    """A field of the party's table in a spelling, hashed (SHA-256, lower-case hex) or not; or a fixed text."""

    header: str
    field: Field | None = None
    spelling: Spelling = "as-written"
    hashed: bool = False
    text: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.field is None) == (self.text is None):
            raise ValueError("a column has a field or a text")
        return self


class Change(Frozen):
    """What an option's value changes in the column of a field."""

    header: str | None = None
    spelling: Spelling | None = None
    hashed: bool | None = None


class Option(Frozen):
    """A choice where a platform's pages disagree, or the party decides. `values`: value → field → what it changes."""

    default: str
    why: str
    values: dict[str, dict[Field, Change]]


class Parameter(Frozen):
    """A word of the party's that the file takes: the name of a list, say. Without a default it must be given."""

    what: str
    default: str | None = None
    longest: Positive = 128
    values: list[str] | None = None
    number: bool = False


class Limits(Frozen):
    """Lines and bytes a file, header and all; further files then follow. least_rows: fewer are refused over there."""

    rows: Positive | None = None
    bytes: Positive | None = None
    least_rows: Positive | None = None


class Profile(Frozen):
    """A platform's file. `before`: lines after the header; `together`: fields of which all are written, or none."""

    name: Name
    title: str
    version: str
    read_on: Date
    file: Literal["csv", "parquet"]
    byte_order_mark: bool = False
    before: list[list[str]] = Setting(default_factory=list)
    together: list[list[Field]] = Setting(default_factory=list)
    notes: list[str] = Setting(default_factory=list)
    sources: list[Page] = Setting(default_factory=list)
    columns: Annotated[list[Column], Setting(min_length=1)]
    options: dict[Name, Option] = Setting(default_factory=dict)
    parameters: dict[Name, Parameter] = Setting(default_factory=dict)
    limits: Limits = Limits()

    @property
    def fields(self) -> list[Field]:
        return [column.field for column in self.columns if column.field is not None]


@dataclass(frozen=True)
class Format:
    """A profile with its options decided and its parameters filled in: exactly what is written.

    said: every option and parameter with its value. sha256: of the profile's document.
    """

    profile: Profile
    sha256: str
    columns: tuple[Column, ...]
    before: tuple[tuple[str, ...], ...]
    said: Mapping[str, str]

    def only(self, fields: Collection[Field]) -> Format:
        """The format with no column of another field; of those that go together all are left, or none."""
        kept = set(fields)
        for group in self.profile.together:
            if not kept.issuperset(group):
                kept -= set(group)
        return replace(self, columns=tuple(one for one in self.columns if one.field is None or one.field in kept))

    @property
    def fields(self) -> list[Field]:
        return [column.field for column in self.columns if column.field is not None]


def names() -> list[str]:
    """The profiles there are."""
    found = resources.files(__package__).joinpath("profiles").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in found if file.name.endswith(".toml"))


def read(name: str) -> tuple[Profile, str]:
    """A profile and the SHA-256 of its document. Raises UsageError: there is none of that name."""
    if name not in names():
        near = nearest(name, names())
        guess = f"did you mean {near}? " if near else ""
        raise UsageError(f"there is no profile {name!r}", guess + "there are " + ", ".join(names()))
    data = resources.files(__package__).joinpath("profiles").joinpath(f"{name}.toml").read_bytes()
    return Profile.model_validate(tomllib.loads(data.decode())), digest(data)


def decide(name: str, settings: Mapping[str, str]) -> Format:
    """A profile with the party's `--set NAME=VALUE`; what is not set is as the profile has it. Raises UsageError."""
    profile, sha256 = read(name)
    for word in settings:
        if word not in profile.options and word not in profile.parameters:
            there = ", ".join([*profile.options, *profile.parameters]) or "nothing"
            raise UsageError(f"profile {name} has no setting {word!r}", f"it has {there}")
    columns, said = list(profile.columns), {}
    for word, option in profile.options.items():
        value = said[word] = settings.get(word, option.default)
        if value not in option.values:
            raise UsageError(f"--set {word}={value}: there is no such value", "one of " + ", ".join(option.values))
        changes = option.values[value]
        columns = [_changed(one, changes[one.field]) if one.field in changes else one for one in columns]
    for word, parameter in profile.parameters.items():
        said[word] = _filled(name, word, parameter, settings.get(word, parameter.default))
    columns = [one.model_copy(update={"text": _put(one.text, said)}) if one.text else one for one in columns]
    before = tuple(tuple(_put(text, said) for text in line) for line in profile.before)
    return Format(profile, sha256, tuple(columns), before, said)


def _changed(column: Column, change: Change) -> Column:
    return column.model_copy(update=change.model_dump(exclude_none=True))


def _put(text: str, said: Mapping[str, str]) -> str:
    return _PARAMETER.sub(lambda found: said[found[1]], text)


def _filled(name: str, word: str, parameter: Parameter, value: str | None) -> str:
    """A parameter's value. Raises UsageError."""
    where = f"--set {word}"
    if value is None:
        raise UsageError(f"profile {name} needs {where}=…", parameter.what)
    if parameter.values is not None and value not in parameter.values:
        raise UsageError(f"{where}={value}: there is no such value", "one of " + ", ".join(parameter.values))
    if parameter.number:
        if not _NUMBER.fullmatch(value):
            raise UsageError(f"{where}={value}: not a whole number", parameter.what)
    elif not value.strip() or len(value) > parameter.longest or not one_line(value) or cell(value) != value:
        hint = f"{parameter.what}: 1 to {parameter.longest} characters on one line, the first none of = + - @"
        raise UsageError(f"{where}: a text that cannot stand in the file", hint)
    return value
