"""Checkpoints are C2SP signed notes: read strictly, with every line by a known key."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from itertools import permutations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols.errors import IntegrityError, UsageError
from protocols.keys import Identity
from protocols.ledger import notes
from protocols.ledger.notes import Checkpoint, open_note

ORIGIN = "room.example/q1"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
TIME = 1_700_000_000


def only(number: int) -> Identity:
    """An identity of the old kind: an Ed25519 key alone."""
    return Identity(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def both(number: int) -> Identity:
    seed = bytes([number]) * 32
    return Identity(Ed25519PrivateKey.from_private_bytes(seed), MLDSA44PrivateKey.from_seed_bytes(seed))


LOG = notes.log_keys(ORIGIN, only(1).public())
WITNESSES = [notes.cosigner_keys(name, only(n).public())[0] for n, name in enumerate(("alpha", "beta"), 2)]
LOG_LINE = notes.sign(CHECKPOINT, only(1), TIME)
ALPHA, BETA = (notes.cosign(CHECKPOINT, name, only(n), TIME + n) for n, name in enumerate(("alpha", "beta"), 2))
NOTE = notes.assemble(CHECKPOINT, LOG_LINE, [BETA, ALPHA])

LOG_BOTH = notes.log_keys(ORIGIN, both(1).public())
ALPHA_BOTH = notes.cosigner_keys("alpha", both(2).public())
LOG_LINES = notes.sign(CHECKPOINT, both(1), TIME)
ALPHA_LINES = notes.cosign(CHECKPOINT, "alpha", both(2), TIME + 2)
NOTE_BOTH = notes.assemble(CHECKPOINT, LOG_LINES, [ALPHA_LINES])


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def payload_of(line: str) -> bytes:
    return base64.b64decode(line.split(" ")[2])


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
    only(2).ed25519.public_key().verify(payload[12:], message)


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
        ("a line by a key not asked for", NOTE + notes.cosign(CHECKPOINT, "gamma", only(9), TIME)),
        ("a line by another key of a known name", notes.assemble(CHECKPOINT, LOG_LINE, [
            notes.cosign(CHECKPOINT, "alpha", only(9), TIME)])),
        ("the same line twice", NOTE + ALPHA),
        ("two cosignatures of one witness", NOTE + notes.cosign(CHECKPOINT, "alpha", only(2), TIME)),
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
    note = notes.assemble(other, notes.sign(other, only(1), TIME))
    with pytest.raises(IntegrityError, match="not of"):
        open_note(note, LOG)


def test_a_signature_of_the_text_does_not_pass_for_a_cosignature_nor_the_other_way_round() -> None:
    payload = base64.b64decode(LOG_LINE.split(" ")[2])[4:]
    timed = TIME.to_bytes(8, "big") + payload
    (forged,) = notes.cosigner_keys("alpha", only(1).public())
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
    assert notes.verify_cosignature(CHECKPOINT, WITNESSES[:1], ALPHA) == TIME + 2
    for checkpoint, witness, line in (
        (CHECKPOINT, WITNESSES[1:], ALPHA),
        (replace(CHECKPOINT, size=8), WITNESSES[:1], ALPHA),
        (CHECKPOINT, LOG, LOG_LINE),
        (CHECKPOINT, WITNESSES[:1], ALPHA[:-1]),
        (CHECKPOINT, WITNESSES[:1], ALPHA + BETA),
        (CHECKPOINT, WITNESSES[:1], ALPHA + ALPHA),
        (CHECKPOINT, WITNESSES[:1], ""),
        (CHECKPOINT, ALPHA_BOTH, "".join(lines_of(ALPHA_LINES)[:1])),
        (CHECKPOINT, ALPHA_BOTH, "".join(lines_of(ALPHA_LINES)[1:])),
    ):
        with pytest.raises(IntegrityError):
            notes.verify_cosignature(checkpoint, witness, line)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "tab\t", "nul\0", "x" * 256, "thin\u2009space"])
def test_a_key_has_no_name_like(name: str) -> None:
    with pytest.raises(UsageError, match="key's name"):
        notes.cosigner_keys(name, only(1).public())


@pytest.mark.parametrize(
    "text",
    ["", "alpha", "alpha+00000000", "alpha+zz+AAAA", "alpha+00000000+", WITNESSES[0].text() + " ",
     WITNESSES[0].text().upper(), WITNESSES[0].text().replace("alpha", "beta"),
     "alpha+00000000+" + base64.b64encode(b"\x06" + bytes(1311)).decode()],
)  # fmt: skip
def test_a_verifier_key_has_one_spelling_and_not(text: str) -> None:
    with pytest.raises(UsageError):
        notes.parse_key(text)


def test_a_cosignature_needs_a_time_that_can_be() -> None:
    for time in (0, -1, 2**53):
        with pytest.raises(UsageError, match="time"):
            notes.cosign(CHECKPOINT, "alpha", only(2), time)


# --- two keys beside each other ---------------------------------------------------------------------------------------


def test_with_two_keys_everybody_signs_with_both() -> None:
    assert open_note(NOTE_BOTH, LOG_BOTH, ALPHA_BOTH) == (CHECKPOINT, {ORIGIN: None, "alpha": TIME + 2})
    assert notes.verify_cosignature(CHECKPOINT, ALPHA_BOTH, ALPHA_LINES) == TIME + 2
    _, lines = notes.split(NOTE_BOTH)
    assert [len(payload_of(line)) for line in lines[:2]] == [4 + 64, 4 + 8 + 2420]
    assert sorted(len(payload_of(line)) for line in lines[2:]) == [4 + 8 + 64, 4 + 8 + 2420]


def test_the_lines_of_two_keys_have_one_order_the_ledgers_ed25519_line_first() -> None:
    lines = [*lines_of(ALPHA_LINES), *lines_of(LOG_LINES)]
    for order in permutations(lines):
        assert notes.assemble(CHECKPOINT, "".join(order[:2]), order[2:]) == NOTE_BOTH
    assert notes.split(NOTE_BOTH)[1][:2] == lines_of(LOG_LINES)


@pytest.mark.parametrize(("name", "number", "lines", "time"), [
    (ORIGIN, 1, LOG_LINES, TIME), ("alpha", 2, ALPHA_LINES, TIME + 2)])  # fmt: skip
def test_an_ml_dsa_44_line_signs_name_time_origin_size_and_root_as_tlog_cosignature_says(
    name: str, number: int, lines: str, time: int
) -> None:
    payload = payload_of(lines_of(lines)[1])
    key = both(number).ml_dsa_44.public_key()
    vkey = name.encode() + b"\n\x06" + key.public_bytes_raw()
    assert payload[:4] == hashlib.sha256(vkey).digest()[:4]
    assert payload[4:12] == time.to_bytes(8, "big")
    message = b"subtree/v1\n\0" + bytes([len(name)]) + name.encode() + time.to_bytes(8, "big")
    message += bytes([len(ORIGIN)]) + ORIGIN.encode() + bytes(8) + (7).to_bytes(8, "big") + CHECKPOINT.root
    key.verify(payload[12:], message)


@pytest.mark.parametrize(
    ("what", "note", "why"),
    [
        ("the ledger's Ed25519 line alone", [*lines_of(LOG_LINES)[:1], ALPHA_LINES], "not signed with all"),
        ("the ledger's ML-DSA-44 line alone", [*lines_of(LOG_LINES)[1:], ALPHA_LINES], "not signed with all"),
        ("a witness's Ed25519 line alone", [LOG_LINES, *lines_of(ALPHA_LINES)[:1]], "alpha has not signed with all"),
        ("a witness's ML-DSA-44 line alone", [LOG_LINES, *lines_of(ALPHA_LINES)[1:]], "alpha has not signed with all"),
        ("no line of the ledger", [ALPHA_LINES], "signature is missing"),
        ("one line twice", [LOG_LINES, ALPHA_LINES, lines_of(ALPHA_LINES)[1]], "two signatures by alpha"),
        ("lines of two times", [LOG_LINES, lines_of(ALPHA_LINES)[0],
            lines_of(notes.cosign(CHECKPOINT, "alpha", both(2), TIME + 3))[1]], "different times"),
        ("an ML-DSA-44 line of another key", [LOG_LINES, lines_of(ALPHA_LINES)[0],
            lines_of(notes.cosign(CHECKPOINT, "alpha", both(3), TIME + 2))[1]], "unknown key"),
    ],
)  # fmt: skip
def test_whoever_has_two_keys_is_not_believed_with(what: str, note: list[str], why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        open_note(notes.assemble(CHECKPOINT, "".join(note)), LOG_BOTH, ALPHA_BOTH)


def test_changed_bits_anywhere_in_a_note_with_ml_dsa_44_are_refused() -> None:
    raw = NOTE_BOTH.encode()
    for at in range(0, len(raw), 7):
        changed = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
        with pytest.raises((IntegrityError, UnicodeDecodeError)):
            open_note(changed.decode(), LOG_BOTH, ALPHA_BOTH)


def test_an_ml_dsa_44_signature_of_one_name_passes_for_no_other() -> None:
    forged = notes.cosigner_keys("beta", both(2).public())
    lines = [f"— beta {base64.b64encode(key.key_id + payload_of(line)[4:]).decode()}\n"
             for key, line in zip(forged, lines_of(ALPHA_LINES), strict=True)]  # fmt: skip
    with pytest.raises(IntegrityError, match="signature of beta on the checkpoint does not verify"):
        open_note(notes.assemble(CHECKPOINT, LOG_LINES, lines), LOG_BOTH, forged)


def test_the_room_of_64_fits_into_a_note() -> None:
    lines = [notes.cosign(CHECKPOINT, f"p{n:02d}", both(n + 10), TIME) for n in range(64)]
    keys = [key for n in range(64) for key in notes.cosigner_keys(f"p{n:02d}", both(n + 10).public())]
    note = notes.assemble(CHECKPOINT, LOG_LINES, lines)
    assert len(open_note(note, LOG_BOTH, keys)[1]) == 65


def test_without_a_key_in_force_nothing_is_signed() -> None:
    with pytest.raises(IntegrityError, match="no key in force"):
        open_note(NOTE, ())
    with pytest.raises(IntegrityError, match="no key in force"):
        notes.verify_cosignature(CHECKPOINT, (), ALPHA)


def test_keys_of_one_name_whose_ids_collide_are_not_believed_by_one_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bits of an id are found to match by trying: whoever makes such a pair of keys has no signature at all."""
    twins = tuple(replace(key) for key in ALPHA_BOTH)
    for key in twins:
        monkeypatch.setitem(vars(key), "key_id", b"same")
    short, long = lines_of(ALPHA_LINES)
    for line in (short, long):
        payload = b"same" + payload_of(line)[4:]
        note = notes.assemble(CHECKPOINT, LOG_LINES, [f"— alpha {base64.b64encode(payload).decode()}\n"])
        with pytest.raises(IntegrityError):
            open_note(note, LOG_BOTH, twins)
