"""Golden bytes of shares: their words, the masks in them, and the messages that lead to them."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import Any

import numpy as np

from protocols import keys, masking, messages
from protocols.encoding import canonical, digest, parse
from protocols.plan import Plan
from tests.ledger import builder as b
from tests.vectors.spoiled import Files, as_json, changed, without

NUMBERS = {"alpha": [400, -3, 0, 17], "beta": [25, 8, -1, 2], "gamma": [7, 7, 7, -7]}
Roster = dict[str, masking.MaskKey]


def occasion_of(plan: Plan) -> masking.Occasion:
    """Of the first step of round `one`."""
    return masking.Occasion(room=b.ROOM, plan=plan.digest, round=b.hex16("one"), step="rfm-cuts",
                            nonce=b.hex16("one/rfm-cuts"), state=plan.digest, attempt=1)  # fmt: skip


def secrets_of(party: str, occasion: masking.Occasion, *, recoverable: bool, label: str = "root") -> masking.Secrets:
    return masking.Secrets(hashlib.sha256(f"{label} of {party}".encode()).digest(), occasion, recoverable)


def offer(party: str, occasion: masking.Occasion, *, recoverable: bool = False, label: str = "root") -> masking.MaskKey:
    return secrets_of(party, occasion, recoverable=recoverable, label=label).offer(b.key(party), party)


def signed_key(party: str, occasion: masking.Occasion, stated: dict[str, str]) -> dict[str, str]:
    """A MaskKey of these fields, genuinely signed, whatever is in them."""
    body = {**stated, "party": party, "occasion": occasion.body()}
    return {**stated, "signature": keys.sign(b.key(party), "mask-key", body)}


def share_vectors(plan: Plan, note: str) -> Files:
    occasion = occasion_of(plan)
    own = {party: secrets_of(party, occasion, recoverable=False) for party in b.PARTIES}
    roster = {party: offer(party, occasion) for party in b.PARTIES}
    agreements = {party: masking.agree(b.key(party), party, occasion, roster) for party in b.PARTIES}
    contribute = messages.Contribute(occasion=occasion, roster=roster, agreements=agreements)
    agreed = messages.Agreed(party="alpha", signature=agreements["alpha"], boxes={})
    files: Files = {}
    for party, numbers in NUMBERS.items():
        words = masking.mask(np.array(numbers, dtype=np.int64), party, own[party], roster)
        files[f"good-words-{party}.bin"] = words.astype("<u8").tobytes()
        files[f"good-share-{party}.json"] = _share(party, occasion, files[f"good-words-{party}.bin"])
    files["good-masks.json"] = canonical(
        {
            "noised": NUMBERS,
            "private": {party: secrets.mask.private_bytes_raw().hex() for party, secrets in own.items()},
            "salt": masking.roster_digest(roster),
            "pairs": pairs_of(own, roster),
        }
    )
    files["good-prepare.json"] = messages.encode(messages.Prepare(occasion=occasion, checkpoint=note))
    files["good-mask-offer.json"] = messages.encode(messages.MaskOffer(party="alpha", key=roster["alpha"]))
    files["good-agree.json"] = messages.encode(messages.Agree(occasion=occasion, roster=roster))
    files["good-agreed.json"] = messages.encode(agreed)
    files["good-contribute.json"] = messages.encode(contribute)
    return {**files, **_bad_shares(occasion, files), **_bad_rosters(contribute), **_bad_agreements(contribute),
            **_bad_forms(files)}  # fmt: skip


def pairs_of(own: dict[str, masking.Secrets], group: Roster) -> dict[str, Any]:
    """What lies between the keys and the words: of each pair the secret, the key of the stream, and the stream."""
    occasion = next(iter(own.values())).occasion
    streams, found = masking.Streams(group, occasion, 4), {}
    for one, two in combinations(sorted(group), 2):
        use: dict[str, object] = {"use": "sumroom/pair-mask/v1", "pair": [one, two]}
        secret = own[one].mask.exchange(own[two].mask.public_key())
        found[f"{one} {two}"] = {
            "secret": secret.hex(),
            "info": canonical({**use, "occasion": occasion.body()}).decode(),
            "key": streams._key(secret, use).hex(),
            "stream": streams.of_pair(own[one].mask, one, two).astype("<u8").tobytes().hex(),
        }
    return found


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
    occasion = contribute.occasion
    late, public = occasion.model_copy(update={"attempt": 2}), {"public": roster["beta"]["public"]}
    low_order = {"public": keys.base64_text(bytes(32))}  # every secret with it is zero (RFC 7748 section 6.1)
    one_more = {"seed_digest": digest(b"a seed")}
    rosters = {
        "without-one": without(roster, "gamma"),
        "with-a-stranger": {**roster, "delta": offer("delta", occasion).body()},
        "key-twice": changed(roster, "beta", to=roster["alpha"]),
        "signature": changed(roster, "beta", "signature", to=roster["alpha"]["signature"]),
        "another-occasion": changed(roster, "beta", to=offer("beta", late).body()),
        "another-own-key": changed(roster, "alpha", to=offer("alpha", occasion, label="another").body()),
        "low-order-key": changed(roster, "beta", to=signed_key("beta", occasion, low_order)),
        "recoverable-key": changed(roster, "beta", to=offer("beta", occasion, recoverable=True).body()),
        "seed-digest-alone": changed(roster, "beta", to=signed_key("beta", occasion, public | one_more)),
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


def _bad_forms(files: Files) -> Files:
    """One of each message that leads to a share."""
    known = {name: parse(files[f"good-{name}.json"]) for name in ("prepare", "mask-offer", "agree", "agreed")}
    return as_json(
        {
            "bad-prepare-without-its-checkpoint": without(known["prepare"], "checkpoint"),
            "bad-mask-offer-null": changed(known["mask-offer"], "key", "sealing", to=None),
            "bad-agree-with-agreements": {**known["agree"], "agreements": {}},
            "bad-agreed-without-boxes": without(known["agreed"], "boxes"),
            "bad-contribute-with-a-checkpoint": {**parse(files["good-contribute.json"]), "checkpoint": "note"},
        }
    )


def _share(party: str, occasion: masking.Occasion, words: bytes) -> bytes:
    payload = digest(words)
    signature = keys.sign(b.key(party), "share", messages.share_body(party, occasion, payload))
    return messages.encode(messages.Share(party=party, occasion=occasion, payload=payload, signature=signature))
