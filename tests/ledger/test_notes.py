"""Checkpoints are C2SP signed notes: read strictly, with every line by a known key."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.errors import IntegrityError, UsageError
from protocols.ledger import notes
from protocols.ledger.notes import Checkpoint, open_note

ORIGIN = "room.example/q1"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
TIME = 1_700_000_000


def secret(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


LOG = notes.log_key(ORIGIN, secret(1).public_key())
WITNESSES = [notes.cosigner_key(name, secret(n).public_key()) for n, name in enumerate(("alpha", "beta"), 2)]
LOG_LINE = notes.sign(CHECKPOINT, secret(1))
ALPHA, BETA = (notes.cosign(CHECKPOINT, name, secret(n), TIME + n) for n, name in enumerate(("alpha", "beta"), 2))
NOTE = notes.assemble(CHECKPOINT, LOG_LINE, [BETA, ALPHA])


def test_a_note_opens_to_its_checkpoint_its_signers_and_their_times() -> None:
    assert open_note(NOTE, LOG, WITNESSES) == (CHECKPOINT, {ORIGIN: None, "alpha": TIME + 2, "beta": TIME + 3})


def test_the_lines_of_a_note_have_one_order() -> None:
    assert notes.assemble(CHECKPOINT, LOG_LINE, [BETA, ALPHA]) == notes.assemble(CHECKPOINT, LOG_LINE, [ALPHA, BETA])


def test_the_published_example_key_of_the_go_checksum_database_parses_and_verifies_its_name_and_id() -> None:
    text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert notes.parse_key(text).text() == text


def test_a_cosignature_signs_time_and_text_as_tlog_cosignature_v1_says() -> None:
    payload = base64.b64decode(ALPHA.split(" ")[2])
    assert payload[:4] == WITNESSES[0].key_id
    assert int.from_bytes(payload[4:12], "big") == TIME + 2
    message = f"cosignature/v1\ntime {TIME + 2}\n{CHECKPOINT.text()}".encode()
    secret(2).public_key().verify(payload[12:], message)


def test_every_changed_bit_of_a_note_is_refused() -> None:
    raw = NOTE.encode()
    for at in range(len(raw)):
        for bit in range(8):
            changed = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
            with pytest.raises((IntegrityError, UnicodeDecodeError)):
                open_note(changed.decode(), LOG, WITNESSES)


@pytest.mark.parametrize(
    ("what", "note"),
    [
        ("a line by a key not asked for", NOTE + notes.cosign(CHECKPOINT, "gamma", secret(9), TIME)),
        ("a line by another key of a known name", notes.assemble(CHECKPOINT, LOG_LINE, [
            notes.cosign(CHECKPOINT, "alpha", secret(9), TIME)])),
        ("the same line twice", NOTE + ALPHA),
        ("two cosignatures of one witness", NOTE + notes.cosign(CHECKPOINT, "alpha", secret(2), TIME)),
        ("no signature of the ledger", notes.assemble(CHECKPOINT, ALPHA, [BETA])),
        ("an extension line", NOTE.replace("\n\n", "\nextension\n\n", 1)),
        ("no blank line", NOTE.replace("\n\n", "\n", 1)),
        ("no last newline", NOTE[:-1]),
        ("a size with a leading zero", NOTE.replace("\n7\n", "\n07\n")),
        ("another size", NOTE.replace("\n7\n", "\n8\n")),
        ("carriage returns", NOTE.replace("\n", "\r\n")),
        ("a blank line at the end", NOTE + "\n"),
        ("a short root", NOTE.replace(base64.b64encode(CHECKPOINT.root).decode(), "AAAA")),
        ("a hyphen for the dash", NOTE.replace("—", "-")),
        ("nothing", ""),
        ("too many lines", NOTE + ALPHA * notes.MAX_LINES),
    ],
)  # fmt: skip
def test_a_note_is_refused_for(what: str, note: str) -> None:
    with pytest.raises(IntegrityError):
        open_note(note, LOG, WITNESSES)


def test_base64_with_stray_bits_is_refused_even_though_the_signature_would_verify() -> None:
    head, last = LOG_LINE[:-1].rsplit(" ", 1)
    assert last.endswith("==") or last.endswith("=")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(last.rstrip("=")) - 1
    stray = last[:at] + letters[letters.index(last[at]) ^ 1] + last[at + 1 :]
    assert base64.b64decode(stray) == base64.b64decode(last)
    with pytest.raises(IntegrityError, match="base64"):
        open_note(notes.assemble(CHECKPOINT, f"{head} {stray}\n"), LOG)


def test_a_note_of_another_ledger_is_refused() -> None:
    other = replace(CHECKPOINT, origin="room.example/q2")
    note = notes.assemble(other, notes.sign(other, secret(1)))
    with pytest.raises(IntegrityError, match="not of"):
        open_note(note, LOG)


def test_a_signature_of_the_text_does_not_pass_for_a_cosignature_nor_the_other_way_round() -> None:
    payload = base64.b64decode(LOG_LINE.split(" ")[2])[4:]
    timed = TIME.to_bytes(8, "big") + payload
    forged = notes.cosigner_key("alpha", secret(1).public_key())
    line = f"— alpha {base64.b64encode(forged.key_id + timed).decode()}\n"
    with pytest.raises(IntegrityError, match="does not verify"):
        open_note(notes.assemble(CHECKPOINT, LOG_LINE, [line]), LOG, [forged])


def test_a_signature_of_an_impossible_length_or_time_is_refused() -> None:
    alpha = WITNESSES[0]
    for payload in (bytes(71), bytes(73), bytes(72), b"\xff" * 72):
        line = f"— alpha {base64.b64encode(alpha.key_id + payload).decode()}\n"
        with pytest.raises(IntegrityError, match="impossible"):
            open_note(notes.assemble(CHECKPOINT, LOG_LINE, [line]), LOG, [alpha])
    with pytest.raises(IntegrityError, match="without a signature"):
        open_note(notes.assemble(CHECKPOINT, LOG_LINE, ["— alpha AAAA\n"]), LOG, [alpha])


def test_a_single_cosignature_verifies_for_its_witness_and_checkpoint_only() -> None:
    assert notes.verify_cosignature(CHECKPOINT, WITNESSES[0], ALPHA) == TIME + 2
    for checkpoint, witness, line in (
        (CHECKPOINT, WITNESSES[1], ALPHA),
        (replace(CHECKPOINT, size=8), WITNESSES[0], ALPHA),
        (CHECKPOINT, LOG, LOG_LINE),
        (CHECKPOINT, WITNESSES[0], ALPHA[:-1]),
    ):
        with pytest.raises(IntegrityError):
            notes.verify_cosignature(checkpoint, witness, line)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "tab\t", "nul\0", "x" * 256, "thin\u2009space"])
def test_a_key_has_no_name_like(name: str) -> None:
    with pytest.raises(UsageError, match="key's name"):
        notes.cosigner_key(name, secret(1).public_key())


@pytest.mark.parametrize(
    "text",
    ["", "alpha", "alpha+00000000", "alpha+zz+AAAA", "alpha+00000000+", WITNESSES[0].text() + " ",
     WITNESSES[0].text().upper(), WITNESSES[0].text().replace("alpha", "beta"),
     "alpha+00000000+" + base64.b64encode(b"\x06" + bytes(1312)).decode()],
)  # fmt: skip
def test_a_verifier_key_has_one_spelling_and_not(text: str) -> None:
    with pytest.raises(UsageError):
        notes.parse_key(text)


def test_a_cosignature_needs_a_time_that_can_be() -> None:
    for time in (0, -1, 2**53):
        with pytest.raises(UsageError, match="time"):
            notes.cosign(CHECKPOINT, "alpha", secret(2), time)
