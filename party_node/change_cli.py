"""`sumroom-party change show | sign | rotate-key | leave`, `sumroom-party keys`: how a party's people change a room.

All of it works while the node is running: its copy of the ledger is only read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from protocols import change_desk, keys, ledger_copy
from protocols.change_desk import Desk
from protocols.errors import UsageError
from protocols.room import Room

from .config import Config

app = typer.Typer(add_completion=False, help="Changes of the room: its keys, its parties, its budgets.")
ConfigOption = Annotated[Path, typer.Option(metavar="NODE.TOML", help="This node's settings.")]
FileArgument = Annotated[Path, typer.Argument(metavar="CHANGE.JSON", help="The change, as it was handed to you.")]
OutOption = Annotated[Path, typer.Option(metavar="CHANGE.JSON", help="The file to write; it must not be there.")]
AfterOption = Annotated[
    list[Path] | None, typer.Option("--after", help="Another change that will be entered just before this one.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@app.command()
def show(config: ConfigOption, change: FileArgument, after: AfterOption = None, as_json: JsonOption = False) -> None:
    """What a change would do, what it means for a person in the data, who has signed it and who must still."""
    _desk(Config.load(config)).show(change, after or [], as_json=as_json)


@app.command()
def sign(
    change: FileArgument,
    config: Annotated[Path | None, typer.Option(metavar="NODE.TOML", help="This node's settings.")] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="SIGNING.PEM", help="Another key file; one that joins names it and --room.")
    ] = None,
    room: Annotated[Path | None, typer.Option(metavar="ROOM.TOML", help="Whose room it joins.")] = None,
    after: AfterOption = None,
    yes: YesOption = False,
) -> None:
    """Show a change, ask, and add this party's signature to its file.

    Refused where it is none of this party's business, or the ledger's rules would not have the change.
    """
    more = () if key is None else (change_desk.read_identity(key),)
    if config is not None:
        desk = _desk(Config.load(config), more)
    elif key is not None and room is not None:
        desk = Desk("you", _read_room(room).room, None, more)
    else:
        raise UsageError("whose signature?", "name the node with --config; one that joins names --key and --room")
    desk.sign(change, after or [], yes=yes)


@app.command(name="rotate-key")
def rotate_key(
    config: ConfigOption,
    new: Annotated[Path, typer.Option(metavar="NEXT.PEM", help="Where the new keys go; it must not be there.")],
    out: OutOption,
) -> None:
    """Make new keys, and a change to them that is signed by the old ones and the new."""
    settings = Config.load(config)
    said = _desk(settings).rotate(new, out)
    print(said)
    print(
        f"next: set signing_key_next below [files] in {config} to {new}, restart the node, and hand {out} to the "
        "operator; the old file stays, too, until the change is in the ledger and while it opens the connection"
    )


@app.command()
def leave(
    config: ConfigOption,
    quorum: Annotated[int, typer.Option(min=1, help="How many cosignatures carry an ordinary entry from then on.")],
    out: OutOption,
) -> None:
    """Write the change by which this party leaves the room, signed by it. What its data have lost stays counted."""
    settings = Config.load(config)
    desk = _desk(settings)
    mine = desk.known.accounts.members.parties.get(settings.party)
    if mine is None:
        raise UsageError(f"{settings.party} has no key in force in this room")
    body = {
        "type": "party@v1", "action": "leave", "party": settings.party, "key": keys.public_text(mine.ed25519),
        "caps": {}, "cosign_quorum": quorum, "own": {}, "others": {},
    }  # fmt: skip
    print(desk.leave(body, out))


def keys_command(
    file: Annotated[Path, typer.Argument(metavar="SIGNING.PEM", help="A party's identity.")],
    new: Annotated[
        bool, typer.Option("--new", help="Make it: new keys of both kinds, in a file not there yet.")
    ] = False,
) -> None:
    """Print the public part of an identity, as rooms and ledgers name it; with --new make the identity first."""
    identity = change_desk.make_keys(file) if new else change_desk.read_identity(file)
    print(json.dumps(identity.public().texts(), indent=2))


def _desk(config: Config, more: tuple[keys.Identity, ...] = ()) -> Desk:
    copy = ledger_copy.read(config.path("state") / "ledger.db")
    return Desk(config.party, config.room.room, copy, (*config.identities, *more))


def _read_room(path: Path) -> Room:
    try:
        return Room.from_toml(path.read_bytes(), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the room {path}: {exc.strerror}") from None
