"""A proof of one entry is C2SP tlog-proof@v1: one text, read strictly, that stands for itself."""

from __future__ import annotations

import base64
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import IntegrityError, UsageError
from protocols.ledger import tlog_proof
from protocols.logbook import Logbook

HASH = base64.b64encode(bytes(32)).decode()
HEAD = "c2sp.org/tlog-proof@v1\nindex 6\n"


@pytest.fixture
def proved(room: Any, tmp_path: Path) -> tuple[str, list[bytes]]:
    """The proof of entry 3 among five, and the entries."""
    with Logbook(tmp_path / "ledger.db") as log:
        log.append(room.opening())
        size = room.cosigned(log)
        return tlog_proof.render(3, log.inclusion(3, size), log.checkpoint(size)), log.entries()


def test_a_proof_stands_for_its_entry_under_its_checkpoint(
    room: Any, built: ModuleType, proved: tuple[str, list[bytes]]
) -> None:
    text, entries = proved
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 3\n")
    policy, proof = room.policy(), tlog_proof.parse(text)
    checkpoint, signed = proof.check(entries[3], policy.log, policy.witnesses.values())
    assert checkpoint.size == 5
    assert set(signed) == {built.ORIGIN, *built.PARTIES}
    for other in (2, 4):
        with pytest.raises(IntegrityError, match="does not lead to the root"):
            proof.check(entries[other], policy.log, policy.witnesses.values())
    with pytest.raises(IntegrityError, match="unknown key"):
        proof.check(entries[3], built.log_keys("somebody else"), policy.witnesses.values())


def test_a_proof_of_another_index_is_refused(room: Any, proved: tuple[str, list[bytes]]) -> None:
    text, entries = proved
    policy = room.policy()
    for index in (2, 5, 9):
        proof = tlog_proof.parse(text.replace("index 3", f"index {index}"))
        with pytest.raises(IntegrityError):
            proof.check(entries[3], policy.log, policy.witnesses.values())


@given(st.integers(0, 2**53 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=53), st.text())
def test_what_is_rendered_reads_back(index: int, path: list[bytes], note: str) -> None:
    assert tlog_proof.parse(tlog_proof.render(index, path, note)) == tlog_proof.Proof(index, tuple(path), note)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a proof"),
        ("c2sp.org/tlog-proof@v1\n\nnote", "not a proof"),
        (HEAD + HASH + "\nnote", "not a proof"),
        (HEAD.replace("@v1", "@v2") + "\nnote", "not a proof"),
        ("\n" + HEAD + "\nnote", "not a proof"),
        (HEAD.replace("\n", "\r\n") + "\r\nnote", "not a proof"),
        (HEAD.replace("index", "extra AAAA\nindex") + "\nnote", "extra data"),
        (HEAD.replace("index 6", "index 06") + "\nnote", "without the index"),
        (HEAD.replace("index 6", "index -6") + "\nnote", "without the index"),
        (HEAD.replace("index 6", "index  6") + "\nnote", "without the index"),
        (HEAD.replace("index 6", "6") + "\nnote", "without the index"),
        (HEAD.replace("index 6", "index 9007199254740992") + "\nnote", "without the index"),
        (HEAD + HASH[:-1] + "\n\nnote", "not base64"),
        (HEAD + HASH.replace("A=", "B=") + "\n\nnote", "stray bits"),
        (HEAD + "AAAA\n\nnote", "of 32 bytes"),
        (HEAD + f"{HASH}\n" * 54 + "\nnote", "at most 53 hashes"),
    ],
)
def test_a_text_is_no_proof_for(text: str, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        tlog_proof.parse(text)


@pytest.mark.parametrize(("index", "path"), [(-1, []), (2**53, []), (0, [bytes(31)]), (0, [bytes(32)] * 54)])
def test_what_no_tree_has_is_not_written(index: int, path: list[bytes]) -> None:
    with pytest.raises(UsageError, match="no proof of entry"):
        tlog_proof.render(index, path, "note")
