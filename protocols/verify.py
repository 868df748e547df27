#!/usr/bin/env python3
"""Check a room's bundle, offline: python verify.py room.tar --policy policy.txt [--json]

One file that needs the standard library and `cryptography` only, and nothing of the project that made the bundle:
written from its pages `specs/*.md` alone, so that two programs must agree ("ledger entry 11" is rule 11 of that page).
policy.txt (C2SP tlog-policy) names the keys that you trust: have them from the parties, not from whoever gave you the
bundle. Exit status: 0 clean, 1 a violation, 2 cannot decide. What it does not check it says.
"""

# fmt: off
import argparse
import base64
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from functools import partial
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
        if -MOST <= (number := int(text)) <= MOST:
            return number
        raise ValueError
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
        raw = b"?"
    need(base64.b64encode(raw).decode() == text, "not Base64, or with stray bits")
    return raw
def check_signed(second: bool, key: bytes, signature: bytes, message: bytes, what: str) -> None:
    """By Ed25519 (RFC 8032) or, `second`, ML-DSA-44 (FIPS 204)."""
    kind: Any = Ed25519PublicKey
    try:
        if second:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
            kind = MLDSA44PublicKey
        kind.from_public_bytes(key).verify(signature, message)
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
    if len(data) < at + 512:
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
        fits, right = fits and last > 0, at % 2 or at == last
        node = sha256(b"\1" + other + node if right else b"\1" + node + other)
        while right and at and at % 2 == 0:
            at, last = at // 2, last // 2
        at, last = at // 2, last // 2
    return fits and last == 0 and node == root

# == The tables of the pages ===========================================================================================

def holds(rule: Shape) -> Shape:
    """The rule, which does not hold either where it cannot be asked."""
    def fits(value: Any) -> bool:
        try:
            return rule(value)
        except (Violation, ValueError, TypeError):
            return False
    return fits
def text(pattern: str) -> Shape:
    return holds(lambda value: re.fullmatch(pattern, value) is not None)
def whole(least: int) -> Shape:
    return lambda value: type(value) is int and least <= value <= MOST
def listed(item: Shape, least: int, most: int) -> Shape:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(item, value))
def distinct(item: Shape, least: int, most: int) -> Shape:
    return lambda value: listed(item, least, most)(value) and len({canonical(one) for one in value}) == len(value)
def ascending(least: int) -> Shape:
    return lambda value: listed(NAME, least, 64)(value) and value == sorted(set(value))
def mapped(item: Shape, least: int = 0, most: int = MOST, *, name: Shape | None = None) -> Shape:
    return lambda value: (isinstance(value, dict) and least <= len(value) <= most
                          and all((name or NAME)(at) and item(one) for at, one in value.items()))
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

NAME, COUNT, POSITIVE, BASE64 = text("[a-z][a-z0-9_-]{0,39}"), whole(0), whole(1), base64_of()
HEX16, DIGEST, KEY = text("[0-9a-f]{32}"), text("[0-9a-f]{64}"), base64_of(32)
POINTER = text(r"(?=[\s\S]{1,400}\Z)(/([^~/]|~[01])*)+")
TYPES: dict[str, Shape] = {
    "Name": NAME, "Hex16": HEX16, "Digest": DIGEST, "Count": COUNT, "Positive": POSITIVE, "Base64": BASE64,
    "Decimal": text(r"(0|[1-9][0-9]{0,24})(\.[0-9]{0,5}[1-9])?"), "Object": lambda value: isinstance(value, dict),
    "Date": holds(lambda value: date.fromisoformat(value).isoformat() == value), "KeyName": key_name,
    "Key32": KEY, "Key1312": base64_of(1312), "Names": distinct(NAME, 1, MOST), "Parties": ascending(1),
    "NoParties": ascending(0), "Hashes": listed(KEY, 0, MOST), "Pointers": distinct(POINTER, 0, 100_000),
    "Integers": listed(whole(-MOST), 1, MOST), "Nano": mapped(COUNT), "Charge": mapped(mapped(COUNT)),
    "Raised": mapped(POSITIVE), "Versions": mapped(HEX16), "Caps": mapped(mapped(POSITIVE, 1), 1),
    "Signed": mapped(BASE64), "Others": mapped(BASE64, 0, 65, name=key_name)}
TYPES |= {
    "Key1": record("key:Key32"), "Key2": record("key:Key32 ml_dsa_44:Key1312"), "Block": record("first:Date last:Date"),
    "Limits": record("record:Charge person:Nano lifetime_record:Nano lifetime_person:Count"),
    "Own": record("old?:Base64 new?:Base64 new_ml_dsa_44?:Base64"), "Proof": record("size:Positive path:Hashes"),
    "Mechanism": record("name=discrete_gaussian sensitivity_sq:Positive variance:Decimal slots:Positive adders:Parties "
                        "quorum:Positive collusion:Count")}
TYPES |= {
    "Members1": mapped(TYPES["Key1"], 1, 64), "Members2": mapped(TYPES["Key2"], 1, 64),
    "Blocks": mapped(TYPES["Block"]),
    "Steps": distinct(record("step:Name nonce:Hex16 mechanism:Mechanism charge:Positive"), 1, 1000)}
