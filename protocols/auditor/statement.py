"""An auditor's signed verdict: a paper that outlives the tool that made it, and that the ledger can take in.

    {"auditor":"…","bundle":"…","key":"…","policy":"…","root":"…","signature":"…","size":10,"type":"audit@v1",…}

It is the `audit@v1` entry without its place and time, and with the room: the coordinator writes it into the ledger,
where whoever reads later sees who has looked, at what, and what they said. A verdict that says `violation` too: nothing
in a ledger is only for good news.
"""

from __future__ import annotations

import json
from typing import Any

from .. import keys
from ..errors import CannotDecide, IntegrityError
from ..keys import Identity, check, public_key, public_text
from ..ledger.entries import build
from ..ledger.statements import Audit, statement_body
from ..verdict import Findings


def statement(findings: Findings, bundle: str, policy: str, identity: Identity, name: str) -> dict[str, Any]:
    """The signed body: an `audit@v1` entry without `seq` and `time`, with `room`.

    bundle   SHA-256 of the archive, in hex
    policy   SHA-256 of the policy's file, in hex
    name     the auditor's, as entries write names

    Raises CannotDecide where the findings do not say which entries they are about, IntegrityError for a bad name.
    """
    if findings.root is None or findings.room is None or not findings.entries:
        raise CannotDecide("there is no history in this bundle that a verdict could be about")
    entry = {
        "type": "audit@v1",
        "auditor": name,
        "key": public_text(identity.ed25519),
        "size": findings.entries,
        "root": findings.root,
        "bundle": bundle,
        "policy": policy,
        "verdict": "violation" if findings.violations else "clean",
    }
    draft = build({**entry, "seq": 0, "time": 0, "signature": "AAAA"})
    assert isinstance(draft, Audit)
    body = statement_body(draft, findings.room)
    return {**body, "signature": keys.sign(identity.ed25519, "audit", body)}


def read(data: bytes) -> dict[str, Any]:
    """A statement whose signature verifies. Raises IntegrityError."""
    try:
        document = json.loads(data)
        room = document.pop("room")
        draft = build({**document, "seq": 0, "time": 0})
    except (ValueError, LookupError, TypeError, AttributeError):
        raise IntegrityError("not an auditor's statement") from None
    if not isinstance(draft, Audit) or not isinstance(room, str):
        raise IntegrityError("not an auditor's statement")
    check(public_key(draft.key), "audit", statement_body(draft, room), draft.signature, who=draft.auditor)
    return {**document, "room": room}
