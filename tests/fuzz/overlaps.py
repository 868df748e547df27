"""An overlap of two parties, made up and honest: its messages, the roster of its offers, and what the coordinator
counts, as documents to spoil."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
from pydantic import ValidationError

from protocols import keys, messages
from protocols.encoding import canonical, digest, parse
from protocols.errors import IntegrityError
from protocols.masking import Occasion, Secrets
from protocols.overlap import agreement, counting, words
from protocols.overlap.layout import CANARIES, Layout
from tests.ledger import builder

PARTIES = ("alpha", "beta")
NORMALISER = "sumroom/email/v1"
LAYOUT = Layout({"alpha": (3, 2), "beta": (4,)}, shift=2)
SHARED = 5  # matched dummies among them
OCCASION = Occasion(
    room="demo-room", round="1" * 32, step="overlap", attempt=1, plan="2" * 64, state="3" * 64, nonce="4" * 32
)


def _offer(party: str) -> agreement.Offer:
    own = Secrets(hashlib.sha256(party.encode()).digest(), OCCASION, recoverable=False)
    peers = [peer for peer in PARTIES if peer != party]
    return agreement.Halves(own).offer(builder.key(party), party, peers, NORMALISER)


@cache
def roster() -> dict[str, agreement.Offer]:
    return {party: _offer(party) for party in PARTIES}


def _head(kind: Any, party: str, peer: str) -> agreement.Head:
    sizes = LAYOUT.sent(party, peer) if kind == "list" else LAYOUT.final(peer, party)
    known = agreement.roster_digest(roster())
    return agreement.state_lists(builder.key(party), kind, party, peer, sizes, digest(b"lists"), known, OCCASION)


@cache
def requests() -> list[bytes]:
    made: list[messages.Request] = [
        words.Meet(occasion=OCCASION, checkpoint="a checkpoint\n"),
        words.Lay(occasion=OCCASION, roster=roster()),
        words.Fetch(occasion=OCCASION, peer="beta", kind="list", index=0),
        words.Take(occasion=OCCASION, head=_head("list", "alpha", "beta"), index=0, size=4096),
        words.Finish(occasion=OCCASION),
        words.Reveal(occasion=OCCASION, heads={"beta": _head("final", "beta", "alpha")}),
    ]
    return [messages.encode(request) for request in made]


@cache
def replies() -> list[bytes]:
    made: list[messages.Reply] = [
        words.Met(party="alpha", offer=roster()["alpha"]),
        words.Laid(party="alpha", heads={"beta": _head("list", "alpha", "beta")}),
        words.Chunk(party="alpha", peer="beta", kind="list", index=0, size=4096, sha256=digest(b"part")),
        words.Taken(party="beta", peer="alpha", next=1),
        words.Finished(party="beta", heads={"alpha": _head("final", "beta", "alpha")}),
        words.Revealed(party="alpha", canaries={"beta": [keys.base64_text(b"8 bytes." * CANARIES)] * 2}),
    ]
    return [messages.encode(reply) for reply in made]


@cache
def rosters() -> list[bytes]:
    return [canonical({party: offer.body() for party, offer in roster().items()})]


def roster_read(data: bytes) -> None:
    """As a node takes a roster that its coordinator shows it; it takes the true one alone."""
    found = _document(data)
    try:
        offers = {party: agreement.Offer.model_validate(offer) for party, offer in found.items()}
    except ValidationError:
        raise IntegrityError("no offers") from None  # of a message that holds such, its reader says so
    identities = {party: builder.key(party).public_key() for party in PARTIES}
    agreement.check_roster(offers, identities, OCCASION, NORMALISER, LAYOUT.peers)
    assert offers == roster()


@cache
def counts() -> list[bytes]:
    """Each pair's final lists and canaries, in base64: `shared` values are in the first list of both."""
    shared = _values("shared", SHARED)
    made: dict[str, dict[str, Any]] = {}
    for owner, peer in (PARTIES, PARTIES[::-1]):
        signs = [_values(f"canaries/{owner}/{at}", CANARIES) for at in range(LAYOUT.lists(owner))]
        lists = []
        for at, size in enumerate(LAYOUT.final(owner, peer)):
            known = [signs[at], shared] if at == 0 else [signs[at]]
            left = size - sum(len(values) for values in known)
            lists.append(np.concatenate([*known, _values(f"rest/{owner}/{at}", left)]))
        made[owner] = {"lists": _text(np.concatenate(lists)), "canaries": [_text(row) for row in signs]}
    return [canonical(made)]


def counted(data: bytes) -> None:
    """As the coordinator takes them, when it has read the message and seen that every row of canaries is whole."""
    found = _document(data)
    finals, canaries = [], []
    for owner in PARTIES:
        part = found.get(owner)
        texts = [part.get("lists"), *_rows(part)] if isinstance(part, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise IntegrityError("no lists")
        values, *read = [counting.values_of(keys.unbase64(str(text))) for text in texts]
        if not read or len({len(row) for row in read}) != 1:
            raise IntegrityError("no canaries")
        finals.append(values)
        canaries.append(np.stack(read))
    cells = counting.matrix(LAYOUT, *PARTIES, (finals[0], finals[1]), (canaries[0], canaries[1]))
    assert cells.shape == (LAYOUT.lists("alpha"), LAYOUT.lists("beta"))
    counts_ = cells + 2 * LAYOUT.shift
    assert counts_.min() >= 0
    if data in counts():
        assert counts_.tolist() == [[SHARED], [0]]


def _rows(part: dict[str, Any]) -> list[Any]:
    rows = part.get("canaries")
    return rows if isinstance(rows, list) else []


def _document(data: bytes) -> dict[str, Any]:
    found = parse(data, what="document")
    if not isinstance(found, dict):
        raise IntegrityError("no document")
    return found


def _values(label: str, count: int) -> counting.Values:
    """So many values, all different, always the same ones."""
    return counting.values_of(b"".join(hashlib.sha256(f"{label}/{i}".encode()).digest()[:8] for i in range(count)))


def _text(values: counting.Values) -> str:
    return keys.base64_text(values.astype("<u8").tobytes())
