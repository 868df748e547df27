"""What a party keeps of an activation: which file was made of which, by what rules, and how many people of each fate.

Signed with the party's own key, so that it can show later what it did; canonical JSON, one line. It stays on the
party's disk: sizes of lists leave it by no message, and the log of what was sent knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import StringConstraints, ValidationError

from protocols import keys
from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError
from protocols.schema import Base64, Date, Digest, Frozen, Name

Count = int


class Input(Frozen):
    """A file that was read, and SHA-256 of its bytes. `role`: list, people, opt-outs, holdout."""

    role: Literal["list", "people", "opt-outs", "holdout"]
    sha256: Digest


class Output(Frozen):
    """A file that was written: its name, SHA-256 of its bytes, its lines for people."""

    name: Annotated[str, StringConstraints(pattern=r"^[^/\x00]+$")]
    sha256: Digest
    lines: Count


class Receipt(Frozen):
    """`activation-receipt@v1`. Trusted for nothing but what its signer says: anybody with the key can write one.

    profile, profile_version, profile_sha256   the rules; `settings`: its options and parameters; `fields`: written ones
    choice         how people were chosen: segments, top, by, holdout, opt_outs (`none`: said so with --no-opt-outs)
    inputs, outputs
    people_in      rows of the list; `fates`: each of them, by what became of it: they add up
    not_spelled    values of the party's own table that have no spelling, by field
    """

    type: Literal["activation-receipt@v1"] = "activation-receipt@v1"
    party: Name
    room: Name
    date: Date
    purpose: str
    profile: Name
    profile_version: str
    profile_sha256: Digest
    settings: dict[str, str]
    fields: list[str]
    choice: dict[str, str]
    inputs: list[Input]
    outputs: list[Output]
    people_in: Count
    fates: dict[str, Count]
    not_spelled: dict[str, Count]
    key: Base64
    signature: Base64


def signed(body: Mapping[str, object], signing: Ed25519PrivateKey) -> bytes:
    """The receipt's file: the body, the key's name and the signature, as canonical JSON with a line end."""
    whole = {"type": "activation-receipt@v1", **body, "key": keys.public_text(signing)}
    return canonical({**whole, "signature": keys.sign(signing, "activation", whole)}) + b"\n"


def read(data: bytes, where: str) -> Receipt:
    """A receipt whose signature is that of the key it names. Raises IntegrityError."""
    try:
        receipt = Receipt.model_validate(parse(data.removesuffix(b"\n"), what=where))
    except ValidationError:
        raise IntegrityError(f"{where} is not a receipt of an activation") from None
    body = receipt.body()
    del body["signature"]
    keys.check(keys.public_key(receipt.key), "activation", body, receipt.signature, who=receipt.party)
    if receipt.people_in != sum(receipt.fates.values()):
        raise IntegrityError(f"{where}: what became of people does not add up to the list")
    return receipt


def check(path: Path, data: bytes) -> Receipt:
    """The receipt, and that the files it tells of lie beside it as they were written. Raises IntegrityError."""
    receipt = read(data, str(path))
    for output in receipt.outputs:
        file = path.parent / output.name
        try:
            with file.open("rb") as opened:
                found = file_digest(opened, "sha256").hexdigest()
        except OSError as exc:
            raise IntegrityError(f"{file}, which the receipt tells of, cannot be read: {exc.strerror}") from None
        if found != output.sha256:
            raise IntegrityError(f"{file} is not what was written: sha256 {found[:12]}…, not {output.sha256[:12]}…")
    return receipt
