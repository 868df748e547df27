"""Golden bytes of checkpoints, of the keys that sign them, and of proofs that lead to them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from protocols import bundle, keys, release
from protocols.encoding import parse
from protocols.ledger import notes, tlog_proof
from tests.ledger import builder as b
from tests.vectors.rooms import BOTH, ROOM
from tests.vectors.spoiled import Files, as_json, changed, without


def genesis_vectors(both: Files) -> Files:
    """The genesis of a room whose members have two keys each."""
    body = bundle.split_entries(both[bundle.ENTRIES])[0]
    genesis = parse(body)
    alpha, coordinator = genesis["parties"]["alpha"], genesis["coordinator"]
    bad = {
        "bad-both-v1": {**genesis, "type": "genesis@v1"},
        "bad-both-one-without": changed(genesis, "parties", "beta", to={"key": genesis["parties"]["beta"]["key"]}),
        "bad-both-none-has-it": {
            **genesis,
            "coordinator": without(coordinator, "ml_dsa_44"),
            "parties": {name: without(member, "ml_dsa_44") for name, member in genesis["parties"].items()},
        },
        "bad-both-one-key-for-two": changed(genesis, "parties", "beta", "ml_dsa_44", to=alpha["ml_dsa_44"]),
        "bad-both-short-key": changed(genesis, "parties", "beta", "ml_dsa_44", to=alpha["key"]),
    }
    return as_json({"good-both-00-genesis": body, **bad})


def proof_vectors(both: Files) -> Files:
    """The proof of the first release's commit, entry 6, and of the genesis, whose tree is larger."""
    names = sorted(name for name in both if name.startswith(bundle.RELEASES) and name.endswith(".json"))
    made = min((release.read(both[name]) for name in names), key=lambda one: one.entry)
    note = both[bundle.checkpoint_name(made.proof.size)].decode()
    path = [keys.unbase64(step) for step in made.proof.path]
    good = tlog_proof.render(made.entry, path, note)
    first = made.proof.path[0]
    texts = {
        "good-commit": good,
        "bad-header": good.replace("@v1", "@v2", 1),
        "bad-extra": good.replace("\nindex", "\nextra AAAA\nindex", 1),
        "bad-index-leading-zero": good.replace("index 6", "index 06", 1),
        "bad-index-of-another": good.replace("index 6", "index 5", 1),
        "bad-index-too-large": good.replace("index 6", "index 9007199254740992", 1),
        "bad-no-index": good.replace("index 6\n", "", 1),
        "bad-no-empty-line": good.replace("\n\n", "\n", 1),
        "bad-carriage-return": good.replace("\n", "\r\n"),
        "bad-hash-short": good.replace(first, keys.base64_text(keys.unbase64(first)[1:]), 1),
        "bad-hash-stray-bits": good.replace(first, _stray(first), 1),
        "bad-hash-changed": good.replace(first, keys.base64_text(bytes(32)), 1),
        "bad-hash-missing": good.replace(f"{first}\n", "", 1),
        "bad-hash-too-many": good.replace(f"{first}\n", f"{first}\n{first}\n", 1),
        "bad-path-too-long": good.replace(f"{first}\n", f"{first}\n" * 54, 1),
        "bad-checkpoint-not-signed": tlog_proof.render(made.entry, path, notes.split(note)[0].text() + "\n"),
    }
    return {f"{name}.tlog-proof": text.encode() for name, text in texts.items()}


def checkpoint_vectors(members: Files, both: Files) -> Files:
    names = sorted(name for name in members if name.startswith(bundle.CHECKPOINTS))
    first, last = members[names[0]].decode(), members[names[-1]].decode()
    checkpoint, lines = notes.split(first)
    log, alpha = lines[0], next(line for line in lines if line.startswith("— alpha "))
    (key,) = notes.cosigner_keys("alpha", b.identity("alpha").public())
    timeless = keys.base64_text(key.key_id + bytes(8) + b.key("alpha").sign(_cosigned(checkpoint, 0)))
    root = keys.base64_text(checkpoint.root)
    moved = replace(checkpoint, root=bytes(32))
    texts = {
        "good-first": first,
        "good-last": last,
        "good-key-log": ROOM.policy().log[0].text() + "\n",
        **{f"good-key-{party}": ROOM.policy().cosigners[party][0].text() + "\n" for party in b.PARTIES},
        **_bad_keys(key),
        "bad-root-changed": notes.assemble(moved, log, lines[1:]),
        "bad-size-changed": first.replace("\n5\n", "\n6\n", 1),
        "bad-size-leading-zero": first.replace("\n5\n", "\n05\n", 1),
        "bad-root-short": first.replace(keys.base64_text(checkpoint.root), keys.base64_text(checkpoint.root[1:])),
        "bad-root-stray-bits": first.replace(root, _stray(root)),
        "bad-size-too-large": first.replace("\n5\n", "\n9007199254740992\n", 1),
        "bad-other-origin": _note(replace(checkpoint, origin="room.example/other")),
        "bad-extension-line": first.replace("\n\n", "\nmore\n\n", 1),
        "bad-no-empty-line": first.replace("\n\n", "\n", 1),
        "bad-no-newline-at-end": first[:-1],
        "bad-carriage-return": first.replace("\n", "\r\n"),
        "bad-no-log-signature": notes.assemble(checkpoint, "", lines[1:]),
        "bad-signed-twice": notes.assemble(checkpoint, log, [alpha, alpha]),
        "bad-unknown-witness": _note(checkpoint, notes.cosign(checkpoint, "delta", b.identity("delta"), b.START)),
        "bad-key-of-another": _note(checkpoint, notes.cosign(checkpoint, "alpha", b.identity("beta"), b.START)),
        "bad-time-zero": _note(checkpoint, f"— alpha {timeless}\n"),
        "bad-hyphen-for-dash": first.replace("— alpha", "- alpha"),
        "bad-log-signature-short": first.replace(log, _cut(log)),
        "bad-cosignature-short": first.replace(alpha, _cut(alpha)),
        "bad-too-many-lines": notes.assemble(checkpoint, log, [alpha] * notes.MAX_LINES),
    }
    return {f"{name}.txt": text.encode() for name, text in {**texts, **_of_two_keys(both)}.items()}


