"""`sumroom-party activate | profiles | receipt`: a list on this party's disk becomes a platform's file on its disk.

Nothing is sent, and the node may run meanwhile or not: neither its store nor its log of what was sent is touched.
"""

from __future__ import annotations

import datetime as dt
import json
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from protocols import keys, terminal
from protocols.errors import IntegrityError, UsageError

from . import activation
from .activation import profile as profiles_
from .activation import receipt as receipts
from .activation.choosing import FATES, Choice, Draw, Top, hundredths
from .activation.spelling import IDS, Field, first, one_line
from .activation.tables import FIELDS, Known, called_so, has_column
from .config import Config
from .faults import place

SHOWN = 5  # places of values without a spelling
KEY_BYTES = 32  # at least
PURPOSE = 200  # characters
ConfigOption = Annotated[Path, typer.Option(metavar="NODE.TOML", help="This node's settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def activate(
    list_: Annotated[Path, typer.Argument(metavar="LIST", help="A ranked list, or segments.csv: a column customer.")],
    config: ConfigOption,
    profile: Annotated[str, typer.Option(metavar="NAME", help="Whose file: sumroom-party profiles lists them.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; FILE.receipt.json goes beside it.")],
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="What for, as the receipt keeps it.")],
    opt_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who opted out: columns customer, email, phone or maid.")
    ] = None,
    no_opt_outs: Annotated[bool, typer.Option("--no-opt-outs", help="Nobody has opted out.")] = False,
    segment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this segment or class; may be repeated.")
    ] = None,
    segment_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Where segments stand, if not in segment or class.")
    ] = None,
    top: Annotated[str | None, typer.Option(metavar="N|PERCENT%", help="Only the best so many of the list.")] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What --top goes by: rank (lowest first), else highest first.")
    ] = None,
    people: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Your own table of addresses, in place of [activation].")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="Which of its columns is which field.")
    ] = None,
    country: Annotated[
        str | None, typer.Option(metavar="DE", help="What a telephone number without + belongs to.")
    ] = None,
    fields: Annotated[str | None, typer.Option(metavar="A,B", help="Only these fields of the profile's.")] = None,
    holdout: Annotated[
        str | None, typer.Option(metavar="FILE|COLUMN", help="Who is held out: a file as --opt-out, or a column.")
    ] = None,
    holdout_percent: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="Hold out so many by lot, under a key.")
    ] = None,
    holdout_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="That key; the same at all parties of a campaign.")
    ] = None,
    holdout_by: Annotated[str, typer.Option(metavar="FIELD", help="What is drawn: customer, email, phone, maid.")] = (
        "customer"
    ),
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the profile's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a platform's file from a list of this party's customers, without those who opted out or are held out.

    Nothing is uploaded. The file and its receipt are readable by their owner only.
    """
    if (opt_out is None) == (not no_opt_outs):
        raise UsageError("say who opted out", "--opt-out FILE, or --no-opt-outs where nobody has")
    if not purpose.strip() or len(purpose) > PURPOSE or not one_line(purpose):
        raise UsageError(f"--purpose: 1 to {PURPOSE} characters on one line", 'as --purpose "winter campaign"')
    if by is not None and top is None:
        raise UsageError("--by goes with --top, which is not there", f"as --top 20% --by {by}")
    if segment_column is not None and not segment:
        raise UsageError("--segment-column goes with --segment, which is not there", "as --segment s1")
    if holdout is not None and holdout_percent is not None:
        raise UsageError("--holdout and --holdout-percent: one holdout arm, not two", "leave one of them out")
    node = Config.load(config)
    known = _known(node, people or [], _pairs(column or [], "--column"), country)
    choice = Choice(
        file=list_,
        segments=tuple(dict.fromkeys(segment or [])),
        segment_column=segment_column,
        top=None if top is None else Top.read(top),
        by=by,
        opt_outs=opt_out,
        holdout=_holdout(holdout, list_),
        draw=_draw(node, holdout_percent, holdout_key, holdout_by),
    )
    signer = activation.Signer(node.party, node.room.room, node.signing)
    done = activation.activate(
        choice,
        known,
        profiles_.decide(profile, _pairs(set_ or [], "--set")),
        out,
        purpose.strip(),
        signer,
        dt.datetime.now(dt.UTC).date(),
        None if fields is None else [_field(name, "--fields") for name in fields.split(",")],
    )
    _tell(done, as_json)


def profiles(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show one: columns, hashes, limits, pages.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The platforms whose files `activate` writes, or all that one of them says."""
    if name is None:
        found = [profiles_.read(one)[0] for one in profiles_.names()]
        if as_json:
            print(
                json.dumps([{"name": one.name, "version": one.version, "title": one.title} for one in found], indent=2)
            )
            return
        table = Table("profile", "version", "pages read", "what it is")
        for one in found:
            table.add_row(one.name, one.version, one.read_on, one.title)
        terminal.console().print(table)
        return
    one, _ = profiles_.read(name)
    if as_json:
        print(json.dumps(one.body(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_described(one)))


def receipt(
    file: Annotated[Path, typer.Argument(metavar="RECEIPT", help="FILE.receipt.json, beside the files it tells of.")],
    config: Annotated[
        Path | None, typer.Option(metavar="NODE.TOML", help="Whether it is signed by this party's key, too.")
    ] = None,
) -> None:
    """Whether a receipt is as it was signed, and the files beside it as they were written."""
    try:
        data = file.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from None
    found = receipts.check(file, data)
    whose = f"the key {found.key}"
    if config is not None:
        node = Config.load(config)
        if found.key not in [keys.public_text(one.ed25519) for one in node.identities]:
            raise IntegrityError(f"{file} is signed by another key than {node.party}'s")
        whose = f"{node.party}'s key"
    files = ", ".join(output.name for output in found.outputs)
    print(terminal.plain(f"{files}: {found.profile} {found.profile_version}, {found.date}, {found.purpose}"))
    print(f"as written, and the receipt as signed by {whose}")


def _known(node: Config, people: Sequence[Path], columns: dict[str, str], country: str | None) -> Known | None:
    """The party's own table: that of the options, else that of the settings, else none. Raises UsageError."""
    setting = node.settings.activation
    if people:
        files, base = tuple(people), dict(called_so(people[0]))
    elif setting is not None:
        files = node.matching(setting.files, "activation.files")
        wanted = {_field(name, "activation.columns"): own for name, own in setting.columns.items()}
        base = wanted or dict(called_so(files[0]))
    elif columns:
        raise UsageError("--column: there is no table of your own", "name it with --people FILE")
    else:
        return None
    base |= {_field(name, "--column"): own for name, own in columns.items()}
    if "customer" not in base:
        what = "your own table has no column customer, so nobody of the list is in it"
        raise UsageError(what, "--column customer=COLUMN, or activation.columns.customer in node.toml")
    country = country or (setting.country if setting is not None else None)
    first("phone", country)  # a country that is none is refused, though no number may need it
    return Known(files, base, country)


def _field(name: str, option: str) -> Field:
    if name not in FIELDS:
        raise UsageError(f"{option}: there is no field {name!r}", "there are " + ", ".join(FIELDS))
    return name


def _pairs(words: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign and value) or name in found:
            raise UsageError(f"{option} {name}: not NAME=VALUE, or twice", f"as {option} email=E-MAIL")
        found[name] = value
    return found


def _holdout(text: str | None, list_: Path) -> Path | str | None:
    """A column of the list, or a file: a name with a folder or an ending is a file's. Raises UsageError for both."""
    if text is None:
        return None
    if "/" in text or text.lower().endswith((".csv", ".csv.gz", ".parquet")):
        return Path(text)
    if Path(text).is_file() and has_column(list_, text):
        raise UsageError(f"--holdout {text}: a column of the list and a file here", f"--holdout ./{text} is the file")
    return text


def _draw(node: Config, percent: str | None, key: Path | None, by: str) -> Draw | None:
    setting = node.settings.activation
    if key is None and percent is not None and setting is not None and setting.holdout_key is not None:
        key = node.base / setting.holdout_key
    if percent is None or key is None:
        if percent is not None:
            raise UsageError("--holdout-percent: by which key?", "--holdout-key FILE; make one: openssl rand -hex 32")
        if key is not None or by != "customer":
            raise UsageError("--holdout-key and --holdout-by go with --holdout-percent")
        return None
    token = _field(by, "--holdout-by")
    if token not in ("customer", *IDS):
        raise UsageError(f"--holdout-by {by}: not what a person is told by", "customer, email, phone or maid")
    return Draw(hundredths(percent, "--holdout-percent", 99), _secret(key), token)


def _secret(path: Path) -> bytes:
    """The key's bytes, blanks around them left off. Raises UsageError where others can read it, or it is short."""
    try:
        data, mode = path.read_bytes().strip(), path.stat().st_mode
    except OSError as exc:
        raise UsageError(f"--holdout-key: cannot read {path}: {exc.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"--holdout-key: others can read {path}", f"chmod 600 {path}")
    if len(data) < KEY_BYTES:
        raise UsageError(f"--holdout-key: {path} has {len(data)} bytes", f"{KEY_BYTES} at least: openssl rand -hex 32")
    return data


def _tell(done: activation.Activated, as_json: bool) -> None:
    for fault in done.faults:
        ((reason, count),) = fault.reasons.items()
        places = "; ".join(place(bad.file, bad.row, bad.line) for bad in fault.first[:SHOWN])
        what = f"column {fault.column}: {reason}, {_many(count, 'row')}"
        more = ", …" if count > SHOWN else ""
        print(terminal.plain(f"warning: {what} ({places}{more})"), file=sys.stderr)
    for warning in done.warnings:
        print(terminal.plain(f"warning: {warning}"), file=sys.stderr)
    if as_json:
        files = [str(file) for file in done.files]
        told = {"files": files, "receipt": str(done.receipt), "lines": done.lines, "fates": done.fates}
        print(json.dumps(told, indent=2))
        return
    table = Table("of the list", "people")
    for fate, count in done.fates.items():
        if count or fate == "written":
            table.add_row(FATES[fate], f"{count:,}")
    terminal.console().print(table)
    print(terminal.plain(f"{_many(done.lines, 'line')} in {', '.join(str(file) for file in done.files)}"))
    print(terminal.plain(f"receipt: {done.receipt}"))


def _many(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _described(one: profiles_.Profile) -> list[str]:
    found = [f"{one.name}, version {one.version}: {one.title}", f"pages read on {one.read_on}", ""]
    for column in one.columns:
        what = f"always {column.text!r}" if column.field is None else f"{column.field}, {column.spelling}"
        found.append(f"  {column.header}: {what}{', SHA-256' if column.hashed else ''}")
    for group in one.together:
        found.append(f"  only together: {', '.join(group)}")
    limits = one.limits.body()
    found += [f"  limit: {name} {value:,}" for name, value in limits.items()]
    for word, option in one.options.items():
        values = ", ".join(f"{value} (default)" if value == option.default else value for value in option.values)
        found.append(f"  --set {word}=…: {values}; {option.why}")
    for word, parameter in one.parameters.items():
        default = "must be given" if parameter.default is None else f"default {parameter.default}"
        found.append(f"  --set {word}=…: {parameter.what}; {default}")
    found += ["", *one.notes]
    for page in one.sources:
        edition = f" ({page.edition})" if page.edition else ""
        found.append(f"{page.url}{edition}: {page.says}")
    return found