GENESIS = ("room:Name origin:KeyName unit=person×party×block accountant=zcdp blocks:Blocks caps:Limits "
           "cosign_quorum:Positive")
ENTRIES = {kind: record(f"seq:Count time:Count type={kind} {fields}") for kind, fields in {
    "genesis@v1": f"{GENESIS} coordinator:Key1 parties:Members1",
    "genesis@v2": f"{GENESIS} coordinator:Key2 parties:Members2",
    "key@v1": "action=add|rotate|revoke member:KeyName key:Key32 ml_dsa_44?:Key1312 own:Own others:Others",
    "party@v1": "action=join|leave party:Name key:Key32 ml_dsa_44?:Key1312 caps:Raised cosign_quorum:Positive own:Own "
                "others:Others",
    "grant@v1": "blocks:Blocks caps:Caps signatures:Signed",
    "dataset@v1": "party:Name version:Hex16 blocks:Names commitment:Digest schema_digest:Digest people_cap:Positive "
                  "signature:Base64",
    "plan@v1": "plan:Digest parties:Parties approvals:Signed",
    "reserve@v1": "round:Hex16 plan:Digest steps:Steps blocks:Names charge:Charge datasets:Versions expires:Count "
                  "holds:Signed",
    "commit@v1": "round:Hex16 step:Name digest:Digest recipients:Names numbers:Pointers survivors:Parties",
    "forfeit@v1": "round:Hex16 reason=party-unavailable|deadline|refused|coordinator-restart|integrity",
    "refund@v1": "round:Hex16 signatures:Signed",
    "reuse@v1": "round:Hex16 plan:Digest datasets:Versions",
    "deny@v1": "plan:Digest reason=not-approved|not-held|over-cap parties:NoParties",
    "egress@v1": "party:Name day:Date size:Count root:Digest signature:Base64",
    "audit@v1": "auditor:Name key:Key32 size:Positive root:Digest bundle:Digest policy:Digest verdict=clean|violation "
                "signature:Base64"}.items()}
RELEASE = record("body:Object signature:Base64 entry:Count proof:Proof")
BODY = record("type=release@v1 room:Name plan:Digest round:Hex16 step:Name nonce:Hex16 recipients:Names "
              "survivors:Names mechanism:Mechanism charge_record:Positive charge_person:Positive noised:Integers "
              "answer:Object state?:Object salt:Digest")
def read_entry(data: bytes) -> Entry:
    value = parse(data)
    need(len(data) <= 1 << 20 and isinstance(value, dict), "too long, or no map")
    need(value.get("type") in list(ENTRIES), "of no known type")
    need(ENTRIES[value["type"]](value), f"not what the page says of {value['type']}")
    return dict(value)

# == Who is in force, and the checkpoints that they sign ===============================================================

Member = dict[str, str]  # `key` and, where it has one, `ml_dsa_44`, in Base64; empty while its keys are revoked
VKey = tuple[str, int, bytes]  # name, kind, public key
LENGTH = {1: 64, 4: 8 + 64, 6: 8 + 2420}  # kind → bytes of a signature, with its time
def key_id(key: VKey) -> bytes:
    return sha256(key[0].encode() + b"\n" + bytes([key[1]]) + key[2])[:4]
def vkey_text(key: VKey) -> str:
    return f"{key[0]}+{key_id(key).hex()}+{base64.b64encode(bytes([key[1]]) + key[2]).decode()}"

class Members(NamedTuple):
    """Who is in the room from one size of the ledger on."""
    origin: str
    coordinator: Member
    parties: dict[str, Member]
    quorum: int
    def in_force(self) -> dict[str, Member]:
        return {party: member for party, member in self.parties.items() if member}
    def vkeys(self) -> set[VKey]:
        """Of the log (kinds 1 and 6, under the origin) and of the cosigners (4 and 6)."""
        everybody = [(self.origin, 1, self.coordinator), *((party, 4, one) for party, one in self.parties.items())]
        return {(who, kind if at == "key" else 6, unbase64(raw)) for who, kind, m in everybody for at, raw in m.items()}

