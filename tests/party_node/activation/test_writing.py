"""The files: their owner's alone, there whole or not at all, never over another; the receipt says what was made."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from party_node.activation import receipt, receipt_of, writing
from protocols import keys
from protocols.encoding import canonical, digest
from protocols.errors import IntegrityError, UsageError
from tests.party_node.activation.party import Party
from tests.party_node.activation.regenerate import GOLDEN, SIGNER

LISTED = ("customer", "=a", "b", "c")
PEOPLE = ("customer,email,first_name", "=a,a@x.org,@Ann", "b,b@x.org,-Bo", "c,,Cy")


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return Party(tmp_path, LISTED, PEOPLE)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("profile", ["plain-csv", "plain-parquet"])
def test_files_and_their_folder_are_their_owners_alone_whatever_the_umask(party: Party, profile: str) -> None:
    before = os.umask(0)
    try:
        done = party.activate(profile)
    finally:
        os.umask(before)
    assert [mode(path) for path in (*done.files, done.receipt)] == [0o600, 0o600]
    assert mode(party.out.parent) == 0o700
    assert sorted(path.name for path in party.out.parent.iterdir()) == ["file.csv", "file.csv.receipt.json"]


def test_cells_that_would_be_formulas_are_quoted_where_they_are_not_hashed(party: Party) -> None:
    party.activate("plain-csv", {"ids": "plain"})
    assert party.out.read_text("utf-8").splitlines() == [
        "customer,email,first_name", "'=a,a@x.org,'@Ann", "b,b@x.org,'-Bo", "c,,Cy"
    ]  # fmt: skip


def test_nothing_is_overwritten_neither_a_file_nor_a_link_nor_a_receipt(party: Party) -> None:
    party.out.parent.mkdir()
    for name in ("file.csv", "file.csv.receipt.json", "file-1.csv"):
        planted = party.out.parent / name
        planted.symlink_to(party.folder / "elsewhere")
        with pytest.raises(UsageError, match=f"{name} is there already"):
            party.activate()
        planted.unlink()
    assert not (party.folder / "elsewhere").exists()
    party.activate()
    kept = party.out.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        party.activate(segments=())
    assert party.out.read_bytes() == kept


def test_when_one_file_cannot_be_moved_none_is_there(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    move = os.replace

    def full(source: Path, target: Path) -> None:
        if str(target).endswith(".json"):
            raise OSError(28, "No space left on device")
        move(source, target)

    monkeypatch.setattr(writing.os, "replace", full)
    with pytest.raises(UsageError, match="No space left on device"):
        party.activate()
    assert list(party.out.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_with_its_reason(party: Party) -> None:
    (party.folder / "out").write_text("a file")
    with pytest.raises(UsageError, match="cannot write"):
        party.activate()


def test_a_file_that_changes_while_it_is_read_is_refused(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    write = writing.write

    def meanwhile(*arguments: object) -> object:
        party.file("list.csv", *LISTED, "d")
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "write", meanwhile)
    with pytest.raises(UsageError, match="changed while it was read"):
        party.activate()
    assert list(party.out.parent.iterdir()) == []


def test_lines_tell_nothing_of_the_ranking(tmp_path: Path) -> None:
    people = ["customer,email", *(f"{name},{name}@x.org" for name in "abc")]
    found = []
    for name, ranks in (("one", (1, 2, 3)), ("two", (3, 1, 2))):
        (tmp_path / name).mkdir()
        listed = ["customer,rank", *(f"{who},{rank}" for who, rank in zip("abc", ranks, strict=True))]
        one = Party(tmp_path / name, listed, people)
        one.activate("tiktok")
        found.append(one.out.read_bytes())
    assert found[0] == found[1]


def test_the_same_files_give_the_same_bytes_in_any_order_of_rows(tmp_path: Path) -> None:
    names, found = [f"c{number}" for number in range(50)], []
    for folder, turn in (("one", 1), ("two", -1)):
        (tmp_path / folder).mkdir()
        people = ["customer,email", *(f"{name},{name}@x.org" for name in names[::-turn])]
        one = Party(tmp_path / folder, ["customer", *names[::turn]], people)
        one.activate("tiktok")
        found.append(one.out.read_text().splitlines())
    assert found[0] == found[1] == [found[0][0], *sorted(found[0][1:])]


# -- the receipt -------------------------------------------------------------------------------------------------------


def test_a_receipt_says_what_was_made_of_what_and_adds_up(party: Party) -> None:
    outs = party.file("outs.csv", "customer", "c")
    done = party.activate("tiktok", opt_outs=outs)
    found = receipt.check(done.receipt, done.receipt.read_bytes())
    assert found.people_in == 3 == sum(found.fates.values())
    assert (found.fates["opted_out"], found.fates["written"]) == (1, 2)
    assert (found.party, found.date, found.purpose, found.profile) == ("grocer", "2026-11-27", "a test", "tiktok")
    assert party.people is not None
    assert {one.role: one.sha256 for one in found.inputs} == {
        "list": digest(party.listed.read_bytes()),
        "people": digest(party.people.read_bytes()),
        "opt-outs": digest(outs.read_bytes()),
    }
    assert [(one.name, one.sha256, one.lines) for one in found.outputs] == [
        ("file.csv", digest(party.out.read_bytes()), 2)
    ]
    assert found.settings == {"phone": "plus", "email": "as-written"}


def test_a_receipt_has_no_value_of_a_customers(party: Party) -> None:
    text = party.activate().receipt.read_text()
    assert not any(value in text for value in ("x.org", "Ann", "=a"))


def test_a_receipt_is_canonical_and_signed_with_the_partys_key() -> None:
    data = (GOLDEN / "microsoft.csv.receipt.json").read_bytes()
    document = json.loads(data)
    assert canonical(document) + b"\n" == data
    signature = document.pop("signature")
    keys.check(SIGNER.key.public_key(), "activation", document, signature, who="grocer")


def changed(**more: object) -> bytes:
    return canonical(json.loads((GOLDEN / "microsoft.csv.receipt.json").read_bytes()) | more) + b"\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(people_in=10), "signature of grocer does not verify"),
        (changed(purpose="another"), "signature of grocer does not verify"),
        (changed(type="activation-receipt@v2"), "is not a receipt"),
        (changed(more=1), "is not a receipt"),
        (changed(key="AAAA"), "Ed25519 public key"),
        (b"{}\n", "is not a receipt"),
        (b"{ }\n", "canonical"),
        (b"\xff", "canonical"),
    ],
)
def test_a_receipt_that_was_changed_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        receipt.read(data, "it")


def test_a_receipt_that_does_not_add_up_is_refused_though_it_is_signed() -> None:
    document = json.loads((GOLDEN / "microsoft.csv.receipt.json").read_bytes())
    body = {name: value for name, value in document.items() if name not in ("signature", "key", "type")}
    assert receipt.read(receipt.signed(body, SIGNER.key), "it").people_in == 9
    with pytest.raises(IntegrityError, match="does not add up"):
        receipt.read(receipt.signed(body | {"people_in": 10}, SIGNER.key), "it")


def test_a_file_that_is_not_what_its_receipt_says_is_found_out(party: Party) -> None:
    done = party.activate()
    party.out.write_bytes(party.out.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="is not what was written"):
        receipt.check(done.receipt, done.receipt.read_bytes())
    party.out.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        receipt.check(done.receipt, done.receipt.read_bytes())


def test_a_receipt_cannot_point_at_a_file_elsewhere() -> None:
    document = json.loads((GOLDEN / "microsoft.csv.receipt.json").read_bytes())
    body = {name: value for name, value in document.items() if name not in ("signature", "key", "type")}
    outputs = [{"name": "../microsoft.csv", "sha256": "0" * 64, "lines": 1}]
    with pytest.raises(IntegrityError, match="is not a receipt"):
        receipt.read(receipt.signed(body | {"outputs": outputs}, SIGNER.key), "it")


def test_the_receipt_lies_beside_the_file() -> None:
    assert receipt_of(Path("a/b.csv")) == Path("a/b.csv.receipt.json")
