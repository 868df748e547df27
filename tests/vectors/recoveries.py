"""Golden bytes of a step that finishes without gamma, in the room of five: keys, pieces, boxes, survivors, the sum.

Alpha's part is written out: what it is asked, what it answers, and what it must refuse.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols import keys, masking, messages, recovery
from protocols.encoding import canonical, digest
from tests.ledger import builder as b
from tests.vectors.rooms import FIVE, LOST, SURVIVORS
from tests.vectors.shares import Roster, occasion_of, pairs_of, secrets_of, signed_key
from tests.vectors.spoiled import Files, as_json, changed, without

NUMBERS = {
    "alpha": [400, -3, 0, 17],
    "beta": [25, 8, -1, 2],
    "delta": [-60, 2**40, 5, 1],
    "epsilon": [3, 3, -(2**50), 0],
    "gamma": [7, 7, 7, -7],
}
THRESHOLD = 4
OCCASION = occasion_of(FIVE.plan)
ANOTHER = OCCASION.model_copy(update={"attempt": 2})
OWN = {party: secrets_of(party, OCCASION, recoverable=True) for party in b.FIVE}
ROSTER: Roster = {party: own.offer(b.key(party), party) for party, own in OWN.items()}
CIRCLE = recovery.Circle(OCCASION, ROSTER, b.FIVE, THRESHOLD)
BOXES = {party: recovery.Dealer(CIRCLE, party, own).deal() for party, own in OWN.items()}


def recovery_vectors() -> Files:
    asked, told = _requests(), _replies()
    made = {
        **{f"good-{message.type}": messages.encode(message) for message in (*asked.values(), *told.values())},
        "good-pieces": _pieces(),
        "good-unmasking": _unmasking(b.FIVE),
        "good-unmasking-of-those-who-agreed": _unmasking(SURVIVORS),
    }
    bodies = {name: message.body() for name, message in (asked | told).items()}
    return as_json(
        {
            **made,
            **_bad_rosters(bodies["contribute"]),
            **_bad_agreements(bodies["contribute"]),
            **_bad_survivors(bodies["settle"]),
            **_bad_signatures(bodies["unmask"]),
            **_bad_boxes(bodies["unmask"]),
            **_bad_pieces(bodies["unmasked"]),
            **_bad_forms(bodies),
        }
    )


# -- what is right -----------------------------------------------------------------------------------------------------


def boxes_for(party: str) -> dict[str, str]:
    return {dealer: dealt[party] for dealer, dealt in BOXES.items() if dealer != party}


def give_out(party: str, group: tuple[str, ...]) -> dict[str, str]:
    return recovery.Dealer(CIRCLE, party, OWN[party]).give_out(boxes_for(party), SURVIVORS, group)


def _group(parties: tuple[str, ...]) -> Roster:
    return {party: ROSTER[party] for party in parties}


def _requests() -> dict[str, messages.Request]:
    agreements = {party: masking.agree(b.key(party), party, OCCASION, ROSTER) for party in b.FIVE}
    survivors = list(SURVIVORS)
    return {
        "contribute": messages.Contribute(occasion=OCCASION, roster=ROSTER, agreements=agreements),
        "settle": messages.Settle(occasion=OCCASION, survivors=survivors),
        "unmask": messages.Unmask(
            occasion=OCCASION, survivors=survivors, signatures=_settled(SURVIVORS), boxes=boxes_for("alpha")
        ),
    }


def _replies() -> dict[str, messages.Reply]:
    signature = masking.agree(b.key("alpha"), "alpha", OCCASION, ROSTER)
    return {
        "mask-offer": messages.MaskOffer(party="alpha", key=ROSTER["alpha"]),
        "agreed": messages.Agreed(party="alpha", signature=signature, boxes=BOXES["alpha"]),
        "settled": messages.Settled(party="alpha", signature=_settled(["alpha"])["alpha"]),
        "unmasked": messages.Unmasked(party="alpha", pieces=give_out("alpha", b.FIVE)),
    }


def _settled(by: Any, **other: Any) -> dict[str, str]:
    stated: dict[str, Any] = {"occasion": OCCASION, "group": ROSTER, "survivors": SURVIVORS, **other}
    return {party: recovery.settle(b.key(party), party, **stated) for party in by}


def _secrets() -> dict[str, Any]:
    found = {}
    for party, own in OWN.items():
        assert own.seed is not None
        assert own.sealing is not None
        found[party] = {"mask": own.mask_bytes.hex(), "sealing": own.sealing.private_bytes_raw().hex(),
                        "seed": own.seed.hex()}  # fmt: skip
    return found


def _pieces() -> dict[str, Any]:
    """From the secrets to the boxes. `polynomials`: of each secret the coefficients, the constant first."""
    dealers = {party: recovery.Dealer(CIRCLE, party, own) for party, own in OWN.items()}
    return {
        "adders": list(b.FIVE),
        "threshold": THRESHOLD,
        "occasion": OCCASION.body(),
        "roster": {party: entry.body() for party, entry in ROSTER.items()},
        "secrets": _secrets(),
        "polynomials": {
            party: {
                kind: [number.to_bytes(32, "little").hex() for number in numbers]
                for kind, numbers in zip(("key", "seed"), dealer._polynomials, strict=True)
            }
            for party, dealer in dealers.items()
        },
        "pieces": {
            party: {peer: dealer._pieces(peer).hex() for peer in b.FIVE if peer != party}
            for party, dealer in dealers.items()
        },
        "keys": {
            party: {peer: dealer._key(peer, party, peer).hex() for peer in b.FIVE if peer != party}
            for party, dealer in dealers.items()
        },
        "boxes": BOXES,
    }


def _unmasking(group: tuple[str, ...]) -> dict[str, Any]:
    """From the noised sums to the sum of the survivors, where these have masked with one another."""
    shown = _group(group)
    streams = masking.Streams(shown, OCCASION, 4)
    shares = {party: masking.mask(np.array(NUMBERS[party]), party, OWN[party], shown) for party in SURVIVORS}
    given = {party: give_out(party, group) for party in SURVIVORS}
    total = recovery.unmask(masking.add_up(shares), shown, SURVIVORS, given, CIRCLE)
    own = {}
    for party in group:
        seed, use = OWN[party].seed or b"", dict[str, object](use="sumroom/own-mask/v1", party=party)
        info = canonical({**use, "occasion": OCCASION.body()}).decode()
        words = streams.of_seed(seed, party).astype("<u8").tobytes().hex()
        own[party] = {"info": info, "key": streams._key(seed, use).hex(), "stream": words}
    return {
        "noised": {party: NUMBERS[party] for party in SURVIVORS},
        "group": list(group),
        "survivors": list(SURVIVORS),
        "salt": masking.roster_digest(shown),
        "pairs": pairs_of({party: OWN[party] for party in group}, shown),
        "own": own,
        "words": {party: words.astype("<u8").tobytes().hex() for party, words in shares.items()},
        "given": given,
        "sum": total.view(np.int64).tolist(),
    }


# -- what alpha refuses ------------------------------------------------------------------------------------------------


def _bad_rosters(good: dict[str, Any]) -> dict[str, Any]:
    """Each with agreements to the roster that it shows."""
    roster = good["roster"]
    stated = without(roster["beta"], "signature")
    twice = {**stated, "sealing": stated["public"]}
    zero = {**stated, "sealing": keys.base64_text(bytes(32))}
    entries = {
        "without-sealing": signed_key("beta", OCCASION, without(stated, "sealing")),
        "without-seed-digest": signed_key("beta", OCCASION, without(stated, "seed_digest")),
        "plain-key": signed_key("beta", OCCASION, {"public": stated["public"]}),
        "sealing-like-public": signed_key("beta", OCCASION, twice),
        "sealing-of-low-order": signed_key("beta", OCCASION, zero),
        "sealing-not-signed": changed(roster["beta"], "sealing", to=keys.base64_text(bytes([9]) + bytes(31))),
        "seed-digest-not-signed": changed(roster["beta"], "seed_digest", to=digest(b"another")),
    }
    rosters = {name: changed(roster, "beta", to=entry) for name, entry in entries.items()}
    rosters["of-three"] = {party: roster[party] for party in SURVIVORS[:3]}
    rosters["with-a-stranger"] = {**roster, "zeta": secrets_of("zeta", OCCASION, recoverable=True).offer(
        b.key("zeta"), "zeta").body()}  # fmt: skip
    return {f"bad-contribute-roster-{name}": _agreed(good, bad) for name, bad in rosters.items()}


def _agreed(good: dict[str, Any], roster: dict[str, Any]) -> dict[str, Any]:
    shown = {party: masking.MaskKey.model_validate(entry) for party, entry in roster.items()}
    agreements = {party: masking.agree(b.key(party), party, OCCASION, shown) for party in roster}
    return {**good, "roster": roster, "agreements": agreements}


def _bad_agreements(good: dict[str, Any]) -> dict[str, Any]:
    agreements = good["agreements"]
    return {
        "bad-contribute-agreements-of-three": {**good, "agreements": {p: agreements[p] for p in SURVIVORS[:3]}},
        "bad-contribute-agreements-without-its-own": {**good, "agreements": without(agreements, "alpha")},
        "bad-contribute-agreement-of-a-stranger": {**good, "agreements": {**agreements, "zeta": agreements["beta"]}},
    }


def _bad_survivors(good: dict[str, Any]) -> dict[str, Any]:
    wrong = {
        "descending": list(SURVIVORS[::-1]),
        "twice": [*SURVIVORS, SURVIVORS[-1]],
        "with-a-stranger": [*SURVIVORS, "zeta"],
        "without-the-one-asked": [party for party in b.FIVE if party != "alpha"],
        "below-the-quorum": list(SURVIVORS[:3]),
    }
    return {f"bad-settle-survivors-{name}": {**good, "survivors": survivors} for name, survivors in wrong.items()}


def _bad_signatures(good: dict[str, Any]) -> dict[str, Any]:
    signed = good["signatures"]
    beta = {
        "of-another-party": signed["delta"],
        "to-another-occasion": _settled(["beta"], occasion=ANOTHER)["beta"],
        "to-another-group": _settled(["beta"], group=_group(SURVIVORS))["beta"],
        "to-other-survivors": _settled(["beta"], survivors=b.FIVE)["beta"],
        "of-another-purpose": masking.agree(b.key("beta"), "beta", OCCASION, ROSTER),
    }
    wrong = {f"signature-{name}": {**signed, "beta": signature} for name, signature in beta.items()}
    wrong["signatures-of-three"] = {party: signed[party] for party in SURVIVORS[:3]}
    wrong["signature-of-the-lost"] = {**signed, LOST: _settled([LOST])[LOST]}
    return {f"bad-unmask-{name}": {**good, "signatures": signatures} for name, signatures in wrong.items()}


def _bad_boxes(good: dict[str, Any]) -> dict[str, Any]:
    boxes, raw = good["boxes"], keys.unbase64(good["boxes"]["beta"])
    elsewhere = recovery.Circle(ANOTHER, ROSTER, b.FIVE, THRESHOLD)
    fewer = recovery.Circle(OCCASION, _group(SURVIVORS), b.FIVE, THRESHOLD)
    wrong = {
        "for-another-party": BOXES["beta"]["delta"],
        "of-another-dealer": boxes["delta"],
        "the-other-way-round": BOXES["alpha"]["beta"],
        "for-another-occasion": recovery.Dealer(elsewhere, "beta", OWN["beta"]).deal()["alpha"],
        "for-another-roster": recovery.Dealer(fewer, "beta", OWN["beta"]).deal()["alpha"],
        "with-one-bit-changed": keys.base64_text(bytes([raw[0] ^ 1]) + raw[1:]),
        "cut": keys.base64_text(raw[:-1]),
        "with-the-pieces-of-one-secret": _Short(CIRCLE, "beta", OWN["beta"]).deal()["alpha"],
    }
    found = {f"bad-unmask-box-{name}": changed(good, "boxes", "beta", to=box) for name, box in wrong.items()}
    return {**found, "bad-unmask-box-missing": changed(good, "boxes", to=without(boxes, "beta"))}


class _Short(recovery.Dealer):
    """Seals the pieces of its key alone."""

    def _pieces(self, peer: str) -> bytes:
        return super()._pieces(peer)[: recovery.SIZE]


# -- what the coordinator refuses --------------------------------------------------------------------------------------


def _bad_pieces(good: dict[str, Any]) -> dict[str, Any]:
    """Of beta, a survivor, or of gamma, which was lost. All four survivors' pieces are needed."""
    pieces, opened = good["pieces"], recovery.Dealer(CIRCLE, "alpha", OWN["alpha"])
    both = {party: opened._open(party, box) for party, box in boxes_for("alpha").items()}
    raw = keys.unbase64(pieces["beta"])
    wrong = {
        "of-a-survivors-key": {"beta": keys.base64_text(both["beta"][: recovery.SIZE])},
        "of-a-lost-partys-seed": {LOST: keys.base64_text(both[LOST][recovery.SIZE :])},
        "changed": {"beta": keys.base64_text(bytes([raw[0] ^ 1]) + raw[1:])},
        "big-endian": {"beta": keys.base64_text(raw[::-1])},
        "cut": {"beta": keys.base64_text(raw[:-1])},
        "of-another-place": {"beta": give_out("delta", b.FIVE)["beta"]},
    }
    found = {f"bad-unmasked-piece-{name}": {**good, "pieces": {**pieces, **bad}} for name, bad in wrong.items()}
    return {**found, "bad-unmasked-piece-missing": {**good, "pieces": without(pieces, LOST)}}


def _bad_forms(good: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "bad-settle-without-an-occasion": without(good["settle"], "occasion"),
        "bad-settle-survivor-in-capitals": changed(good["settle"], "survivors", 0, to="ALPHA"),
        "bad-settled-signature": {**good["settled"], "signature": _settled(["beta"])["beta"]},
        "bad-settled-with-survivors": {**good["settled"], "survivors": list(SURVIVORS)},
        "bad-unmask-white-space": canonical(good["unmask"]) + b" ",
        "bad-unmask-with-a-roster": {**good["unmask"], "roster": {}},
        "bad-unmasked-type": {**good["unmasked"], "type": "unmask"},
        "bad-unmasked-piece-empty": changed(good["unmasked"], "pieces", "beta", to=""),
    }
