#!/usr/bin/env python3
"""Check a room's bundle, offline: python verify.py room.tar --policy policy.txt [--json]

One file of at most 600 lines, the standard library and `cryptography` (one with ML-DSA-44, for rooms that use it), and
nothing else of the project that made the bundle: written from its pages `specs/*.md` alone, so that two programs must
agree. "Ledger entry 11" is rule 11 of that page. policy.txt names the keys that you got from the parties by another way
than the bundle (C2SP tlog-policy). Exit status: 0 clean, 1 a violation, 2 cannot decide. What is not checked is said.
"""
# fmt: off

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Entry = dict[str, Any]
Shape = Callable[[Any], bool]
MOST = 2**53 - 1

class Violation(Exception):
    """A rule is broken."""

class Undecided(Exception):
    """There is too little here to say yes or no."""

def need(held: bool, otherwise: str) -> None:
    if not held:
        raise Violation(otherwise)

# == Bytes =============================================================================================================

def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()

def canonical(value: Any) -> bytes:
    """RFC 8785 for values without floats: names are sorted by their UTF-16 code units."""
    def ordered(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: ordered(part[name]) for name in sorted(part, key=lambda name: name.encode("utf-16-be"))}
        return [ordered(one) for one in part] if isinstance(part, list) else part
    return json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode()

def parse(data: bytes) -> Any:
    """The value of which `data` is the one spelling (ledger entry 1 and 2)."""
    def integer(text: str) -> int:
        if not -MOST <= (number := int(text)) <= MOST:
            raise ValueError
        return number
    try:  # what is no integer goes through `integer` too, and is none; a UnicodeError is a ValueError
        value = json.loads(data.decode(), parse_int=integer, parse_float=integer, parse_constant=integer)
        same = canonical(value) == data
    except (ValueError, RecursionError):
        raise Violation("not JSON with integers only") from None
    need(same, "not in the canonical form of RFC 8785")
    return value

