"""Golden bytes: what is committed is what the code writes and reads."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coordinator.aggregate import add_up, check_share, noised_sum
from protocols import audit, messages
from protocols.carrier import codec, seal
from protocols.encoding import parse
from tests.specs.readers import READ, VECTORS, files, golden, identities, room
from tests.vectors import regenerate, rooms


def test_the_committed_vectors_are_byte_for_byte_what_the_code_writes() -> None:
    assert regenerate.differences(VECTORS) == []


def test_a_vector_that_is_changed_missing_or_too_many_is_named(tmp_path: Path) -> None:
    regenerate.write(tmp_path)
    (tmp_path / "plan" / "good-rfm.json").write_bytes(b"{}")
    (tmp_path / "plan" / "bad-null.json").unlink()
    (tmp_path / "plan" / "bad-taste.json").write_bytes(b"{}")
    names = ["plan/bad-null.json", "plan/bad-taste.json", "plan/good-rfm.json"]
    assert regenerate.differences(tmp_path) == names


@pytest.mark.parametrize("name", files("good"))
def test_every_good_vector_is_read_by_the_product(name: str) -> None:
    READ[name.split("/")[0]](name, golden(name))


def test_there_are_good_and_bad_vectors_of_every_format() -> None:
    for start in ("good", "bad"):
        assert {name.split("/")[0] for name in files(start)} == set(READ)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("good-room", (10, 2, 1)),
        ("good-both", (10, 2, 1)),
        ("good-segments", (13, 7, 0)),
        ("good-overlap", (8, 2, 0)),
        ("good-classes", (7, 1, 0)),
        ("good-lookalike", (12, 6, 0)),
        ("good-five", (10, 2, 0)),
    ],
)
def test_the_auditor_finds_nothing_wrong_with_a_good_bundle(name: str, sizes: tuple[int, ...]) -> None:
    findings = audit.verify(golden(f"bundle/{name}.tar"), rooms.room_of(name).policy())
    assert findings.violations == ()
    assert all(check.state == "ok" or check.name == "since" for check in findings.checks)
    assert (findings.entries, findings.releases, findings.forfeits) == sizes


@pytest.mark.parametrize(
    ("asked", "reserve", "fewest"), [("good-rfm", "good-05", 3), ("good-rfm-of-five", "good-five-07", 4)]
)
def test_threshold_noise_and_both_charges_are_what_the_pages_say(asked: str, reserve: str, fewest: int) -> None:
    """Plan 7 and 9, ledger entry 11 and 12, release's `charge_person`: in fractions, with nothing of the product."""
    plan = parse(golden(f"plan/{asked}.json"))
    entry = parse(golden(f"ledger-entry/{reserve}-reserve.json"))
    n, c, quorum = len(plan["parties"]), plan["collusion"], plan["quorum"]
    above = [t for t in range(n) if Fraction(t) > Fraction(n + c + 1, 2) and Fraction(t) > Fraction(2 * n, 3)]
    t = min([*above, n])
    assert t == fewest <= quorum
    rho, record, person = plan["questions"][0]["rho"], [], []
    for step, squared in zip(entry["steps"], (3, 5), strict=True):
        h, v = max(1, quorum - c), Fraction(step["mechanism"]["variance"])
        least = Fraction(squared * 10**9, 2 * h * rho[step["step"].removeprefix("rfm-")])
        assert 0 <= v - least < Fraction(1, 10**6)
        assert (step["mechanism"]["quorum"], step["mechanism"]["collusion"]) == (quorum, c)
        assert step["charge"] == math.ceil(Fraction(squared * 10**9) / (2 * h * v))
        record.append(step["charge"])
        person.append(n * math.ceil(Fraction(squared * 10**9) / (2 * v)))
    assert {amount for row in entry["charge"].values() for amount in row.values()} == {sum(record)}
    release = parse(golden(f"release/{'good-five' if n == 5 else 'good'}-rfm-cuts.json"))["body"]
    assert (release["charge_record"], release["charge_person"]) == (record[0], person[0])
    name = "good-five" if n == 5 else "good-room"
    budgets = audit.verify(golden(f"bundle/{name}.tar"), rooms.room_of(name).policy()).budgets
    rounds = 1 if n == 5 else 2
    spent = {line.who: line.spent for line in budgets if line.block == "q1"}
    assert spent == {**dict.fromkeys(plan["parties"], rounds * sum(record)), "person": rounds * sum(person)}


def test_masks_of_the_good_shares_vanish_in_their_sum() -> None:
    prepare = messages.read_request(golden("share/good-prepare.json"))
    assert isinstance(prepare, messages.Prepare)
    words = {}
    for party in identities():
        share = messages.read_reply(golden(f"share/good-share-{party}.json"))
        assert isinstance(share, messages.Share)
        payload = golden(f"share/good-words-{party}.bin")
        words[party] = check_share(room(), party, prepare.occasion, share, payload, 4)
    assert noised_sum(add_up(words)).tolist() == [432, 12, 6, 12]


@pytest.mark.parametrize(("payload", "body"), [("payload", "prepare"), ("payload-share", "share-alpha")])
def test_the_payload_on_the_wire_carries_the_message_and_is_what_the_carrier_writes(payload: str, body: str) -> None:
    kind = seal.REPLY if payload.endswith("share") else seal.INSTRUCTION
    data = golden(f"wire-header/good-{payload}.bin")
    records: Any = codec.decode(data, kind)
    assert records["reply" if kind == seal.REPLY else "request"]["body"] == golden(f"share/good-{body}.json")
    message: Any = SimpleNamespace(has_error=lambda: False, content=records)
    assert b"".join(bytes(part) for part in codec.encode(message)) == data


def test_the_words_of_a_share_travel_as_the_last_bytes_of_one_array_of_64_bit_words() -> None:
    data, words = golden("wire-header/good-payload-share.bin"), golden("share/good-words-alpha.bin")
    records: Any = codec.decode(data, seal.REPLY)
    assert records["words"]["words"].numpy().dtype == np.dtype("<u8")
    assert records["words"]["words"].numpy().tobytes() == words
    assert data.endswith(words)
