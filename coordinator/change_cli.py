"""`sumroom-coordinator change new … | show | sign | rotate-key | enter`: how a room changes, from the operator's side.

The operator drafts a change, people sign its file, and the operator enters it. Nothing here can enter what those whose
business it is have not signed: every node runs the same rules.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from protocols import change_desk, keys, ledger_copy, schema, terminal
from protocols.budget import nano
from protocols.change import Proposal
from protocols.change_desk import Desk
from protocols.errors import Refused, UsageError
from protocols.ledger.fields import LIFETIME, PERSON, Key

from . import control
from .config import Config
from .plan_cli import ConfigOption, WaitOption

app = typer.Typer(add_completion=False, help="Changes of the room: its keys, its parties, its budgets.")
new = typer.Typer(add_completion=False, help="Write a change, for those to sign whose business it is.")
app.add_typer(new, name="new")

COORDINATOR = "coordinator"
_BLOCK = re.compile(r"([^=]+)=([0-9-]+)/([0-9-]+)")
_RAISE = re.compile(r"([^:=]+):([^:=]+)=([^=]+)")

FileArgument = Annotated[Path, typer.Argument(metavar="CHANGE.JSON", help="The change.")]
FileOption = Annotated[Path, typer.Option(metavar="CHANGE.JSON", help="The file to write; it must not be there.")]
AfterOption = Annotated[
    list[Path] | None, typer.Option("--after", help="Another change that will be entered just before this one.")
]
MemberOption = Annotated[str, typer.Option(metavar="NAME", help="A party, or coordinator.")]
PartyOption = Annotated[str, typer.Option(metavar="NAME", help="The party.")]
KeysOption = Annotated[
    Path, typer.Option("--keys", metavar="PUBLIC.JSON", help="What `sumroom-party keys` printed, or a room's table.")
]
QuorumOption = Annotated[int, typer.Option(min=1, help="How many cosignatures carry an ordinary entry from then on.")]


@new.command()
def grant(
    config: ConfigOption,
    out: FileOption,
    block: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FIRST/LAST", help="New days: q4=2018-10-01/2018-12-31.")
    ] = None,
    record: Annotated[str | None, typer.Option(help="ρ for one person's records at one party in a new block.")] = None,
    person: Annotated[str | None, typer.Option(help="ρ for one person at all parties in a new block.")] = None,
    lifetime_record: Annotated[str | None, typer.Option(help="ρ at one party over all blocks, from now on.")] = None,
    lifetime_person: Annotated[str | None, typer.Option(help="ρ at all parties over all blocks, from now on.")] = None,
    raise_: Annotated[
        list[str] | None,
        typer.Option(
            "--raise", metavar="WHO:BLOCK=RHO", help="A cap of a party, or of person, in a block or lifetime."
        ),
    ] = None,
) -> None:
    """New blocks of days with their caps, or higher caps. New blocks and a person's caps need every party."""
    desk = _desk(Config.load(config))
    accounts = desk.known.accounts
    parties = sorted({*accounts.members.parties, *accounts.members.revoked})
    caps: dict[str, dict[str, int]] = {}

    def cap(who: str, where: str, text: str, option: str) -> None:
        row = caps.setdefault(who, {})
        if where in row:
            raise UsageError(f"{option}: the cap of {who} in {where} is set twice", "once each")
        row[where] = nano(text, what=option)

    blocks = dict(_block(text) for text in block or [])
    if len(blocks) != len(block or []):
        raise UsageError("--block: two new blocks have one name")
    if blocks and (record is None or person is None):
        raise UsageError("a new block needs its caps", 'add --record "…" and --person "…"')
    if not blocks and (record is not None or person is not None):
        raise UsageError(
            "--record and --person are the caps of a new block", "one that is there: --raise WHO:BLOCK=RHO"
        )
    for name in blocks:
        for party in parties:
            cap(party, name, str(record), "--record")
        cap(PERSON, name, str(person), "--person")
    for party in sorted(accounts.members.parties) if lifetime_record is not None else ():
        cap(party, LIFETIME, str(lifetime_record), "--lifetime-record")
    if lifetime_person is not None:
        cap(PERSON, LIFETIME, lifetime_person, "--lifetime-person")
    for text in raise_ or []:
        if not (found := _RAISE.fullmatch(text)):
            raise UsageError(f"--raise: {text!r} is not WHO:BLOCK=RHO", "for example --raise alpha:q3=0.08")
        cap(found[1], found[2], found[3], "--raise")
    if not caps:
        raise UsageError("nothing is granted", "add --block, --raise, --lifetime-record or --lifetime-person")
    body = {"type": "grant@v1", "blocks": blocks, "caps": caps, "signatures": {}}
    print(desk.write(body, out))