class Note:
    """A checkpoint: its three lines, and who signed it. All is checked here but for the root, which needs entries."""
    def __init__(self, data: bytes, members_at: Callable[[int], Members]) -> None:
        head, between, tail = data.decode().partition("\n\n")
        words, lines = head.split("\n"), tail[:-1].split("\n")
        need(bool(between) and len(words) == 3 and tail.endswith("\n"), "not three lines and signatures")
        need(re.fullmatch(r"0|[1-9][0-9]{0,15}", words[1]) is not None and int(words[1]) <= MOST, "no size")
        self.origin, self.size, self.root, self.text = words[0], int(words[1]), unbase64(words[2]), head + "\n"
        members = members_at(self.size)
        need(len(self.root) == 32 and self.origin == members.origin, "no root, or of another ledger")
        own = f"— {self.origin} "
        in_order = sorted(lines, key=lambda line: (0, len(line), "") if line.startswith(own) else (1, 0, line))
        need(lines == in_order and len(lines) <= 130, "lines not in their order, or too many")
        keys, times = {(key[0], key_id(key)): key for key in members.vkeys()}, dict[VKey, int]()
        for line in lines:
            need(re.fullmatch(r"— \S+ \S+", line) is not None, "not a signature line")
            who, raw = line[2:].split(" ")
            key, payload = keys.get((who, unbase64(raw)[:4]), ("", 0, b"")), unbase64(raw)[4:]
            need(bool(key[1]) and key not in times, f"a line of {who[:60]} by a key that is not in force, or twice")
            times[key] = self.time_of(*key, payload)
        self.signers = {key[0] for key in times}
        need(self.origin in self.signers, "the log's own signature is missing")
        for who in self.signers:
            need({key for key in keys.values() if key[0] == who} <= set(times), f"{who} signed with one key of two")
            need(len({time for key, time in times.items() if key[0] == who and time}) <= 1, f"{who} has two times")
        self.signers -= {self.origin}
    def time_of(self, who: str, kind: int, public: bytes, payload: bytes) -> int:
        """The signature must verify; when it was made, 0 where it does not say."""
        need(len(payload) == LENGTH[kind], f"the signature of {who} has another length")
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
        self.keys, self.quorum, names, members = list[str](), "", ["none"], list[str]()
        self.groups: dict[str, tuple[int, list[str]]] = {"none": (0, [])}  # a witness is a group of its key's name
        for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
            kind, *rest = [word for word in re.split("[ \t]", line) if word] or ["#"]
            n, good = len(rest), not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line)
            try:
                if (kind == "log" and n in (1, 2)) or (kind == "witness" and n in (2, 3)):
                    self.keys.append(rest[kind == "witness"])
                    who, raw = self.keys[-1].split("+")[0], unbase64([*self.keys[-1].split("+", 2), "", ""][2]) + b"\0"
                    good &= self.keys[-1] == vkey_text((who, raw[0], raw[1:-1])) and key_name(who)
                    if kind == "witness":
                        names.append(rest[0])
                        self.groups[rest[0]] = (1, ["+" + who])
                elif kind == "group" and n > 2:
                    least = {"all": n - 2, "any": 1}.get(rest[1]) or int(rest[1])
                    good &= set(rest[2:]) <= set(self.groups) - {"none"} and 1 <= least <= n - 2
                    names, members = [*names, rest[0]], members + rest[2:]
                    self.groups[rest[0]] = (least, rest[2:])
                elif kind == "quorum" and n == 1 and not self.quorum and rest[0] in self.groups:
                    self.quorum = rest[0]
                else:
                    good &= kind.startswith("#")
            except (Violation, ValueError):
                good = False
            if not good or any(len(set(many)) < len(many) for many in (self.keys, names, members)):
                raise Undecided(f"line {number} is not one of a policy")
        if not self.quorum or not self.keys:
            raise Undecided("the policy has no keys, or no quorum")
    def satisfied(self, parties: Collection[str], who: str) -> bool:
        """By the cosignatures of these parties, each with all its keys."""
        if who[0] == "+":
            return who[1:] in parties
        return sum(self.satisfied(parties, one) for one in self.groups[who][1]) >= self.groups[who][0]

# == Cost (ledger entry 11 and 12), in nano-ρ =========================================================================

def millionths(noise: Entry) -> int:
    before, _, after = noise["variance"].partition(".")
    return int(before + after.ljust(6, "0"))
