"""Golden bytes of shares: their words, the masks in them, and the messages that lead to them."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import keys, masking, messages
from protocols.encoding import canonical, digest, parse
from protocols.plan import Plan
from tests.ledger import builder as b
from tests.vectors.spoiled import Files, as_json, changed, without

NUMBERS = {"alpha": [400, -3, 0, 17], "beta": [25, 8, -1, 2], "gamma": [7, 7, 7, -7]}
PRIVATE = {
    party: X25519PrivateKey.from_private_bytes(hashlib.sha256(f"mask of {party}".encode()).digest())
    for party in b.PARTIES
}
Roster = dict[str, masking.MaskKey]


def share_vectors(plan: Plan, note: str) -> Files:
    occasion = masking.Occasion(room=b.ROOM, plan=plan.digest, round=b.hex16("one"), step="rfm-cuts",
                                nonce=b.hex16("one/rfm-cuts"), state=plan.digest, attempt=1)  # fmt: skip
    roster = {party: masking.offer(PRIVATE[party], b.key(party), party, occasion) for party in b.PARTIES}
    agreements = {party: masking.agree(b.key(party), party, occasion, roster) for party in b.PARTIES}
    contribute = messages.Contribute(occasion=occasion, roster=roster, agreements=agreements, checkpoint=note)
    files: Files = {}
    for party, numbers in NUMBERS.items():
        values = np.array(numbers, dtype=np.int64)
        files[f"good-words-{party}.bin"] = (
            masking.mask(values, party, PRIVATE[party], roster, occasion).astype("<u8").tobytes()
        )
        files[f"good-share-{party}.json"] = _share(party, occasion, files[f"good-words-{party}.bin"])
    files["good-masks.json"] = canonical(_masks(occasion, roster))
    files["good-prepare.json"] = messages.encode(messages.Prepare(occasion=occasion))
    files["good-mask-offer.json"] = messages.encode(messages.MaskOffer(party="alpha", key=roster["alpha"]))
    files["good-agree.json"] = messages.encode(messages.Agree(occasion=occasion, roster=roster))
    files["good-agreed.json"] = messages.encode(messages.Agreed(party="alpha", signature=agreements["alpha"]))
    files["good-contribute.json"] = messages.encode(contribute)
    return {**files, **_bad_shares(occasion, files), **_bad_rosters(contribute), **_bad_agreements(contribute)}


def _masks(occasion: masking.Occasion, roster: Roster) -> dict[str, Any]:
    """What lies between the keys and the words: of each pair the secret, the seed and the stream."""
    pairs = {
        f"{one} {two}": {
            "secret": PRIVATE[one].exchange(PRIVATE[two].public_key()).hex(),
            "info": canonical(
                {"use": "sumroom/pair-mask/v1", "pair": [one, two], "occasion": occasion.body()}
            ).decode(),
            "seed": (seed := masking._seed(PRIVATE[one], one, two, roster, occasion)).hex(),
            "stream": masking._stream(seed, len(NUMBERS[one])).astype("<u8").tobytes().hex(),
        }
        for one, two in combinations(b.PARTIES, 2)
    }
    private = {party: key.private_bytes_raw().hex() for party, key in PRIVATE.items()}
    return {"noised": NUMBERS, "private": private, "salt": masking.roster_digest(roster), "pairs": pairs}


def _bad_shares(occasion: masking.Occasion, files: Files) -> Files:
    raw, words = files["good-share-alpha.json"], files["good-words-alpha.bin"]
    document = parse(raw)
    another = occasion.model_copy(update={"attempt": 2})
    cut = words[:-8]
    bad = {
        "bad-share-of-another-party": _share("beta", occasion, words),
        "bad-share-of-another-attempt": _share("alpha", another, words),
        "bad-share-of-other-words": _share("alpha", occasion, cut),
        "bad-share-of-too-few-words": _share("alpha", occasion, cut),
        "bad-share-signature": {**document, "signature": keys.sign(b.key("beta"), "share", without(document, "type"))},
        "bad-share-signature-of-another-purpose": {**document, "signature": _approval_of(document)},
        "bad-share-unknown-field": {**document, "note": "x"},
        "bad-share-missing-field": without(document, "payload"),
        "bad-share-type": {**document, "type": "shares"},
        "bad-share-payload": {**document, "payload": document["payload"].upper()},
        "bad-share-attempt-zero": changed(document, "occasion", "attempt", to=0),
        "bad-share-float": raw.replace(b'"attempt":1', b'"attempt":1.0'),
        "bad-share-white-space": raw + b"\n",
    }
    turned = np.frombuffer(words, dtype="<u8").astype(">u8").tobytes()
    return {
        **as_json(bad),
        "bad-words-changed.bin": bytes([words[0] ^ 1]) + words[1:],
        "bad-words-cut.bin": cut,
        "bad-words-big-endian.bin": turned,
    }


def _approval_of(document: dict[str, Any]) -> str:
    body = {name: document[name] for name in ("occasion", "party", "payload")}
    return keys.sign(b.key("alpha"), "approval", body)


def _bad_rosters(contribute: messages.Contribute) -> Files:
    """Each with agreements to the roster that it shows: only the roster is wrong."""
    good, roster = contribute.body(), contribute.body()["roster"]
    another = X25519PrivateKey.from_private_bytes(bytes(31) + b"\1")
    occasion = contribute.occasion
    rosters = {
        "without-one": without(roster, "gamma"),
        "key-twice": changed(roster, "beta", to=roster["alpha"]),
        "signature": changed(roster, "beta", "signature", to=roster["alpha"]["signature"]),
        "another-occasion": changed(roster, "beta", to=_offer("beta", occasion.model_copy(update={"attempt": 2}))),
        "another-own-key": changed(
            roster, "alpha", to=masking.offer(another, b.key("alpha"), "alpha", occasion).body()
        ),
        "low-order-key": changed(roster, "beta", to=_low_order("beta", occasion)),
    }
    return as_json({f"bad-contribute-roster-{name}": _agreed(good, bad, occasion) for name, bad in rosters.items()})


def _bad_agreements(contribute: messages.Contribute) -> Files:
    good, agreements = contribute.body(), contribute.body()["agreements"]
    other = contribute.occasion.model_copy(update={"attempt": 2})
    late = masking.agree(b.key("beta"), "beta", other, contribute.roster)
    return as_json(
        {
            "bad-contribute-agreement-missing": {**good, "agreements": without(agreements, "gamma")},
            "bad-contribute-agreement-signature": changed(good, "agreements", "beta", to=agreements["alpha"]),
            "bad-contribute-agreement-to-another-occasion": changed(good, "agreements", "beta", to=late),
        }
    )


def _agreed(good: dict[str, Any], roster: dict[str, Any], occasion: masking.Occasion) -> dict[str, Any]:
    shown = {party: masking.MaskKey.model_validate(entry) for party, entry in roster.items()}
    agreements = {party: masking.agree(b.key(party), party, occasion, shown) for party in roster}
    return {**good, "roster": roster, "agreements": agreements}


def _offer(party: str, occasion: masking.Occasion) -> dict[str, Any]:
    return masking.offer(PRIVATE[party], b.key(party), party, occasion).body()


def _low_order(party: str, occasion: masking.Occasion) -> dict[str, Any]:
    """An X25519 key of 32 bytes 0, well signed: every secret with it is zero (RFC 7748 section 6.1)."""
    public = keys.base64_text(bytes(32))
    signed = {"party": party, "public": public, "occasion": occasion.body()}
    return {"public": public, "signature": keys.sign(b.key(party), "mask-key", signed)}


def _share(party: str, occasion: masking.Occasion, words: bytes) -> bytes:
    payload = digest(words)
    signature = keys.sign(b.key(party), "share", messages.share_body(party, occasion, payload))
    return messages.encode(messages.Share(party=party, occasion=occasion, payload=payload, signature=signature))