@new.command()
def join(
    config: ConfigOption,
    out: FileOption,
    party: PartyOption,
    public: KeysOption,
    record: Annotated[str, typer.Option(help="ρ for one person's records there, in each block.")],
    quorum: QuorumOption,
    lifetime_record: Annotated[str | None, typer.Option(help="ρ over all blocks; as --record without it.")] = None,
) -> None:
    """A party joins. It signs first (`sumroom-party change sign --key`), then every party of the room."""
    desk = _desk(Config.load(config))
    each = nano(record, what="--record")
    ever = each if lifetime_record is None else nano(lifetime_record, what="--lifetime-record")
    caps = {**dict.fromkeys(sorted(desk.known.accounts.blocks), each), LIFETIME: ever}
    found = _public(public, party)
    body = {
        "type": "party@v1", "action": "join", "party": party, **found, "caps": caps, "cosign_quorum": quorum,
        "own": {}, "others": {},
    }  # fmt: skip
    print(desk.write(body, out))


@new.command()
def leave(config: ConfigOption, out: FileOption, party: PartyOption, quorum: QuorumOption) -> None:
    """A party leaves that does not say so itself (`sumroom-party change leave`): every other party signs."""
    desk = _desk(Config.load(config))
    members = desk.known.accounts.members
    last = members.parties.get(party) or members.revoked.get(party)
    if last is None:
        raise UsageError(f"the room has no party {party}", f"its parties are: {', '.join(sorted(members.parties))}")
    body = {
        "type": "party@v1", "action": "leave", "party": party, "key": keys.public_text(last.ed25519), "caps": {},
        "cosign_quorum": quorum, "own": {}, "others": {},
    }  # fmt: skip
    print(desk.write(body, out))


@new.command()
def revoke(config: ConfigOption, out: FileOption, member: MemberOption) -> None:
    """A member's keys count no more: they are lost, or stolen. Every other member signs."""
    desk = _desk(Config.load(config))
    name = _member(desk, member)
    held = desk.known.accounts.members.keys_of(name)
    if held is None:
        raise UsageError(f"{member} has no key in force in this room", _members(desk))
    body = {
        "type": "key@v1", "action": "revoke", "member": name, "key": keys.public_text(held.ed25519), "own": {},
        "others": {},
    }  # fmt: skip
    print(desk.write(body, out))


@new.command(name="add-key")
def add_key(
    config: ConfigOption, out: FileOption, member: MemberOption, public: KeysOption, after: AfterOption = None
) -> None:
    """New keys after a revocation: the member signs by them, and every other member; --after the revocation's file.

    Or a first ML-DSA-44 key beside the Ed25519 key in force, by the member alone.
    """
    desk = _desk(Config.load(config))
    name = _member(desk, member)
    body = {
        "type": "key@v1", "action": "add", "member": name, **_public(public, name), "own": {}, "others": {}
    }  # fmt: skip
    print(desk.write(body, out, [change_desk.read(path) for path in after or []]))


@app.command()
def show(config: ConfigOption, change: FileArgument, after: AfterOption = None,
         as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False
         ) -> None:  # fmt: skip
    """What a change would do, what it means for a person in the data, who has signed it and who must still."""
    _desk(Config.load(config)).show(change, after or [], as_json=as_json)


@app.command()
def sign(
    config: ConfigOption,
    change: FileArgument,
    key: Annotated[Path | None, typer.Option(metavar="SIGNING.PEM", help="Another key file: that of new keys.")] = None,
    after: AfterOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")] = False,
) -> None:
    """Show a change, ask, and add the coordinator's signature to its file: where a key is revoked or replaced."""
    more = () if key is None else (change_desk.read_identity(key),)
    _desk(Config.load(config), more).sign(change, after or [], yes=yes)