def unbase64(text: str) -> bytes:
    """The bytes of which `text` is the one spelling."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise Violation("not Base64") from None
    need(base64.b64encode(raw).decode() == text, "Base64 with stray bits")
    return raw

def check_signed(second: bool, key: bytes, signature: bytes, message: bytes, what: str) -> None:
    """By Ed25519 (RFC 8032) or, `second`, ML-DSA-44 (FIPS 204)."""
    try:
        if second:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
            MLDSA44PublicKey.from_public_bytes(key).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except ImportError:
        raise Undecided("this room has ML-DSA-44 keys: install a newer cryptography") from None
    except (InvalidSignature, ValueError):
        raise Violation(f"{what} does not verify") from None

# == Archive (bundle 7 to 16) ==========================================================================================

def header(name: str, size: int) -> bytes:
    raw = name.encode("latin-1").ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11
    raw = (raw + b"\0" + b" " * 8 + b"0").ljust(257, b"\0") + b"ustar\x0000"
    return (raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]).ljust(512, b"\0")

def unpack(data: bytes) -> dict[str, bytes]:
    """name → content. Undecided where it is no whole archive, a violation where it is not spelled as it must be."""
    if len(data) > 1 << 30 or data[257:265] != b"ustar\x0000":
        raise Undecided("this is no POSIX archive, or one of more than 1 GiB")
    members, at, before = dict[str, bytes](), 0, ""
    while data[at : at + 1] not in (b"\0", b""):
        head = data[at : at + 512]
        name, size = head[:100].rstrip(b"\0").decode("latin-1"), 0
        if len(head) == 512:
            need(re.fullmatch(rb"[0-7]{11}\0", head[124:136]) is not None, f"the header of {name[:60]!r} has no size")
            size = int(head[124:135], 8)
            need(head == header(name, size), f"the header of {name[:60]!r} is not the one of its name and size")
        begin, end = at + 512, at + 512 + -(-size // 512) * 512
        if end > len(data):
            raise Undecided(f"the archive ends within {name[:60]!r}")
        need(name > before, f"{name[:60]!r} is out of order, or there twice")
        need(not any(data[begin + size : end]), f"{name[:60]!r} is not followed by zeros")
        members[name], at, before = data[begin : begin + size], end, name
    if len(data) < at + 1024:
        raise Undecided("the archive's end is missing")
    need(len(data) == -(-(at + 1024) // 10_240) * 10_240 and not any(data[at:]), "something after the archive's end")
    need(len(members) <= 500_000, "more than 500,000 members")
    return members

# == Merkle tree (RFC 6962 section 2.1, RFC 9162 section 2.1.3.2) ======================================================

class Tree:
    """The root of each size in turn: the complete subtrees along the right edge are enough."""
    def __init__(self) -> None:
        self.edge = list[tuple[int, bytes]]()

    def add(self, entry: bytes) -> bytes:
        """The root with this entry."""
        height, node = 0, sha256(b"\0" + entry)
        while self.edge and self.edge[-1][0] == height:
            node, height = sha256(b"\1" + self.edge.pop()[1] + node), height + 1
        self.edge.append((height, node))
        for _, left in reversed(self.edge[:-1]):
            node = sha256(b"\1" + left + node)
        return node

def leads_to(entry: bytes, at: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    node, last, fits = sha256(b"\0" + entry), size - 1, at < size
    for other in path:
        fits = fits and last > 0 and len(other) == 32
        if at % 2 or at == last:
            node = sha256(b"\1" + other + node)
            while at and at % 2 == 0:
                at, last = at // 2, last // 2
        else:
            node = sha256(b"\1" + node + other)
        at, last = at // 2, last // 2
    return fits and last == 0 and node == root

# == The tables of the pages ===========================================================================================

def holds(rule: Callable[[Any], bool]) -> Shape:
    """The rule, which does not hold either where it cannot be asked."""
    def fits(value: Any) -> bool:
        try:
            return rule(value)
        except (Violation, ValueError, TypeError, AttributeError):
            return False
    return fits

def text(pattern: str) -> Shape:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None
def whole(least: int) -> Shape:
    return lambda value: type(value) is int and least <= value <= MOST
def listed(item: Shape, least: int, most: int) -> Shape:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(item, value))
def distinct(item: Shape, least: int, most: int) -> Shape:
    return lambda value: listed(item, least, most)(value) and len({canonical(one) for one in value}) == len(value)
def ascending(least: int) -> Shape:
    return lambda value: listed(NAME, least, 64)(value) and value == sorted(set(value))
def mapped(name: Shape, item: Shape, least: int = 0, most: int = MOST) -> Shape:
    return lambda value: (isinstance(value, dict) and least <= len(value) <= most
                          and all(name(at) and item(one) for at, one in value.items()))
def base64_of(size: int | None = None) -> Shape:
    return holds(lambda value: len(value) <= 8192 and size in (None, len(unbase64(value))))
def key_name(value: Any) -> bool:
    """Checkpoint 4."""
    return isinstance(value, str) and 1 <= len(value.encode()) <= 255 and not any(
        c.isspace() or c == "+" or unicodedata.category(c).startswith("C") for c in value)

def record(fields: str) -> Shape:
    """A map of exactly the fields of a table: `name:Type`, with `?` where it may be left out, `name=a|b` for words."""
    shapes, may = dict[str, Shape](), set[str]()
    for field in fields.split():
        at, between, kind = re.split("([:=])", field, maxsplit=1)
        words = "|".join(map(re.escape, kind.split("|")))
        shapes[at.rstrip("?")] = TYPES[kind] if between == ":" else text(words)
        may |= {at[:-1]} if at.endswith("?") else set()
    return lambda value: (isinstance(value, dict) and set(shapes) - may <= set(value) <= set(shapes)
                          and all(shapes[at](one) for at, one in value.items()))

NAME, COUNT, POSITIVE, BASE64, HEX16 = text("[a-z][a-z0-9_-]{0,39}"), whole(0), whole(1), base64_of(), text("[0-9a-f]{32}")
POINTER, KEY = text(r"(?=[\s\S]{1,400}\Z)(/([^~/]|~[01])*)+"), base64_of(32)
TYPES: dict[str, Shape] = {
    "Name": NAME, "Hex16": HEX16, "Digest": text("[0-9a-f]{64}"), "Count": COUNT, "Positive": POSITIVE, "Base64": BASE64,
    "Decimal": text(r"(0|[1-9][0-9]{0,24})(\.[0-9]{0,5}[1-9])?"), "Object": lambda value: isinstance(value, dict),
    "Date": holds(lambda value: date.fromisoformat(value).isoformat() == value), "KeyName": key_name, "Key32": KEY,
    "Key1312": base64_of(1312), "Names": distinct(NAME, 1, MOST), "Parties": ascending(1), "NoParties": ascending(0),
    "Hashes": listed(KEY, 0, MOST), "Pointers": distinct(POINTER, 0, 100_000), "Integers": listed(whole(-MOST), 1, MOST),
    "Nano": mapped(NAME, COUNT), "Charge": mapped(NAME, mapped(NAME, COUNT)), "Raised": mapped(NAME, POSITIVE),
    "Caps": mapped(NAME, mapped(NAME, POSITIVE, 1), 1), "Versions": mapped(NAME, HEX16),
    "Signatures": mapped(NAME, BASE64), "Others": mapped(key_name, BASE64, 0, 65),
}
TYPES |= {
    "Key1": record("key:Key32"), "Key2": record("key:Key32 ml_dsa_44:Key1312"), "Block": record("first:Date last:Date"),
    "Limits": record("record:Charge person:Nano lifetime_record:Nano lifetime_person:Count"),
    "Own": record("old?:Base64 new?:Base64 new_ml_dsa_44?:Base64"), "Proof": record("size:Positive path:Hashes"),
    "Mechanism": record("name=discrete_gaussian sensitivity_sq:Positive variance:Decimal slots:Positive adders:Parties "
                        "quorum:Positive collusion:Count"),
}
TYPES |= {
    "Members1": mapped(NAME, TYPES["Key1"], 1, 64), "Members2": mapped(NAME, TYPES["Key2"], 1, 64),
    "Blocks": mapped(NAME, TYPES["Block"]),
    "Steps": distinct(record("step:Name nonce:Hex16 mechanism:Mechanism charge:Positive"), 1, 1000),
}
GENESIS = ("room:Name origin:KeyName unit=person×party×block accountant=zcdp blocks:Blocks caps:Limits "
           "cosign_quorum:Positive")
KEYS, SIGNED = "key:Key32 ml_dsa_44?:Key1312", "own:Own others:Others"
ENTRIES = {kind: record(f"seq:Count time:Count type={kind} {fields}") for kind, fields in {
    "genesis@v1": f"{GENESIS} coordinator:Key1 parties:Members1",
    "genesis@v2": f"{GENESIS} coordinator:Key2 parties:Members2",
    "key@v1": f"action=add|rotate|revoke member:KeyName {KEYS} {SIGNED}",
    "party@v1": f"action=join|leave party:Name {KEYS} caps:Raised cosign_quorum:Positive {SIGNED}",
    "grant@v1": "blocks:Blocks caps:Caps signatures:Signatures",
    "dataset@v1": "party:Name version:Hex16 blocks:Names commitment:Digest schema_digest:Digest people_cap:Positive "
                  "signature:Base64",
    "plan@v1": "plan:Digest parties:Parties approvals:Signatures",
    "reserve@v1": "round:Hex16 plan:Digest steps:Steps blocks:Names charge:Charge datasets:Versions expires:Count "
                  "holds:Signatures",
    "commit@v1": "round:Hex16 step:Name digest:Digest recipients:Names numbers:Pointers survivors:Parties",
    "forfeit@v1": "round:Hex16 reason=party-unavailable|deadline|refused|coordinator-restart|integrity",
    "refund@v1": "round:Hex16 signatures:Signatures",
    "reuse@v1": "round:Hex16 plan:Digest datasets:Versions",
    "deny@v1": "plan:Digest reason=not-approved|not-held|over-cap parties:NoParties",
    "egress@v1": "party:Name day:Date size:Count root:Digest signature:Base64",
    "audit@v1": "auditor:Name key:Key32 size:Positive root:Digest bundle:Digest policy:Digest verdict=clean|violation "
                "signature:Base64",
}.items()}
RELEASE = record("body:Object signature:Base64 entry:Count proof:Proof")
BODY = record("type=release@v1 room:Name plan:Digest round:Hex16 step:Name nonce:Hex16 recipients:Names survivors:Names "
              "mechanism:Mechanism charge_record:Positive charge_person:Positive noised:Integers answer:Object "
              "state?:Object salt:Digest")

def read_entry(data: bytes) -> Entry:
    value = parse(data)
    need(len(data) <= 1 << 20 and isinstance(value, dict), "too long, or no map")
    need(value.get("type") in list(ENTRIES), "of no known type")
    need(ENTRIES[value["type"]](value), f"not what the page says of {value['type']}")
    return dict(value)

# == Who is in force, and the checkpoints that they sign ===============================================================

Member = dict[str, str]  # `key` and, where it has one, `ml_dsa_44`, in Base64; empty while its keys are revoked
VKey = tuple[str, int, bytes]  # name, kind, public key
SIZES = {1: (32, 64), 4: (32, 72), 6: (1312, 2428)}  # kind → bytes of the key, and of what stands in a line

def key_id(key: VKey) -> bytes:
    return sha256(key[0].encode() + b"\n" + bytes([key[1]]) + key[2])[:4]

class Members(NamedTuple):
    """Who is in the room from one size of the ledger on."""
    origin: str
    coordinator: Member
    parties: dict[str, Member]
    quorum: int

    def in_force(self) -> dict[str, Member]:
        return {party: member for party, member in self.parties.items() if member}

    def keys(self) -> set[VKey]:
        """Of the log (kinds 1 and 6, under the origin) and of the cosigners (4 and 6)."""
        everybody = [(self.origin, 1, self.coordinator), *((party, 4, one) for party, one in self.parties.items())]
        return {(who, kind if at == "key" else 6, unbase64(raw))
                for who, kind, member in everybody for at, raw in member.items()}

class Note:
    """A checkpoint: its three lines, and who signed it. All is checked here but for the root, which needs entries."""
    def __init__(self, data: bytes, members_at: Callable[[int], Members]) -> None:
        head, between, tail = data.decode("utf-8", "replace").partition("\n\n")
        self.text, lines, self.lines = head + "\n", head.split("\n"), tail[:-1].split("\n")
        need(bool(between) and len(lines) == 3 and tail.endswith("\n"), "not three lines and signatures")
        need(re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1]) is not None and int(lines[1]) <= MOST, "no size")
        self.origin, self.size, self.root = lines[0], int(lines[1]), unbase64(lines[2])
        self.members = members_at(self.size)
        need(len(self.root) == 32 and self.origin == self.members.origin, "no root, or of another ledger")
        own = f"— {self.origin} "
        in_order = sorted(self.lines, key=lambda line: (0, len(line), "") if line.startswith(own) else (1, 0, line))
        need(self.lines == in_order and len(self.lines) <= 130, "lines not in their order, or too many")
        self.signers = self._signers(self.members.keys())

    def _signers(self, keys: set[VKey]) -> set[str]:
        """Every line must verify; who signs must do so with all its keys, at one time; the log must be among them."""
        known, signed = {(key[0], key_id(key)): key for key in keys}, dict[VKey, int]()
        for line in self.lines:
            words = line.split(" ")
            need(len(words) == 3 and words[0] == "—", "not a signature line")
            raw = unbase64(words[2])
            key = known.get((words[1], raw[:4]))
            if key is None or key in signed:
                raise Violation(f"a line of {words[1][:60]} by a key that is not in force, or twice")
            signed[key] = self._time(*key, raw[4:])
        names = {key[0] for key in signed}
        for who in names:
            need({key for key in keys if key[0] == who} <= set(signed), f"{who} signed with one key of two")
            need(len({time for key, time in signed.items() if key[0] == who and time}) <= 1, f"{who} has two times")
        need(self.origin in names, "the log's own signature is missing")
        return names - {self.origin}

    def _time(self, who: str, kind: int, public: bytes, payload: bytes) -> int:
        need(len(payload) == SIZES[kind][1], f"the signature of {who} has another length")
        stamp, signature = (b"", payload) if kind == 1 else (payload[:8], payload[8:])
        time, message = int.from_bytes(stamp, "big"), self.text.encode()
        need(kind == 1 or 1 <= time <= MOST, f"the signature of {who} has an impossible time")
        if kind == 4:
            message = f"cosignature/v1\ntime {time}\n".encode() + message
        if kind == 6:  # checkpoint 12
            one, two = (bytes([len(name.encode())]) + name.encode() for name in (who, self.origin))
            message = b"subtree/v1\n\0" + one + stamp + two + bytes(8) + self.size.to_bytes(8, "big") + self.root
        check_signed(kind == 6, public, signature, message, f"the signature of {who}")
        return time

class Policy:
    """C2SP tlog-policy: which keys the auditor trusts, whose cosignatures suffice. Undecided where it is none."""
    def __init__(self, data: bytes) -> None:
        self.log, self.witnesses, self.quorum = set[VKey](), dict[str, VKey](), ""
        self.groups = dict[str, tuple[int, list[str]]]()
        for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
            words = [word for word in re.split("[ \t]", line) if word]
            try:
                need(not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line), "a control character")
                if words and not words[0].startswith("#"):
                    self._take(words[0], words[1:], len(words) - 1, {"none", *self.witnesses, *self.groups})
            except (Violation, ValueError) as exc:
                raise Undecided(f"policy, line {number}: {exc}") from None
        if not self.log or not self.quorum:
            raise Undecided("the policy has no log, or no quorum")

    def _take(self, kind: str, rest: list[str], n: int, taken: set[str]) -> None:
        if kind == "log" and n in (1, 2):
            key = self._key(rest[0], (1, 6))
            need(all(key[0] == other[0] and key[1] != other[1] for other in self.log), "a second log")
            self.log.add(key)
        elif kind == "witness" and n in (2, 3):
            key = self._key(rest[1], (4, 6))
            need(rest[0] not in taken and key[2] not in {one[2] for one in self.witnesses.values()}, "there already")
            self.witnesses[rest[0]] = key
        elif kind == "group" and n > 2:
            members = [one for _, group in self.groups.values() for one in group] + rest[2:]
            need(rest[0] not in taken and set(rest[2:]) <= taken - {"none"}, "a name that is taken, or not known")
            least = {"all": n - 2, "any": 1}.get(rest[1]) or int(rest[1])
            need(len(set(members)) == len(members) and 1 <= least <= n - 2, "a member twice, or no possible threshold")
            self.groups[rest[0]] = (least, rest[2:])
        else:
            need(kind == "quorum" and n == 1 and not self.quorum and rest[0] in taken, "not a line of a policy")
            self.quorum = rest[0]

    def _key(self, written: str, kinds: Sequence[int]) -> VKey:
        who, number, raw = [*written.split("+", 2), "", ""][:3]
        data = unbase64(raw)
        key = (who, data[0] if data else 0, data[1:])
        need(key_name(who) and key[1] in kinds and len(key[2]) == SIZES[key[1]][0], "not a key of a kind that fits")
        need(number == key_id(key).hex(), "a key that does not carry its own id")
        return key

    def satisfied(self, parties: Collection[str], who: str = "") -> bool:
        """By the cosignatures of these parties, with all their keys."""
        who = who or self.quorum
        if who == "none" or who in self.witnesses:
            return who == "none" or self.witnesses[who][0] in parties
        return sum(self.satisfied(parties, one) for one in self.groups[who][1]) >= self.groups[who][0]

# == Cost (ledger entry 11 and 12), in nano-ρ ==========================================================================

def cost(noise: Entry, honest: int) -> int:
    """Of a record with h = max(1, quorum − collusion); of a person, at n parties, n times that with h = 1."""
    before, _, after = noise["variance"].partition(".")
    return int(-(-noise["sensitivity_sq"] * 10**15 // (2 * honest * int(before + after.ljust(6, "0")))))

def threshold(n: int, c: int) -> int:
    return min(n, max((n + c + 1) // 2 + 1, 2 * n // 3 + 1))

def check_noise(noise: Entry, charged: int) -> None:
    n, c = len(noise["adders"]), noise["collusion"]
    need(int(noise["variance"].partition(".")[0]) >= 9, "noise of a variance below 9")
    need(c == 0 if n == 1 else 1 <= c < n, "an impossible collusion")
    need(threshold(n, c) <= noise["quorum"] <= n, "a quorum below the threshold, or above the adders")
    due = cost(noise, max(1, noise["quorum"] - c))
    need(charged == due, f"a step is charged {charged}, and costs {due}")

def check_days(blocks: Iterable[Entry]) -> None:
    spans = sorted((one["first"], one["last"]) for one in blocks)
    need(all(a <= b for a, b in spans) and all(a[1] < b[0] for a, b in pairwise(spans)), "blocks that share a day")

# == The ledger's rules (ledger entry 6 to 12, ledger changes) =========================================================

class Ledger:
    """What the entries so far have made: they are taken in one by one, each checked against all before it."""
    def __init__(self) -> None:
        self.size, self.time, self.room, self.tree, self.roots = 0, 0, "", Tree(), [sha256(b"")]
        self.entries, self.history = list[Entry](), list[tuple[int, Members]]()  # from so many entries on: these members
        self.blocks, self.caps = dict[str, Entry](), dict[tuple[str, str], int]()
        self.spent: dict[tuple[str, str], int] = defaultdict(int)
        self.data, self.plans, self.egress, self.reserves = (dict[str, Entry]() for _ in range(4))
        self.commits, self.ended, self.last_key = dict[str, list[Entry]](), dict[str, str](), dict[str, str]()
        self.once = set[tuple[str, ...]]()  # what may come once only

    def members_at(self, size: int) -> Members:
        found = [members for since, members in self.history if since <= size <= self.size]
        need(bool(found), "of a size that this ledger never had")
        return found[-1]

    def take(self, entry: Entry, data: bytes) -> None:
        kind = entry["type"].split("@")[0]
        need(entry["seq"] == self.size and entry["time"] >= self.time, "not the next number, or from the past")
        need((kind == "genesis") == (self.size == 0), "the first entry, and no other, is a genesis")
        self.now = self.history[-1][1] if self.size else Members("", {"key": ""}, {}, 0)
        add = (kind, entry.get("action"), entry.get("member")) == ("key", "add", self.now.origin)
        need(add or bool(self.now.coordinator), "the coordinator's key is revoked, and this gives it no new one")
        getattr(self, f"_{kind}")(entry)
        self.roots.append(self.tree.add(data))
        self.entries.append(entry)
        self.size, self.time = self.size + 1, entry["time"]

    def _once(self, *what: str) -> None:
        need(what not in self.once, f"{what[0]} for the second time")
        self.once.add(what)

    def _member(self, who: str) -> Member:
        need(bool(self.now.parties.get(who)), f"{who} is not a party in force")
        return self.now.parties[who]

    def _signed(self, purpose: str, body: Entry, by: dict[str, str], of: dict[str, Member], second: str = "") -> None:
        """by: name → signature, over the entry without its signatures and its place, and with the room."""
        out = {"signature", "signatures", "approvals", "holds", "own", "others", "seq", "time"}
        body = {at: one for at, one in body.items() if at not in out} | {"room": self.room}
        message = f"sumroom/{purpose}/v1\0".encode() + canonical(body)
        for who, signature in by.items():
            key = (of[who] if of else self._member(who))["ml_dsa_44" if who == second else "key"]
            what = f"the {purpose} signature of {who}"
            check_signed(who == second, unbase64(key), unbase64(signature), message, what)

    def _genesis(self, entry: Entry) -> None:
        parties, blocks, caps = entry["parties"], entry["blocks"], entry["caps"]
        for key in [key for member in (entry["coordinator"], *parties.values()) for key in member.values()]:
            self._once("a key", key)
        need("person" not in parties and entry["origin"] not in parties and "lifetime" not in blocks, "a name is taken")
        need(entry["cosign_quorum"] <= len(parties), "a quorum of more than all parties")
        check_days(blocks.values())
        rows = {**caps["record"], "person": caps["person"]}
        ever = {**caps["lifetime_record"], "person": caps["lifetime_person"]}
        need(all(set(row) == set(blocks) for row in rows.values()), "caps that are not of exactly the blocks")
        need(set(caps["record"]) == set(caps["lifetime_record"]) == set(parties), "caps of others than the parties")
        self.room, self.blocks = entry["room"], dict(blocks)
        self.caps = {(who, at): cap for who, row in rows.items() for at, cap in {**row, "lifetime": ever[who]}.items()}
        self._change(Members(entry["origin"], entry["coordinator"], dict(parties), entry["cosign_quorum"]))

    # -- members (ledger changes 1 to 5) --

    def _change(self, after: Members) -> None:
        self.history.append((self.size + 1, after))
        self.last_key.update({who: member["key"] for who, member in after.in_force().items()})

    def _consented(self, entry: Entry, old: Member, new: Member, own: str, others: dict[str, Member]) -> None:
        want = set(own.split()) | ({"new_ml_dsa_44"} if own and "ml_dsa_44" in new else set())
        need(set(entry["own"]) == want and set(entry["others"]) == set(others), "not signed by exactly those who must")
        self._signed("change", entry, entry["own"], {"old": old, "new": new, "new_ml_dsa_44": new}, "new_ml_dsa_44")
        self._signed("change", entry, entry["others"], others)

    def _key(self, entry: Entry) -> None:
        now, who, action, in_force = self.now, entry["member"], entry["action"], self.now.in_force()
        need(who == now.origin or who in now.parties, "not a member of this room")
        old = now.coordinator if who == now.origin else now.parties[who]
        new = {at: entry[at] for at in ("key", "ml_dsa_44") if at in entry}
        everybody = {**in_force, **({now.origin: now.coordinator} if now.coordinator else {})}
        others = {name: member for name, member in everybody.items() if name != who}
        if action == "revoke":
            need(bool(old) and new == {"key": old["key"]}, "not the key in force, or not that alone")
            need(who == now.origin or len(in_force) > 1, "the key of the only party in force")
            self._consented(entry, old, new, "", others)
            new = {}
        elif action == "rotate":
            need(bool(old) and set(old) <= set(new), "no keys to be succeeded, or one of two is not")
            self._consented(entry, old, new, "old new", {})
        elif old:
            need("ml_dsa_44" not in old and len(new) == 2 and new["key"] == old["key"], "nothing that can be added")
            self._consented(entry, old, new, "old", {})
        else:
            need(len(new) == 2, "both keys are needed")
            self._consented(entry, old, new, "new", others)
        for key in [key for at, key in new.items() if action == "rotate" or not old or at != "key"]:
            self._once("a key", key)
        after = now.parties if who == now.origin else {**now.parties, who: new}
        self._change(now._replace(coordinator=new if who == now.origin else now.coordinator, parties=after))

    def _party(self, entry: Entry) -> None:
        who, after, in_force = entry["party"], dict(self.now.parties), self.now.in_force()
        new = {at: entry[at] for at in ("key", "ml_dsa_44") if at in entry}
        if entry["action"] == "join":
            need(who not in (*after, self.now.origin, "person"), "a name that is taken")
            need(len(new) == 2 or all(len(one) == 1 for one in in_force.values()), "no second key, where others have")
            need(set(entry["caps"]) == {*self.blocks, "lifetime"}, "caps that are not of exactly the blocks")
            self._consented(entry, {}, new, "new", in_force)
            for key in new.values():
                self._once("a key", key)
            after[who] = new
            self.caps.update({(who, at): cap for at, cap in entry["caps"].items()})
        else:
            others = {party: member for party, member in in_force.items() if party != who}
            need(who in after and new == {"key": self.last_key[who]}, "not a party, or not its last key alone")
            need(entry["caps"] == {} and bool(others), "caps, or the last party in force")
            still = [name for name, one in self.reserves.items() if who in one["charge"] and name not in self.ended]
            need(not still, "a round that charges it is open")
            alone = bool(entry["own"]) and who in in_force
            self._consented(entry, after.pop(who), new, "old" if alone else "", {} if alone else others)
        need(len(after) <= 64 and len(after) // 2 < entry["cosign_quorum"] <= len(after), "no majority, or too many")
        self._change(self.now._replace(parties=after, quorum=entry["cosign_quorum"]))

    # -- budgets --

    def _grant(self, entry: Entry) -> None:
        new, caps, room = entry["blocks"], entry["caps"], {*self.now.parties, "person"}
        need(not set(new) & {*self.blocks, "lifetime"}, "a block of a name that is taken")
        check_days([*self.blocks.values(), *new.values()])
        need(set(caps) <= room and all(set(new) <= set(caps.get(who, {})) for who in room), "not of exactly the room")
        for who, row in caps.items():
            need(set(row) <= {*self.blocks, *new, "lifetime"}, "a cap of a block that the room has not")
            need(all(cap > self.caps.get((who, at), 0) for at, cap in row.items()), "a cap that is not raised")
        wanted = set(self.now.in_force()) if new or "person" in caps else set(caps)
        need(set(entry["signatures"]) == wanted, "not signed by exactly those whose data it is")
        self._signed("change", entry, entry["signatures"], {})
        self.blocks.update(new)
        self.caps.update({(who, at): cap for who, row in caps.items() for at, cap in row.items()})

    def _dataset(self, entry: Entry) -> None:
        need(set(entry["blocks"]) <= set(self.blocks), "a block that the room has not")
        self._once("a version of data", entry["party"], entry["version"])
        self._signed("dataset", entry, {entry["party"]: entry["signature"]}, {})
        self.data[entry["party"]] = entry

    def _plan(self, entry: Entry) -> None:
        need(set(entry["approvals"]) == set(entry["parties"]), "approvals are not of exactly the parties")
        self._once("a plan", entry["plan"])
        self._signed("approval", {"plan": entry["plan"]}, entry["approvals"], {})
        self.plans[entry["plan"]] = entry

    def _reserve(self, entry: Entry) -> None:
        steps, blocks, charged = entry["steps"], entry["blocks"], entry["charge"]
        need(entry["plan"] in self.plans, "a plan that is not in the ledger")
        need(set(charged) <= set(self.plans[entry["plan"]]["parties"]), "it charges others than the plan's parties")
        need(entry["expires"] > entry["time"] and set(blocks) <= set(self.blocks), "it never began, or a block unknown")
        need(len({one["step"] for one in steps}) == len(steps), "two steps of one name")
        self._once("a round", entry["round"])
        for one in steps:
            self._once("a nonce", one["nonce"])
            check_noise(one["mechanism"], one["charge"])
            need(set(one["mechanism"]["adders"]) == set(charged), "who adds noise is not who is charged")
        row = dict.fromkeys(blocks, sum(one["charge"] for one in steps))
        need(all(one == row for one in charged.values()), "the charge is not the steps' sum in exactly the blocks")
        need(set(entry["datasets"]) == set(charged) == set(entry["holds"]), "data or holds of others than are charged")
        for who, version in entry["datasets"].items():
            data = self.data.get(who, {"version": "", "blocks": []})
            need(data["version"] == version and set(blocks) <= set(data["blocks"]), f"not the last data of {who}")
        self._signed("hold", entry, entry["holds"], {})
        self.reserves[entry["round"]], self.commits[entry["round"]] = entry, []
        self._spend(entry, 1)

    def _spend(self, entry: Entry, sign: int) -> None:
        """Charge a reserve in every balance, or (sign −1) take it back; no cap may be passed."""
        noise = [one["mechanism"] for one in entry["steps"]]
        person = sum(len(one["adders"]) * cost(one, 1) for one in noise)
        for who, row in {**entry["charge"], "person": dict.fromkeys(entry["blocks"], person)}.items():
            for at, nano in (*row.items(), ("lifetime", sum(row.values()))):
                self.spent[who, at] += sign * nano
                need(sign < 0 or self.spent[who, at] <= self.caps.get((who, at), -1), f"over the cap of {who} in {at}")

    def _refund(self, entry: Entry) -> None:
        name = entry["round"]
        need(self.ended.get(name) == "forfeit" and not self.commits[name], "a round that cannot be refunded")
        need(set(entry["signatures"]) == set(self.reserves[name]["charge"]), "not signed by exactly the charged parties")
        self._signed("refund", {"round": name, "sent": "nothing"}, entry["signatures"], {})
        self._spend(self.reserves[name], -1)
        self.ended[name] = "refund"

    # -- what happened --

    def _commit(self, entry: Entry) -> None:
        reserve, done = self._open(entry), self.commits[entry["round"]]
        one = reserve["steps"][len(done)]
        need(one["step"] == entry["step"] and entry["time"] <= reserve["expires"], "not the next step, or too late")
        need(set(entry["survivors"]) <= set(one["mechanism"]["adders"]), "survivors who add no noise")
        need(len(entry["survivors"]) >= one["mechanism"]["quorum"], "fewer survivors than the quorum")
        self._once("a release", entry["digest"])
        done.append(entry)
        if len(done) == len(reserve["steps"]):
            self.ended[entry["round"]] = "commit"

    def _forfeit(self, entry: Entry) -> None:
        self._open(entry)
        self.ended[entry["round"]] = "forfeit"

    def _open(self, entry: Entry) -> Entry:
        need(entry["round"] in self.reserves and entry["round"] not in self.ended, "a round that is not open")
        return self.reserves[entry["round"]]

    def _reuse(self, entry: Entry) -> None:
        need(self.ended.get(entry["round"]) == "commit", "a round that has not released all its steps")
        asked = self.reserves[entry["round"]]
        need((entry["plan"], entry["datasets"]) == (asked["plan"], asked["datasets"]), "of another plan, or data")

    def _deny(self, entry: Entry) -> None:
        need(set(entry["parties"]) <= set(self.now.in_force()), "somebody who is not a party in force")

    def _egress(self, entry: Entry) -> None:
        last = self.egress.get(entry["party"], {"day": "", "size": 0, "root": entry["root"]})
        today = datetime.fromtimestamp(min(entry["time"], 10**11), UTC).date().isoformat()
        need(last["day"] < entry["day"] < today and entry["size"] >= last["size"], "not the next day")
        need(entry["size"] > last["size"] or entry["root"] == last["root"], "another root of the same size")
        self._signed("egress", entry, {entry["party"]: entry["signature"]}, {})
        self.egress[entry["party"]] = entry

    def _audit(self, entry: Entry) -> None:
        need(("a key", entry["key"]) not in self.once, "an auditor with a member's key")
        need(entry["size"] <= entry["seq"] and self.roots[entry["size"]].hex() == entry["root"], "of another ledger")
        self._once("a verdict", entry["key"], str(entry["size"]), entry["bundle"])
        self._signed("audit", entry, {entry["auditor"]: entry["signature"]}, {entry["auditor"]: entry})

    def lacking(self, entry: Entry, note: Note) -> str:
        """Whose cosignature this entry still needs on a checkpoint that brings it (checkpoint 19, ledger changes 10)."""
        kind, members = entry["type"].split("@")[0], self.members_at(entry["seq"] + 1)
        if kind in ("genesis", "key", "party", "grant", "dataset", "plan", "reserve"):
            return ", ".join(sorted(set(members.in_force()) - note.signers))
        if kind == "commit":
            steps = self.reserves[entry["round"]]["steps"]
            noise = next(one["mechanism"] for one in steps if one["step"] == entry["step"])
            if len(note.signers & set(entry["survivors"])) < threshold(len(noise["adders"]), noise["collusion"]):
                return "more of its survivors"
        return "" if len(note.signers) >= min(members.quorum, len(members.in_force())) else "more parties"

# == Plans and releases ================================================================================================

def pointers(tree: Any, at: str = "") -> list[str]:
    """Release 9: the path of every figure. Violation where a leaf is none, or a map below the top is empty."""
    need(isinstance(tree, dict) and (bool(tree) or not at), f"{at or 'the answer'} is no map of figures")
    if "value" in tree:
        need(set(tree) in ({"value"}, {"value", "low", "high"}, {"value", "low", "high", "consistent"}), f"{at}: no figure")
        need(all(isinstance(one, str) for one in tree.values()), f"{at}: not of texts")
        need(len(tree) > 1 or tree["value"] == "too noisy", f"{at}: a number without its interval")
        return [at]
    escaped = [(one, name.replace("~", "~0").replace("/", "~1")) for name, one in tree.items()]
    return [found for one, name in escaped for found in pointers(one, f"{at}/{name}")]

def check_plan(data: bytes, digest: str, ledger: Ledger) -> None:
    """The plan of this digest, and that every reserve of it is one: the rest of its rules are not asked here."""
    need(sha256(data).hex() == digest, "not the plan of its name")
    plan, approved = parse(data), ledger.plans[digest]
    need(isinstance(plan, dict) and plan.get("type") == "plan@v1", "not a plan")
    need(plan["room"] == ledger.room and plan["parties"] == approved["parties"], "of another room, or of other parties")
    for reserve in [one for one in ledger.reserves.values() if one["plan"] == digest]:
        need(sorted(reserve["charge"]) == plan["parties"], f"entry {reserve['seq']} charges other parties")
        asked = {name: ledger.blocks[name] for name in reserve["blocks"]}
        need(asked == plan["blocks"], f"entry {reserve['seq']} charges other blocks, or of other days")
        noise = [one["mechanism"] for one in reserve["steps"]]
        same = all((one["quorum"], one["collusion"]) == (plan["quorum"], plan["collusion"]) for one in noise)
        need(same, f"entry {reserve['seq']} counts on other shares of noise")
        need(sum(one["charge"] for one in reserve["steps"]) <= plan["rho"], f"entry {reserve['seq']} spends more")

def check_release(data: bytes, commit: Entry, lines: Sequence[bytes], ledger: Ledger) -> None:
    """Release 1 to 9 and 11, but for the figures themselves."""
    release = parse(data)
    need(RELEASE(release) and BODY(release["body"]), "not what the page says of a release")
    body, proof, reserve = release["body"], release["proof"], ledger.reserves[commit["round"]]
    need(sha256(canonical(body)).hex() == commit["digest"], f"not the one that entry {commit['seq']} commits")
    step = next(one for one in reserve["steps"] if one["step"] == commit["step"])
    noise = step["mechanism"]
    said = {"room": ledger.room, "plan": reserve["plan"], "round": commit["round"], "step": commit["step"],
            "nonce": step["nonce"], "mechanism": noise, "survivors": commit["survivors"], "charge_record": step["charge"],
            "recipients": commit["recipients"], "charge_person": len(noise["adders"]) * cost(noise, 1)}
    wrong = [at for at, value in said.items() if body[at] != value]
    need(not wrong, f"its {', '.join(wrong)}: not what the ledger says")
    need(len(body["noised"]) == noise["slots"], "another number of slots")
    need(sorted(pointers(body["answer"])) == sorted(commit["numbers"]), "not the numbers that the ledger lists")
    size, path = proof["size"], [unbase64(node) for node in proof["path"]]
    need(release["entry"] == commit["seq"] < size <= ledger.size, "another entry, or a size beyond the ledger")
    need(leads_to(lines[commit["seq"]], commit["seq"], size, path, ledger.roots[size]), "its proof leads elsewhere")
    key = ledger.members_at(size).coordinator
    message = b"sumroom/release/v1\0" + canonical(body)
    check_signed(False, unbase64(key["key"]), unbase64(release["signature"]), message, "the coordinator's signature")

# == The whole bundle ==================================================================================================

KNOWN = r"ledger/entries|ledger/checkpoints/[0-9]{10}|plans/[0-9a-f]{64}\.json|releases/.{33,73}\.(json|tlog-proof)|verify\.py"

class Audit:
    """Runs all checks; what one cannot be asked without another is passed over. checks: (name, problems, what was seen)."""
    def __init__(self, data: bytes, policy: bytes) -> None:
        self.checks = list[tuple[str, list[str], str]]()
        self.ledger, self.policy = Ledger(), Policy(policy)
        self.members = dict[str, bytes]()
        self._run("archive", lambda: self._archive(data))
        self.lines = self.members.get("ledger/entries", b"").split(b"\n")[:-1]
        if self.members and self._run("entries", self._entries):
            self._run("checkpoints", self._checkpoints)
            self._run("plans", self._plans)
            self._run("releases", self._releases)

    def _run(self, name: str, check: Callable[[], str]) -> bool:
        self.problems = list[str]()
        try:
            seen = check()
        except Violation as exc:
            self.problems.append(str(exc))
            seen = ""
        self.checks.append((name, self.problems, seen))
        return not self.problems

    def _each(self, what: str, check: Callable[[], None]) -> None:
        try:
            check()
        except (Violation, KeyError, TypeError) as exc:
            self.problems.append(f"{what}: {exc if isinstance(exc, Violation) else 'a field is missing or of another kind'}")

    def _archive(self, data: bytes) -> str:
        self.members = unpack(data)
        odd = [name for name in self.members if not re.fullmatch(KNOWN, name)]
        need(not odd, f"members that a bundle has not: {', '.join(odd)[:80]}")
        return f"{len(self.members)} members, spelled as the page says"

    def _entries(self) -> str:
        need(self.members.get("ledger/entries", b"").endswith(b"\n"), "no entries, or the last has no newline")
        for number, line in enumerate(self.lines):
            try:
                self.ledger.take(read_entry(line), line)
            except Violation as exc:
                raise Violation(f"entry {number}: {exc}") from None
        return f"{len(self.lines)} entries keep every rule; root {self.ledger.roots[-1].hex()}"

    def _checkpoints(self) -> str:
        ledger, notes, signers = self.ledger, list[Note](), set[str]()
        for name in [name for name in self.members if name.startswith("ledger/checkpoints/")]:
            def check(name: str = name) -> None:
                note = Note(self.members[name], ledger.members_at)
                need(name.endswith(f"/{note.size:010}"), "of another size than its name says")
                need(note.root == ledger.roots[note.size], "the root is not that of the entries: history was rewritten")
                notes.append(note)
            self._each(name, check)
        need(bool(self.problems) or (bool(notes) and notes[-1].size == ledger.size), "none covers the last entry")
        for entry in ledger.entries if not self.problems else []:
            lacks = [ledger.lacking(entry, note) for note in notes if note.size > entry["seq"]]
            if all(lacks):
                self.problems.append(f"entry {entry['seq']} lacks the cosignature of {lacks[0]}")
        trusted = self.policy.log | set(self.policy.witnesses.values())
        known = [members for _, members in ledger.history if members.keys() == trusted]
        need(bool(known), "the policy's keys were at no time the keys in force")
        signers = notes[-1].signers if notes else set()
        need(self.policy.satisfied(signers), "the policy's quorum has not cosigned the last checkpoint")
        return f"{len(notes)} cosigned by the keys in force; the policy's keys are among them; last by {len(signers)}"

    def _plans(self) -> str:
        found = {name[6:70] for name in self.members if name.startswith("plans/")}
        need(found == set(self.ledger.plans), "plans without an entry, or entries without their plan")
        for digest in found:
            self._each(f"plan {digest[:8]}", lambda digest=digest: check_plan(self.members[f"plans/{digest}.json"], digest, self.ledger))
        return f"{len(found)} approved by their parties; parties, blocks and shares of each reserve are its plan's"

    def _releases(self) -> str:
        commits = [entry for done in self.ledger.commits.values() for entry in done]
        names = {f"releases/{entry['round']}-{entry['step']}.json": entry for entry in commits}
        found = {name for name in self.members if name.startswith("releases/") and name.endswith(".json")}
        for name in sorted(found ^ set(names)):
            self.problems.append(f"{name}: {'no entry commits it' if name in found else 'missing'}")
        for name in sorted(found & set(names)):
            self._each(name, lambda name=name: check_release(self.members[name], names[name], self.lines, self.ledger))
        return f"{len(found)} with {sum(len(one['numbers']) for one in commits)} published numbers, each found in its entry"

NOT_CHECKED = (
    "whether figures and states follow from the noised sums, and a plan's mechanisms from its questions",
    "whether a node's data were real, and whether its noise was drawn as stated",
    "what parties told each other outside, and whether the policy's keys are truly theirs",
)

def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check a room's bundle, offline: entries, cosignatures, budgets, releases.")
    parser.add_argument("bundle", type=Path, help="room.tar")
    parser.add_argument("--policy", type=Path, required=True, help="the keys that you trust (C2SP tlog-policy)")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.parse_args(arguments)
    try:
        audit = Audit(asked.bundle.read_bytes(), asked.policy.read_bytes())
    except (Undecided, OSError) as exc:
        print(json.dumps({"verdict": "undecided", "why": str(exc)}) if asked.json else f"cannot decide: {exc}")
        return 2
    broken = [f"{name}: {one}" for name, problems, _ in audit.checks for one in problems]
    ledger = audit.ledger
    budgets = [{"who": who, "block": at, "cap": cap, "spent": ledger.spent[who, at]} for (who, at), cap in ledger.caps.items()]
    if asked.json:
        checks = [{"check": name, "problems": problems, "seen": seen} for name, problems, seen in audit.checks]
        verdict = "violation" if broken else "clean"
        print(json.dumps({"verdict": verdict, "checks": checks, "budgets_nano_rho": budgets, "not_checked": NOT_CHECKED}))
        return 1 if broken else 0
    for name, problems, seen in audit.checks:
        print(f"{'no' if problems else 'ok':4}{name:13}{seen or f'{len(problems)} problems'}")
        print(*(f"{'':17}{one}" for one in problems), sep="\n", end="\n" if problems else "")
    for one in budgets:
        print(f"    budget       {one['who']} in {one['block']}: ρ {one['spent'] / 1e9:.9f} of {one['cap'] / 1e9:.9f} spent")
    ends = [list(ledger.ended.values()).count(how) for how in ("forfeit", "refund")]
    print(f"    rounds       {len(ledger.reserves)} reserved; {ends[0]} forfeited, {ends[1]} refunded with all signatures")
    print(*(f"not checked here: {one}" for one in NOT_CHECKED), sep="\n")
    print("violation" if broken else "clean")
    return 1 if broken else 0

if __name__ == "__main__":
    sys.exit(main())
