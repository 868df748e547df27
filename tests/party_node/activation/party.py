"""A made-up party's files, and one activation of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from party_node.activation import Activated, activate
from party_node.activation.choosing import Choice
from party_node.activation.profile import decide
from party_node.activation.spelling import Field
from party_node.activation.tables import Known, called_so
from tests.party_node.activation.regenerate import DAY, SIGNER


def table(file: Path, *lines: str) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return file


class Party:
    """Its list and its own table, to be activated in one way or another."""

    def __init__(self, folder: Path, listed: Sequence[str], people: Sequence[str] = ()) -> None:
        self.folder = folder
        self.listed = table(folder / "list.csv", *listed)
        self.people = table(folder / "people.csv", *people) if people else None
        self.out = folder / "out" / "file.csv"

    def file(self, name: str, *lines: str) -> Path:
        return table(self.folder / name, *lines)

    def activate(
        self,
        profile: str = "plain-csv",
        settings: dict[str, str] | None = None,
        *,
        out: Path | None = None,
        fields: Sequence[Field] | None = None,
        country: str | None = "DE",
        **choice: Any,
    ) -> Activated:
        known = None if self.people is None else Known((self.people,), called_so(self.people), country)
        format_ = decide(profile, settings or {})
        chosen = Choice(self.listed, **choice)
        return activate(chosen, known, format_, out or self.out, "a test", SIGNER, DAY, fields)

    def written(self, out: Path | None = None) -> list[str]:
        """The customers of the file."""
        with (out or self.out).open(newline="", encoding="utf-8") as file:
            return [row["customer"] for row in csv.DictReader(file)]