@app.command(name="rotate-key")
def rotate_key(
    config: ConfigOption,
    next_: Annotated[Path, typer.Option("--new", metavar="NEXT.PEM", help="Where the new keys go.")],
    out: FileOption,
) -> None:
    """Make new keys for the coordinator, and a change to them that is signed by the old ones and the new."""
    print(_desk(Config.load(config)).rotate(next_, out))
    print(f"next: set signing_key_next below [files] in {config} to {next_}, start again, then enter {out}")


@app.command()
def enter(
    config: ConfigOption,
    changes: Annotated[list[Path], typer.Argument(metavar="CHANGE.JSON…", help="Changes to enter, in this order.")],
    wait_s: WaitOption = 60.0,
) -> None:
    """Enter changes that have all their signatures, under a checkpoint that every party cosigns.

    Where a coordinator is listening (`serve`) it does it; elsewhere this command listens itself. A change that is in
    the ledger already is not entered again.
    """
    settings = Config.load(config)
    proposals = [change_desk.read(path) for path in changes]
    _check_signed(_desk(settings), proposals, changes)
    request = {"do": "enter", "changes": [dict(one.body) for one in proposals], "wait_s": wait_s}
    try:
        done = _done(settings, request)
    except KeyboardInterrupt:
        raise Refused("interrupted", "enter it again: what was entered already is not entered twice") from None
    for path, number in zip(changes, done["numbers"], strict=True):
        print(f"{path}: entry {number}" + ("" if number in done["fresh"] else ", which was in the ledger before"))


def _done(settings: Config, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return control.ask(settings.path("state"), request)
    except control.Absent:
        # Here and not above: Flower and gRPC take a second that drafting a change need not wait for.
        from .listening import Listening
        from .service import carry_out

        with Listening(settings) as listening:
            return carry_out(listening, request, terminal.say)


def _check_signed(desk: Desk, proposals: Sequence[Proposal], paths: Sequence[Path]) -> None:
    """Raise Refused where signatures are missing, or the rules would not have a change, by this copy of the ledger."""
    if desk.copy is None:
        return  # the rules say it all the same when it is written
    before: list[Proposal] = []
    for proposal, path in zip(proposals, paths, strict=True):
        if desk.copy.number_of(proposal) is not None:
            continue
        if left := change_desk.missing(desk.slots(proposal, before)):
            raise Refused(f"{path}: signatures are missing, of: {', '.join(left)}", "each signs with: change sign FILE")
        before.append(proposal)


def _desk(settings: Config, more: tuple[keys.Identity, ...] = ()) -> Desk:
    copy = ledger_copy.read(settings.path("state") / "ledger.db")
    return Desk(settings.room.origin, settings.room.room, copy, (*settings.identities, *more))


def _member(desk: Desk, name: str) -> str:
    """A party's name, or the ledger's origin for the coordinator."""
    members = desk.known.accounts.members
    known = name in members.parties or name in members.revoked
    return members.origin if name == COORDINATOR and not known else name


def _members(desk: Desk) -> str:
    return f"members: {', '.join([*sorted(desk.known.accounts.members.parties), COORDINATOR])}"


def _block(text: str) -> tuple[str, dict[str, str]]:
    found = _BLOCK.fullmatch(text)
    if not found:
        raise UsageError(f"--block: {text!r} is not NAME=FIRST/LAST", "for example --block q4=2018-10-01/2018-12-31")
    return found[1], {"first": found[2], "last": found[3]}


def _public(path: Path, name: str) -> dict[str, str]:
    """The public keys in a file: JSON as `sumroom-party keys` prints it, or TOML as in room.toml. Raises UsageError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read the keys {path}: {getattr(exc, 'strerror', None) or 'not text'}") from None
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        found = found.get("parties", {}).get(name, found)
        return Key.model_validate(found).public.texts()
    except ValidationError as exc:
        raise schema.explain(exc, str(path)) from None
    except (ValueError, AttributeError, RecursionError):
        raise UsageError(f"{path} holds no public keys", "its maker prints them: sumroom-party keys FILE") from None
