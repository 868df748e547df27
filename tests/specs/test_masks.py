"""The pages about shares and recovery are enough to compute every mask, piece, box and sum of the vectors."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest
import rfc8785

from protocols.encoding import parse
from tests.ledger import builder
from tests.specs import second_masks as second
from tests.specs.readers import golden

UNMASKINGS = ("good-unmasking", "good-unmasking-of-those-who-agreed")


def vector(name: str) -> Any:
    return parse(golden(f"{name}.json"))


def words(text: str) -> list[int]:
    return list(struct.unpack("<4Q", bytes.fromhex(text)))


def packed(numbers: list[int]) -> str:
    return struct.pack("<4Q", *numbers).hex()


def group_of(document: Any) -> Any:
    roster = vector("recovery/good-pieces")["roster"]
    return {party: roster[party] for party in document["group"]}


def test_the_masks_follow_from_the_keys_as_the_page_says() -> None:
    masks, asked = vector("share/good-masks"), vector("share/good-contribute")
    private, roster, occasion = masks["private"], asked["roster"], asked["occasion"]
    assert masks["salt"] == second.digest(roster)
    for party, numbers in masks["noised"].items():
        assert second.public_of(bytes.fromhex(private[party])) == second.unbase64(roster[party]["public"])
        made = second.masked(numbers, party, bytes.fromhex(private[party]), roster, occasion, None)
        assert packed(made) == golden(f"share/good-words-{party}.bin").hex()
    check_pairs(masks["pairs"], {party: bytes.fromhex(key) for party, key in private.items()}, roster, occasion)


def check_pairs(pairs: Any, private: dict[str, bytes], group: Any, occasion: Any) -> None:
    assert len(pairs) == len(group) * (len(group) - 1) // 2
    for pair, found in pairs.items():
        one, two = pair.split(" ")
        for me, peer in ((one, two), (two, one)):
            key = second.key_of_pair(private[me], me, peer, group, occasion)
            assert (found["secret"], found["key"]) == (
                second.secret(private[me], group[peer]["public"]).hex(),
                key.hex(),
            )
            assert found["stream"] == packed(second.stream(key, 4))
        info = {"use": "sumroom/pair-mask/v1", "pair": [one, two], "occasion": occasion}
        assert found["info"].encode() == rfc8785.dumps(info)


def test_the_keys_of_a_roster_follow_from_the_secrets() -> None:
    document = vector("recovery/good-pieces")
    for party, secrets in document["secrets"].items():
        entry = document["roster"][party]
        seed, key, sealing = (bytes.fromhex(secrets[name]) for name in ("seed", "mask", "sealing"))
        assert max(int.from_bytes(seed, "little"), int.from_bytes(key, "little")) < second.P
        assert second.unbase64(entry["public"]) == second.public_of(key)
        assert second.unbase64(entry["sealing"]) == second.public_of(sealing)
        assert entry["seed_digest"] == hashlib.sha256(seed).hexdigest()


def test_the_pieces_and_boxes_follow_from_the_polynomials_as_the_page_says() -> None:
    document = vector("recovery/good-pieces")
    adders, roster, occasion = document["adders"], document["roster"], document["occasion"]
    for dealer, secrets in document["secrets"].items():
        coefficients = {
            kind: [int.from_bytes(bytes.fromhex(text), "little") for text in numbers]
            for kind, numbers in document["polynomials"][dealer].items()
        }
        assert {len(numbers) for numbers in coefficients.values()} == {document["threshold"]}
        assert coefficients["key"][0].to_bytes(32, "little").hex() == secrets["mask"]
        assert coefficients["seed"][0].to_bytes(32, "little").hex() == secrets["seed"]
        for peer in (party for party in roster if party != dealer):
            place = adders.index(peer) + 1
            pieces = second.piece(coefficients["key"], place) + second.piece(coefficients["seed"], place)
            sealing = bytes.fromhex(secrets["sealing"])
            key = second.box_key(sealing, dealer, peer, dealer, roster, occasion)
            assert document["pieces"][dealer][peer] == pieces.hex()
            assert document["keys"][dealer][peer] == key.hex()
            assert document["boxes"][dealer][peer] == second.seal(key, pieces)
    assert vector("recovery/good-agreed")["boxes"] == document["boxes"]["alpha"]


@pytest.mark.parametrize("name", UNMASKINGS)
def test_the_words_of_a_step_that_can_do_without_a_party_are_masked_as_the_pages_say(name: str) -> None:
    document, pieces = vector(f"recovery/{name}"), vector("recovery/good-pieces")
    group, occasion, secrets = group_of(document), pieces["occasion"], pieces["secrets"]
    assert document["salt"] == second.digest(group)
    for party, numbers in document["noised"].items():
        key, seed = (bytes.fromhex(secrets[party][kind]) for kind in ("mask", "seed"))
        assert packed(second.masked(numbers, party, key, group, occasion, seed)) == document["words"][party]
    check_pairs(document["pairs"], {p: bytes.fromhex(secrets[p]["mask"]) for p in group}, group, occasion)
    assert set(document["own"]) == set(group)
    for party, found in document["own"].items():
        key = second.key_of_own(bytes.fromhex(secrets[party]["seed"]), party, group, occasion)
        assert (found["key"], found["stream"]) == (key.hex(), packed(second.stream(key, 4)))
        info = {"use": "sumroom/own-mask/v1", "party": party, "occasion": occasion}
        assert found["info"].encode() == rfc8785.dumps(info)


@pytest.mark.parametrize("name", UNMASKINGS)
def test_one_piece_of_each_is_given_out_and_together_they_take_the_masks_off(name: str) -> None:
    document, pieces = vector(f"recovery/{name}"), vector("recovery/good-pieces")
    adders, roster, occasion = pieces["adders"], pieces["roster"], pieces["occasion"]
    for helper, given in document["given"].items():
        assert set(given) == set(document["group"])
        sealing = bytes.fromhex(pieces["secrets"][helper]["sealing"])
        for dealer in (party for party in given if party != helper):
            key = second.box_key(sealing, helper, dealer, dealer, roster, occasion)
            both = second.opened(key, pieces["boxes"][dealer][helper])
            assert second.unbase64(given[dealer]) == both[dealer in document["survivors"]]
    shares = {party: words(text) for party, text in document["words"].items()}
    found = second.unmasked(shares, document["given"], group_of(document), adders, occasion)
    exact = [sum(column) for column in zip(*document["noised"].values(), strict=True)]
    assert found == document["sum"] == exact


def test_a_party_that_does_not_agree_is_not_masked_with_and_its_pieces_are_given_out_by_nobody() -> None:
    all_of_them, those = (vector(f"recovery/{name}") for name in UNMASKINGS)
    assert set(all_of_them["group"]) - set(those["group"]) == {"gamma"}
    assert all_of_them["salt"] != those["salt"]
    assert all("gamma" not in given for given in those["given"].values())
    assert all_of_them["sum"] == those["sum"]


def test_every_signature_of_the_good_messages_is_over_what_the_pages_say() -> None:
    """Of a mask key, an agreement, and the survivors; by Ed25519 alone."""
    public = builder.key("alpha").public_key()
    for page in ("share", "recovery"):
        asked, offer = vector(f"{page}/good-contribute"), vector(f"{page}/good-mask-offer")["key"]
        stated = {name: value for name, value in offer.items() if name != "signature"}
        about = {"party": "alpha", "occasion": asked["occasion"]}
        second.signed(public, "mask-key", {**stated, **about}, offer["signature"])
        agreed = vector(f"{page}/good-agreed")["signature"]
        second.signed(public, "agreement", {**about, "roster": second.digest(asked["roster"])}, agreed)
    share = vector("share/good-share-alpha")
    body = {name: share[name] for name in ("occasion", "party", "payload")}
    second.signed(public, "share", body, share["signature"])
    settle, unmask = vector("recovery/good-settle"), vector("recovery/good-unmask")
    for party, signature in {**unmask["signatures"], "alpha": vector("recovery/good-settled")["signature"]}.items():
        body = {**about, "party": party, "group": second.digest(asked["roster"]), "survivors": settle["survivors"]}
        second.signed(builder.key(party).public_key(), "survivors", body, signature)
    assert vector("recovery/good-unmasked")["pieces"] == vector("recovery/good-unmasking")["given"]["alpha"]