def _of_two_keys(both: Files) -> dict[str, str]:
    """The first checkpoint of the room whose members have two keys each."""
    note = both[bundle.checkpoint_name(5)].decode()
    checkpoint, lines = notes.split(note)
    log = lines[:2]
    short, long = sorted((line for line in lines if line.startswith("— alpha ")), key=len)
    others = [line for line in lines if line not in (*log, short, long)]
    later = notes.cosign(checkpoint, "alpha", b.identity("alpha", both=True), b.START + 1)
    of_beta = notes.cosign(checkpoint, "beta", b.identity("alpha", both=True), b.START)
    policy = BOTH.policy()

    def made(*texts: str) -> str:
        return notes.assemble(checkpoint, "".join(texts), others)

    key = policy.cosigners["alpha"][1]
    return {
        "good-both": note,
        "good-key-ml-dsa-44-log": policy.log[1].text() + "\n",
        **{f"good-key-ml-dsa-44-{party}": policy.cosigners[party][1].text() + "\n" for party in b.PARTIES},
        "bad-key-ml-dsa-44-short": _vkey("alpha", bytes([notes.ML_DSA_44]) + key.public[:-1]) + "\n",
        "bad-both-log-ed25519-alone": made(log[0], short, long),
        "bad-both-log-ml-dsa-44-alone": made(log[1], short, long),
        "bad-both-cosigner-ed25519-alone": made(*log, short),
        "bad-both-cosigner-ml-dsa-44-alone": made(*log, long),
        "bad-both-two-times": made(*log, short, max(later.splitlines(keepends=True), key=len)),
        "bad-both-time-zero": made(*log, short, _with_time(long, 0)),
        "bad-both-root-changed": note.replace(keys.base64_text(checkpoint.root), keys.base64_text(bytes(32))),
        "bad-both-ml-dsa-44-short": made(*log, short, _cut(long)),
        "bad-both-ml-dsa-44-of-the-text": made(*log, short, _of_the_text(checkpoint, key, long)),
        "bad-both-ml-dsa-44-of-another-name": made(*log, short, _moved(of_beta, key)),
        "bad-both-ml-dsa-44-twice": made(*log, short, long, long),
    }


def _with_time(line: str, time: int) -> str:
    head, payload = line.rstrip("\n").rsplit(" ", 1)
    raw = keys.unbase64(payload)
    return f"{head} {keys.base64_text(raw[:4] + time.to_bytes(8, 'big') + raw[12:])}\n"


def _of_the_text(checkpoint: notes.Checkpoint, key: notes.VerifierKey, line: str) -> str:
    """What an Ed25519 cosigner would sign, signed with ML-DSA-44."""
    signature = b.second_key("alpha").sign(_cosigned(checkpoint, b.START))
    payload = key.key_id + b.START.to_bytes(8, "big") + signature
    return f"{line.rsplit(' ', 1)[0]} {keys.base64_text(payload)}\n"


def _moved(lines: str, key: notes.VerifierKey) -> str:
    """Another name's signature with the same ML-DSA-44 key, as if it were this key's."""
    raw = keys.unbase64(max(lines.splitlines(), key=len).rsplit(" ", 1)[1])
    return f"— {key.name} {keys.base64_text(key.key_id + raw[4:])}\n"


def _bad_keys(key: notes.VerifierKey) -> dict[str, str]:
    vkey = key.text()
    return {
        "bad-key-id": vkey.replace(key.key_id.hex(), "00000000") + "\n",
        "bad-key-id-upper-case": vkey.replace(key.key_id.hex(), key.key_id.hex().upper()) + "\n",
        "bad-key-kind": _key("alpha", 0x02) + "\n",
        "bad-key-name": _key("al pha", 0x04) + "\n",
    }


def _note(checkpoint: notes.Checkpoint, *cosignatures: str) -> str:
    return notes.assemble(checkpoint, notes.sign(checkpoint, ROOM.identity, b.START), cosignatures)


def _cosigned(checkpoint: notes.Checkpoint, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{checkpoint.text()}".encode()


def _key(name: str, kind: int) -> str:
    """A verifier key of any name and kind, with the id that belongs to them."""
    return _vkey(name, bytes([kind]) + b.key("alpha").public_key().public_bytes_raw())


def _vkey(name: str, raw: bytes) -> str:
    own = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    return f"{name}+{own.hex()}+{keys.base64_text(raw)}"


def _stray(text: str) -> str:
    """The same bytes in Base64 with one of the bits set that no byte needs: 32 bytes leave two in the last letter."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return f"{text[:-2]}{letters[letters.index(text[-2]) + 1]}="


def _cut(line: str) -> str:
    """A signature line whose payload lacks its last byte."""
    head, payload = line.rstrip("\n").rsplit(" ", 1)
    return f"{head} {keys.base64_text(keys.unbase64(payload)[:-1])}\n"
