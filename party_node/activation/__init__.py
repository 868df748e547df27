"""Activation: a party turns a list on its own disk into a platform's file, on its own disk. Nothing is sent.

1. `profile.py`   what the platform takes: columns, which of them hashed, spelling, limits; versioned documents
2. `tables.py`    the list, the party's own table of whom it knows, who opted out
3. `persons.py`   which customers are one person, or may be
4. `choosing.py`  of each row of the list what becomes of it: segment, cut, opt-outs, holdout arm
5. `spelling.py`  what people are known by, in the one way of this project and then in the platform's
6. `writing.py`   the lines, and the files: the owner's alone, whole or not at all
7. `receipt.py`   what was made of what, signed, beside the files

What a hash hides is little: whoever has the address has its hash. A file made here is personal data.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.errors import Refused, UsageError

from ..audience import UNSURE
from ..faults import Fault
from ..identity import MANY_CUSTOMERS
from . import receipt, writing
from .choosing import FATES, Choice, Fate, choose, counted, doubts, dummies, mark_rest
from .profile import Format
from .spelling import Field
from .tables import Known, engine, known_people


@dataclass(frozen=True)
class Signer:
    """Whose receipt it is."""

    party: str
    room: str
    key: Ed25519PrivateKey


@dataclass(frozen=True)
class Activated:
    """What was made: the files, the receipt, every row's fate, what of the party's table has no spelling, warnings."""

    files: tuple[Path, ...]
    receipt: Path
    lines: int
    fates: dict[Fate, int]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]


def activate(
    choice: Choice,
    known: Known | None,
    format_: Format,
    out: Path,
    purpose: str,
    signer: Signer,
    date: dt.date,
    fields: Sequence[Field] | None = None,
) -> Activated:
    """Write the file `out`, or `out`-1, -2 … where a limit of the platform asks for several, and `out`.receipt.json.

    fields: only these of the profile's; None: all that the party's table has. Raises UsageError, and Refused where
    nobody would be written.
    """
    # 1. What can be refused without reading a row
    written = _fields(format_, known, fields)
    if not out.name:
        raise UsageError(f"--out {out}: a folder, and no name of a file", "as --out upload/winter.csv")
    _refuse_overwriting(out, receipt_of(out), *_named(out, 2))
    if choice.draw is not None and choice.draw.token != "customer" and not _has(known, choice.draw.token):
        raise UsageError(f"--holdout-by {choice.draw.token}: your own table has no such column", "see --column")
    try:
        out.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(dir=out.parent, prefix=".activation-") as beside, engine(Path(beside)) as con:
            # 2. Each row's fate
            inputs = _inputs(choice, known)
            faults = known_people(con, known)
            choose(con, choice, known)
            if writing.needs_people(written):
                known_ = "SELECT person FROM members JOIN known USING (customer)"
                mark_rest(con, "unknown", f"customer NOT IN ({known_})")
            writing.lines(con, written, choice.file)
            mark_rest(con, "unreachable", "customer NOT IN (SELECT person FROM lines)")
            mark_rest(con, "written", "true")
            fates, (signal, beyond), joined = counted(con), doubts(con), dummies(con)
            if not fates["written"]:
                told = ", ".join(f"{count:,} {FATES[fate]}" for fate, count in fates.items() if count)
                raise Refused(f"nobody would be written ({told or 'the list is empty'}); nothing was")
            # 3. Files beside, then all in their places, the receipt last
            parts = writing.write(con, written, Path(beside))
            if _inputs(choice, known) != inputs:
                raise UsageError("a file was changed while it was read", "try again when nobody writes to it")
            targets = _named(out, len(parts))
            _refuse_overwriting(*targets)
            body = {
                "party": signer.party,
                "room": signer.room,
                "date": date.isoformat(),
                "purpose": purpose,
                "profile": format_.profile.name,
                "profile_version": format_.profile.version,
                "profile_sha256": format_.sha256,
                "settings": dict(format_.said),
                "fields": list(written.fields),
                "choice": _told(choice) | ({} if signal is None else {"signal": signal}),
                "inputs": inputs,
                "outputs": [
                    {"name": target.name, "sha256": part.sha256, "lines": part.rows}
                    for part, target in zip(parts, targets, strict=True)
                ],
                "people_in": sum(fates.values()),
                "fates": dict(fates),
                "not_spelled": {fault.column: fault.rows for fault in faults},
            }
            kept = Path(beside) / "receipt"
            with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(receipt.signed(body, signer.key))
            paths = [part.path for part in parts]
            writing.place([*zip(paths, targets, strict=True), (kept, receipt_of(out))])
    except (OSError, duckdb.IOException) as exc:
        why = getattr(exc, "strerror", None) or "is there room?"
        raise UsageError(
            f"cannot write {out}: {why}", "name a file in a folder that you may write to, with --out"
        ) from None
    lines = sum(part.rows for part in parts)
    warnings = (*_doubted(signal, beyond, joined), *_warnings(format_, written, lines, fates))
    return Activated(tuple(targets), receipt_of(out), lines, fates, faults, warnings)


def receipt_of(out: Path) -> Path:
    """Where the receipt of a file goes."""
    return out.with_name(f"{out.name}.receipt.json")


def _fields(format_: Format, known: Known | None, fields: Sequence[Field] | None) -> Format:
    """The format with the columns that are written. Raises UsageError."""
    there = {"customer", *(known.columns if known is not None else ())}
    for name in fields or ():
        if name not in format_.fields:
            hint = "it takes " + ", ".join(format_.fields)
            raise UsageError(f"--fields: profile {format_.profile.name} takes no {name}", hint)
        if name not in there:
            raise UsageError(f"--fields: your own table has no {name}", f"--people FILE --column {name}=COLUMN")
    written = format_.only([name for name in format_.fields if name in there and name in (fields or there)])
    if not written.fields:
        takes = ", ".join(format_.fields)
        what = f"profile {format_.profile.name} takes {takes}, and your own table has none of it"
        raise UsageError(what, "name it with --people FILE, and its columns with --column email=COLUMN")
    return written


def _has(known: Known | None, name: Field) -> bool:
    return known is not None and name in known.columns


def _refuse_overwriting(*paths: Path) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise UsageError(f"{path} is there already, and nothing is overwritten", "name another file with --out")


def _named(out: Path, parts: int) -> list[Path]:
    if parts == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, parts + 1)]


def _told(choice: Choice) -> dict[str, str]:
    """The choice in words of a receipt. Never a path: a file is known by its digest."""
    told = {"opt_outs": "none" if choice.opt_outs is None else "file"}
    if choice.segments:
        told["segments"] = ", ".join(choice.segments)
    if choice.top is not None:
        top = choice.top
        told["top"] = str(top.count) if top.count is not None else f"{(top.hundredths or 0) / 100:g}%"
    if choice.by is not None:
        told["by"] = choice.by
    if choice.holdout is not None:
        told["holdout"] = f"column {choice.holdout}" if isinstance(choice.holdout, str) else "file"
    if choice.draw is not None:
        told["draw"] = f"{choice.draw.share / 100:g}% by {choice.draw.token}"
    return told


def _inputs(choice: Choice, known: Known | None) -> list[dict[str, str]]:
    files = [("list", choice.file)]
    files += [("people", file) for file in (known.files if known is not None else ())]
    files += [("opt-outs", choice.opt_outs)] if choice.opt_outs is not None else []
    files += [("holdout", choice.holdout)] if isinstance(choice.holdout, Path) else []
    return [{"role": role, "sha256": _sha256(file, role)} for role, file in files]


def _sha256(file: Path, role: str) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        raise UsageError(f"file {file} does not exist", f"it was named as {role}") from None
    except OSError as exc:
        raise UsageError(f"file {file} cannot be read: {exc.strerror}", f"it was named as {role}") from None


def _doubted(signal: str | None, beyond: int, joined: int) -> list[str]:
    """What the list says of itself, of those who were written; and whether many were left out for one address."""
    found = [] if signal is None else [f"{signal}: {UNSURE[signal]}"]
    if beyond:
        found.append(f"{beyond:,} of those written are beyond the largest cut that the companies agreed to use")
    if joined:
        what = (
            f"{joined:,} were left out with over {MANY_CUSTOMERS} customers each, who share addresses: is one nobody's?"
        )
        found.append(f"{what} leave such values empty in your own table")
    return found


def _warnings(format_: Format, written: Format, lines: int, fates: dict[Fate, int]) -> list[str]:
    found = []
    if dropped := [name for name in format_.fields if name not in written.fields]:
        found.append("not written, as your own table lacks them or --fields leaves them out: " + ", ".join(dropped))
    if (least := format_.profile.limits.least_rows) is not None and lines < least:
        found.append(f"{lines:,} lines: {format_.profile.title} takes a file from {least:,} on")
    if fates["unknown"]:
        found.append(f"{fates['unknown']:,} of the list are not in your own table: has it the same customer ids?")
    return found