def cost(noise: Entry, honest: int) -> int:
    """Of a record with h = max(1, quorum − collusion); of a person, at n parties, n times that with h = 1."""
    return int(-(-noise["sensitivity_sq"] * 10**15 // (2 * honest * millionths(noise))))
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
        self.entries, self.history = list[Entry](), list[tuple[int, Members]]()  # from so many on: these
        self.caps, self.spent = dict[tuple[str, str], int](), dict[tuple[str, str], int]()  # (who, block) → nano-ρ
        self.blocks, self.data, self.plans, self.egress, self.reserves = (dict[str, Entry]() for _ in range(5))
        self.commits, self.ended, self.last_key = dict[str, list[Entry]](), dict[str, str](), dict[str, str]()
        self.declared = dict[tuple[str, str], Entry]()  # party, version → its dataset
        self.came = set[tuple[str, ...]]()  # what may come once only
    def members_at(self, size: int) -> Members:
        found = [members for since, members in self.history if since <= size <= self.size]
        need(bool(found), "of a size that this ledger never had")
        return found[-1]
    def once(self, what: str, *which: str) -> None:
        need((what, *which) not in self.came, f"{what} for the second time")
        self.came.add((what, *which))
    def signed(self, purpose: str, body: Entry, by: dict[str, str], of: dict[str, Member], second: str = "") -> None:
        """by: name → signature, over the entry without its signatures and its place, and with the room."""
        out = {"signature", "signatures", "approvals", "holds", "own", "others", "seq", "time"}
        body = {at: one for at, one in body.items() if at not in out} | {"room": self.room}
        message = f"sumroom/{purpose}/v1\0".encode() + canonical(body)
        for who, signature in by.items():
            need(bool(of.get(who)), f"{who} is not in force")
            key, what = of[who]["ml_dsa_44" if who == second else "key"], f"the {purpose} signature of {who}"
            check_signed(who == second, unbase64(key), unbase64(signature), message, what)
    def consented(self, entry: Entry, old: Member, new: Member, own: str, others: dict[str, Member]) -> None:
        want = set(own.split()) | ({"new_ml_dsa_44"} if own and "ml_dsa_44" in new else set())
        need(set(entry["own"]) == want and set(entry["others"]) == set(others), "not signed by exactly those who must")
        self.signed("change", entry, entry["own"], {"old": old, "new": new, "new_ml_dsa_44": new}, "new_ml_dsa_44")
        self.signed("change", entry, entry["others"], others)
        for at in new:
            if at == "ml_dsa_44" or "new" in own.split():
                self.once("a key", new[at])
    def spend(self, entry: Entry, sign: int) -> None:
        """Charge a reserve in every balance, or (sign −1) take it back; no cap may be passed."""
        person = sum(len(one["mechanism"]["adders"]) * cost(one["mechanism"], 1) for one in entry["steps"])
        for who, row in {**entry["charge"], "person": dict.fromkeys(entry["blocks"], person)}.items():
            for at, nano in (*row.items(), ("lifetime", sum(row.values()))):
                used = self.spent[who, at] = self.spent.get((who, at), 0) + sign * nano
                need(sign < 0 or used <= self.caps.get((who, at), -1), f"over the cap of {who} in {at}")

    def take(self, entry: Entry, data: bytes) -> None:
        kind, now = entry["type"].split("@")[0], self.history[-1][1] if self.size else Members("", {"key": ""}, {}, 0)
        blocks, name = entry.get("blocks", {}), entry.get("round", "")
        who = str(entry.get("party") or entry.get("member"))
        reserve, force, after = self.reserves.get(name, {}), now.in_force(), now
        new: Member = {at: entry[at] for at in ("key", "ml_dsa_44") if at in entry}
        others = {member: keys for member, keys in force.items() if member != who}
        need(entry["seq"] == self.size and entry["time"] >= self.time, "not the next number, or from the past")
        need((kind == "genesis") == (self.size == 0), "the first entry, and no other, is a genesis")
        if not now.coordinator:
            need(kind == "key" and who == now.origin, "the coordinator's key is revoked, and this gives it no new one")
        if kind in ("dataset", "reserve"):
            need(set(blocks) <= set(self.blocks), "a block that the room has not")
        if kind in ("commit", "forfeit"):
            need(bool(reserve) and name not in self.ended, "a round that is not open")
        match kind:
            case "genesis":
                parties, caps = entry["parties"], entry["caps"]
                after = Members(entry["origin"], entry["coordinator"], parties, entry["cosign_quorum"])
                for member in (entry["coordinator"], *parties.values()):
                    for key in member.values():
                        self.once("a key", key)
                need(not {"person", after.origin} & set(parties) and "lifetime" not in blocks, "a name that is taken")
                need(after.quorum <= len(parties), "a quorum of more than all parties")
                rows = {**caps["record"], "person": caps["person"]}
                ever = {**caps["lifetime_record"], "person": caps["lifetime_person"]}
                need(set(rows) == set(ever) == {*parties, "person"}, "caps that are not of exactly the parties")
                need(all(set(row) == set(blocks) for row in rows.values()), "caps that are not of exactly the blocks")
                self.caps = {(who, at): n for who in rows for at, n in {**rows[who], "lifetime": ever[who]}.items()}
                self.room, self.blocks = entry["room"], dict(blocks)
                check_days(blocks.values())
            case "key":  # ledger changes 1 to 4
                need(who == now.origin or who in now.parties, "not a member of this room")
                old, action = now.coordinator if who == now.origin else now.parties[who], entry["action"]
                others |= {now.origin: now.coordinator} if now.coordinator and who != now.origin else {}
                good = {"revoke": bool(old) and new == {"key": old["key"]} and (who == now.origin or len(force) > 1),
                        "rotate": bool(old) and set(old) <= set(new),
                        "add": len(new) == 2 and (not old or old == {"key": new["key"]})}[action]
                need(good, f"keys that nobody can {action} so")
                own = {"revoke": "", "rotate": "old new", "add": "old" if old else "new"}[action]
                self.consented(entry, old, new, own, others if action == "revoke" or not old else {})
                new = {} if action == "revoke" else new
                after = (now._replace(coordinator=new) if who == now.origin
                         else now._replace(parties={**now.parties, who: new}))
            case "party":  # ledger changes 5
                parties = dict(now.parties)
                if entry["action"] == "join":
                    need(who not in (*parties, now.origin, "person"), "a name that is taken")
                    need(len(new) == 2 or all(len(one) == 1 for one in force.values()), "others have two keys")
                    need(set(entry["caps"]) == {*self.blocks, "lifetime"}, "caps that are not of exactly the blocks")
                    self.consented(entry, {}, new, "new", force)
                    self.caps.update({(who, at): cap for at, cap in entry["caps"].items()})
                    parties[who] = new
                else:
                    need(who in parties and new == {"key": self.last_key[who]}, "not a party, or not its last key")
                    need(entry["caps"] == {} and bool(others), "caps, or the last party in force")
                    still = [at for at, one in self.reserves.items() if who in one["charge"] and at not in self.ended]
                    need(not still, "a round that charges it is open")
                    alone = bool(entry["own"]) and who in force
                    self.consented(entry, parties.pop(who), {}, "old" if alone else "", {} if alone else others)
                after = now._replace(parties=parties, quorum=entry["cosign_quorum"])
                need(len(parties) <= 64 and len(parties) // 2 < after.quorum <= len(parties), "no majority")
            case "grant":  # ledger changes 6
                caps, room = entry["caps"], {*now.parties, "person"}
                need(not set(blocks) & {*self.blocks, "lifetime"}, "a block of a name that is taken")
                need(set(caps) <= room and (not blocks or set(caps) == room), "not of the room, or not of all of it")
                for one, row in caps.items():
                    need(set(blocks) <= set(row) <= {*self.blocks, *blocks, "lifetime"}, "not of exactly the blocks")
                    need(all(cap > self.caps.get((one, at), 0) for at, cap in row.items()), "a cap that is not raised")
                    need(one in force or one == "person" or set(row) <= set(blocks), "a revoked party's old cap")
                want = set(force) if blocks or "person" in caps else set(caps)
                need(set(entry["signatures"]) == want, "not signed by exactly those whose data it is")
                self.signed("change", entry, entry["signatures"], force)
                check_days([*self.blocks.values(), *blocks.values()])
                self.blocks.update(blocks)
                self.caps.update({(one, at): cap for one, row in caps.items() for at, cap in row.items()})
            case "dataset":
                self.once("a version of data", who, entry["version"])
                self.signed("dataset", entry, {who: entry["signature"]}, force)
                self.data[who] = self.declared[who, entry["version"]] = entry
            case "plan":
                need(set(entry["approvals"]) == set(entry["parties"]), "approvals are not of exactly the parties")
                self.once("a plan", entry["plan"])
                self.signed("approval", {"plan": entry["plan"]}, entry["approvals"], force)
                self.plans[entry["plan"]] = entry
            case "reserve":
                charged, steps, plan = entry["charge"], entry["steps"], self.plans.get(entry["plan"], {"parties": []})
                need(bool(charged) and set(charged) <= set(plan["parties"]), "no plan of the ledger, or of others")
                need(entry["expires"] > entry["time"], "it expires before it begins")
                need(len({one["step"] for one in steps}) == len(steps), "two steps of one name")
                self.once("a round", name)
                for one in steps:
                    self.once("a nonce", one["nonce"])
                    check_noise(one["mechanism"], one["charge"])
                    need(set(one["mechanism"]["adders"]) == set(charged), "who adds noise is not who is charged")
                row = dict.fromkeys(blocks, sum(one["charge"] for one in steps))
                need(all(one == row for one in charged.values()), "not the steps' sum in exactly the blocks")
                need(set(entry["datasets"]) == set(charged) == set(entry["holds"]), "data or holds of others")
                for one, version in entry["datasets"].items():
                    last = self.data.get(one, {"version": "", "blocks": []})
                    need(last["version"] == version and set(blocks) <= set(last["blocks"]), f"not {one}'s last data")
                self.signed("hold", entry, entry["holds"], force)
                self.spend(entry, 1)
                self.reserves[name], self.commits[name] = entry, []
            case "commit":
                one, done = reserve["steps"][len(self.commits[name])], self.commits[name]
                need(one["step"] == entry["step"] and entry["time"] <= reserve["expires"], "not its next step, or late")
                need(set(entry["survivors"]) <= set(one["mechanism"]["adders"]), "survivors who add no noise")
                need(len(entry["survivors"]) >= one["mechanism"]["quorum"], "fewer survivors than the quorum")
                self.once("a release", entry["digest"])
                done.append(entry)
                self.ended.update({name: kind} if len(done) == len(reserve["steps"]) else {})
            case "forfeit":
                self.ended[name] = kind
            case "refund":  # ledger changes 7
                need(self.ended.get(name) == "forfeit" and not self.commits[name], "a round that cannot be refunded")
                need(set(entry["signatures"]) == set(reserve["charge"]), "not signed by exactly the charged parties")
                self.signed("refund", {"round": name, "sent": "nothing"}, entry["signatures"], force)
                self.spend(reserve, -1)
                self.ended[name] = kind
            case "reuse":
                need(self.ended.get(name) == "commit", "a round that has not released all its steps")
                need(all(entry[at] == reserve[at] for at in ("plan", "datasets")), "of another plan, or other data")
            case "deny":
                need(set(entry["parties"]) <= set(force), "somebody who is not a party in force")
            case "egress":  # ledger changes 8
                last = self.egress.get(who, {"day": "", "size": 0, "root": entry["root"]})
                today = datetime.fromtimestamp(min(entry["time"], 10**11), UTC).date().isoformat()
                need(last["day"] < entry["day"] < today and entry["size"] >= last["size"], "not a later day, or less")
                need(entry["size"] > last["size"] or entry["root"] == last["root"], "another root of the same size")
                self.signed("egress", entry, {who: entry["signature"]}, force)
                self.egress[who] = entry
            case "audit":  # ledger changes 8
                need(("a key", entry["key"]) not in self.came, "an auditor with a member's key")
                need(entry["size"] <= self.size and self.roots[entry["size"]].hex() == entry["root"], "another root")
                self.once("a verdict", entry["key"], str(entry["size"]), entry["bundle"])
                self.signed("audit", entry, {"its auditor": entry["signature"]}, {"its auditor": entry})
        self.roots.append(self.tree.add(data))
        self.entries.append(entry)
        self.size, self.time = self.size + 1, entry["time"]
        if after is not now:
            self.history.append((self.size, after))
            self.last_key.update({who: member["key"] for who, member in after.in_force().items()})

    def lacks(self, entry: Entry, signers: set[str]) -> str:
        """Whose cosignature this entry needs on a checkpoint that brings it (checkpoint 19, ledger changes 10)."""
        kind, members = entry["type"].split("@")[0], self.members_at(entry["seq"] + 1)
        if kind in ("genesis", "key", "party", "grant", "dataset", "plan", "reserve"):
            return ", ".join(sorted(set(members.in_force()) - signers))
        if kind == "commit":
            noise = {one["step"]: one["mechanism"] for one in self.reserves[entry["round"]]["steps"]}[entry["step"]]
            if len(signers & set(entry["survivors"])) < threshold(len(noise["adders"]), noise["collusion"]):
                return "more of its survivors"
        return "" if len(signers) >= min(members.quorum, len(members.in_force())) else "more parties"

# == Plans and releases ================================================================================================

def pointers(tree: Any, at: str = "") -> list[str]:
    """Release 9: the path of every figure; a leaf is one, and no map below the top is empty."""
    need(isinstance(tree, dict) and (bool(tree) or not at), f"{at or 'the answer'} is no map of figures")
    if "value" not in tree:
        names = {name: name.replace("~", "~0").replace("/", "~1") for name in tree}
        return [found for name, path in names.items() for found in pointers(tree[name], f"{at}/{path}")]
    figure = set(tree) - {"consistent"} == {"value", "low", "high"} or tree == {"value": "too noisy"}
    need(figure and all(isinstance(one, str) for one in tree.values()), f"{at} is no figure with its interval")
    return [at]

def planned(plan: Entry) -> list[tuple[str, int, int, int]]:
    """Step, Δ², slots and nano-ρ of each step (the pages plan and question)."""
    found = list[tuple[str, int, int, int]]()
    for asked in plan["questions"]:
        rho, big = asked["rho"], 2**32
        if asked["kind"] == "rfm":
            bins = sum(len(asked[at]) + 1 for at in ("recency_days", "frequency_baskets", "monetary_units"))
            found += [("rfm-cuts", 3, bins + 1, rho["cuts"]), ("rfm-cohorts", 5, 25 + 8 + 1, rho["cohorts"])]
        else:
            d, k, own = len(asked["features"]), asked["clusters"], len(asked["features"]) + 1
            found += [("seg-moments", 3 * d * big, 2 * d + 2, rho["moments"])]
            found += [("seg-covariance", big, d * own // 2 + 1, rho["covariance"])] if d > 2 else []
            found += [("seg-coarse", 1, asked["coarse_cells"] + 1, rho["coarse"])]
            found += [("seg-fine", 1, asked["fine_cells"] + 2, rho["fine"])]
            found += [("seg-over", big, 4 * k * own + 1, rho["over"])]
            found += [(f"seg-lloyd-{n + 1}", big, k * own + 2, rho["lloyd"]) for n in range(asked["lloyd_rounds"])]
            found += [("seg-profile", big, k * own + 1, rho["profile"])]
    return found
def check_plan(data: bytes, digest: str, ledger: Ledger) -> None:
    """The plan of this digest, and that every reserve of it is one: the rest of its own rules are not asked here."""
    plan = parse(data)
    need(sha256(data).hex() == digest and plan["type"] == "plan@v1", "not the plan of its name")
    need((plan["room"], plan["parties"]) == (ledger.room, ledger.plans[digest]["parties"]), "not of who approved it")
    table = (sha256(canonical(plan["table"])).hex(), plan["people_cap"])
    h = max(1, plan["quorum"] - plan["collusion"])
    own = {"quorum": plan["quorum"], "collusion": plan["collusion"], "adders": plan["parties"]}
    noise = [(name, {"sensitivity_sq": squared, "slots": slots, **own}, -(-squared * 10**15 // (2 * h * rho)))
             for name, squared, slots, rho in planned(plan)]
    for one in [one for one in ledger.reserves.values() if one["plan"] == digest]:
        made = [(step["step"], {at: step["mechanism"][at] for at in ("sensitivity_sq", "slots", "quorum", "collusion",
                 "adders")}, millionths(step["mechanism"])) for step in one["steps"]]
        need(made == noise, f"entry {one['seq']} has other steps or noise than its plan")
        same = {at: ledger.blocks[at] for at in one["blocks"]} == plan["blocks"]
        need(same, f"entry {one['seq']} charges other blocks")
        data_of = [ledger.declared[at] for at in one["datasets"].items()]
        same = all((known["schema_digest"], known["people_cap"]) == table for known in data_of)
        need(same, f"entry {one['seq']} uses data of another table or cap")
def check_release(data: bytes, commit: Entry, line: bytes, ledger: Ledger) -> None:
    """Release 1 to 9 and 11, but for the figures themselves."""
    release = parse(data)
    need(RELEASE(release) and BODY(release["body"]), "not what the page says of a release")
    body, size, reserve = release["body"], release["proof"]["size"], ledger.reserves[commit["round"]]
    need(sha256(canonical(body)).hex() == commit["digest"], f"not the one that entry {commit['seq']} commits")
    step = next(one for one in reserve["steps"] if one["step"] == commit["step"])
    person = len(step["mechanism"]["adders"]) * cost(step["mechanism"], 1)
    said = {"room": ledger.room, "plan": reserve["plan"], "nonce": step["nonce"], "mechanism": step["mechanism"],
            "charge_record": step["charge"], "charge_person": person}
    said |= {at: commit[at] for at in ("round", "step", "survivors", "recipients")}
    wrong = [at for at, value in said.items() if body[at] != value]
    need(not wrong and len(body["noised"]) == step["mechanism"]["slots"], f"not as the ledger says: {wrong or 'slots'}")
    need(sorted(pointers(body["answer"])) == sorted(commit["numbers"]), "not the numbers that the ledger lists")
    need(release["entry"] == commit["seq"] and size <= ledger.size, "another entry, or a size beyond the ledger")
    path = [unbase64(node) for node in release["proof"]["path"]]
    need(leads_to(line, commit["seq"], size, path, ledger.roots[size]), "its proof leads elsewhere")
    key, message = ledger.members_at(size).coordinator["key"], b"sumroom/release/v1\0" + canonical(body)
    check_signed(False, unbase64(key), unbase64(release["signature"]), message, "the coordinator's signature")

def check_proof(data: bytes, commit: Entry, line: bytes, ledger: Ledger) -> None:
    """The page tlog-proof."""
    head, _, note = data.decode().partition("\n\n")
    first, index, *path = head.split("\n")
    need(first == "c2sp.org/tlog-proof@v1" and index == f"index {commit['seq']}" and len(path) <= 53, "no proof of it")
    checkpoint, nodes = Note(note.encode(), ledger.members_at), [unbase64(node) for node in path]
    need(all(len(node) == 32 for node in nodes) and checkpoint.root == ledger.roots[checkpoint.size], "another root")
    need(leads_to(line, commit["seq"], checkpoint.size, nodes, checkpoint.root), "it leads elsewhere")
    need(not ledger.lacks(commit, checkpoint.signers), "its checkpoint lacks cosignatures")

# == The whole bundle ==================================================================================================

KNOWN = re.compile(r"ledger/(entries|checkpoints/\d{10})|plans/[0-9a-f]{64}\.json|verify\.py"
                   r"|releases/[0-9a-f]{32}-[a-z][a-z0-9_-]{0,39}\.(json|tlog-proof)")
NOT_CHECKED = (
    "whether figures and states follow from the noised sums, and the other rules of a plan",
    "whether a node's data were real, and whether its noise was drawn as stated",
    "what parties told each other outside, and whether the policy's keys are truly theirs")

class Audit:
    """Runs all checks. checks: (name, what was seen, problems)."""
    def __init__(self, data: bytes, policy: bytes) -> None:
        self.policy, self.ledger, self.checks = Policy(policy), Ledger(), list[tuple[str, str, list[str]]]()
        self.data, self.members, self.notes, self.problems = data, dict[str, bytes](), list[Note](), list[str]()
        for check in (self.archive, self.entries, self.checkpoints, self.plans, self.releases):
            if not any(name in ("archive", "entries") and problems for name, _, problems in self.checks):
                self.problems, seen = [], list[str]()
                self.hold("", partial(lambda one, to: to.append(one()), check, seen))
                self.checks.append((check.__name__, "" if self.problems else seen[0], self.problems))
    def hold(self, what: str, check: Callable[[], None]) -> None:
        """Do a part of a check, and note what is wrong."""
        try:
            check()
        except Violation as exc:
            self.problems.append(what + str(exc))
        except (KeyError, TypeError, ValueError, AttributeError):
            self.problems.append(what + "a field is missing, or of another kind")
    def archive(self) -> str:
        self.members = unpack(self.data)
        odd = [name for name in self.members if not KNOWN.fullmatch(name)]
        need(not odd, f"members that a bundle has not: {', '.join(odd)[:80]}")
        return f"{len(self.members)} members, spelled as the page says"
    def entries(self) -> str:
        *self.lines, last = self.members.get("ledger/entries", b"?").split(b"\n")
        need(bool(self.lines) and not last, "no entries, or the last has no newline")
        for number, line in enumerate(self.lines):
            self.hold(f"entry {number}: ", partial(lambda line: self.ledger.take(read_entry(line), line), line))
            need(not self.problems, "what comes after it cannot be judged")
        return f"{len(self.lines)} keep every rule; root {self.ledger.roots[-1].hex()}"
    def checkpoints(self) -> str:
        ledger, trusted = self.ledger, set(self.policy.keys)
        for name in [name for name in self.members if name.startswith("ledger/checkpoints/")]:
            self.hold(f"{name}: ", partial(self.note, name))
        need(bool(self.notes) and self.notes[-1].size == ledger.size, "none covers the last entry")
        by_them = [note for note in self.notes if {*map(vkey_text, ledger.members_at(note.size).vkeys())} == trusted]
        need(bool(by_them), "the policy's keys are not those in force at any checkpoint")
        need(self.policy.satisfied(by_them[-1].signers, self.policy.quorum), "the policy's quorum has not cosigned")
        return f"{len(self.notes)}, cosigned by all whom their entries need, with keys that follow from the policy's"
    def note(self, name: str) -> None:
        note, before = Note(self.members[name], self.ledger.members_at), self.notes[-1].size if self.notes else 0
        need(name.endswith(f"/{note.size:010}"), "of another size than its name says")
        need(note.root == self.ledger.roots[note.size], "its root is not that of the entries: history was rewritten")
        self.notes.append(note)
        for entry in self.ledger.entries[before : note.size]:
            lacks = self.ledger.lacks(entry, note.signers)
            need(not lacks, f"entry {entry['seq']} lacks the cosignature of {lacks}")
    def plans(self) -> str:
        found = {name[6:70]: data for name, data in self.members.items() if name.startswith("plans/")}
        need(set(found) == set(self.ledger.plans), "plans without an entry, or entries without their plan")
        for at, data in found.items():
            self.hold(f"plan {at[:8]}: ", partial(check_plan, data, at, self.ledger))
        return f"{len(found)} approved by their parties; parties, blocks, data and noise of each reserve are its plan's"
    def releases(self) -> str:
        commits = [entry for done in self.ledger.commits.values() for entry in done]
        names = {f"releases/{entry['round']}-{entry['step']}": entry for entry in commits}
        found = {name for name in self.members if name.startswith("releases/")}
        for name in sorted({name for name in found if name.endswith(".json")} ^ {f"{name}.json" for name in names}):
            self.problems.append(f"{name}: {'no entry commits it' if name in found else 'missing'}")
        for name in sorted(found & {name + tail for name in names for tail in (".json", ".tlog-proof")}):
            entry, check = names[name.rpartition(".")[0]], check_release if name.endswith(".json") else check_proof
            self.hold(f"{name}: ", partial(check, self.members[name], entry, self.lines[entry["seq"]], self.ledger))
        return f"{len(names)} with {sum(len(one['numbers']) for one in commits)} numbers, each found in its entry"

def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check a room's bundle: entries, cosignatures, budgets, releases.")
    parser.add_argument("bundle", type=Path, help="room.tar")
    parser.add_argument("--policy", type=Path, required=True, help="the keys that you trust (C2SP tlog-policy)")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.parse_args(arguments)
    try:
        audit = Audit(asked.bundle.read_bytes(), asked.policy.read_bytes())
    except (Undecided, OSError) as exc:
        print(json.dumps({"verdict": "undecided", "why": str(exc)}) if asked.json else f"cannot decide: {exc}")
        return 2
    ledger, verdict = audit.ledger, "violation" if any(problems for _, _, problems in audit.checks) else "clean"
    spent = [(who, at, ledger.spent.get((who, at), 0), cap) for (who, at), cap in ledger.caps.items()]
    if asked.json:
        told = {"verdict": verdict, "checks": audit.checks, "spent_nano_rho": spent, "not_checked": NOT_CHECKED}
        print(json.dumps(told))
        return int(verdict != "clean")
    for name, seen, problems in audit.checks:
        print(f"{'no' if problems else 'ok':4}{name:13}{seen or len(problems)}", *problems, sep=f"\n{'':17}")
    for who, at, used, cap in spent:
        print(f"    budget       {who} in {at}: ρ {used / 10**9:.9f} of {cap / 10**9:.9f} spent")
    ends = [list(ledger.ended.values()).count(how) for how in ("forfeit", "refund")]
    print(f"    rounds       {len(ledger.reserves)} reserved; {ends[0]} forfeited, {ends[1]} refunded")
    print(*(f"not checked here: {one}" for one in NOT_CHECKED), verdict, sep="\n")
    return int(verdict != "clean")

if __name__ == "__main__":
    sys.exit(main())
