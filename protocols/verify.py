#!/usr/bin/env python3
"""Check a room's bundle, offline: python verify.py room.tar --policy policy.txt [--json]

One file that needs the standard library and `cryptography` only, and nothing of the project that made the bundle:
written from its pages `specs/*.md` alone, so that two programs must agree ("ledger entry 11" is rule 11 of that page).
policy.txt (C2SP tlog-policy) names the keys that you trust: have them from the parties, not from whoever gave you the
bundle. Exit status: 0 clean, 1 a violation, 2 cannot decide. What it does not check it says."""

# fmt: off
# ruff: noqa: E401, I001
import argparse, base64, hashlib, json, re, sys, tarfile
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from math import floor, log1p, prod
from pathlib import Path
from typing import Any, NamedTuple
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
Entry = dict[str, Any]
MOST = 2**53 - 1
Violation = ValueError  # a rule is broken, by `need` or where Python itself finds no value: no UTF-8, no such day
class Undecided(Exception):
    """There is too little here to say yes or no."""
def need(held: object, otherwise: str, error: type[Exception] = Violation) -> None:
    if not held:
        raise error(otherwise)
# == Bytes, archive (bundle 5 to 16), Merkle tree (RFC 6962 section 2.1, RFC 9162 section 2.1.3.2) =====================
def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
def canonical(value: Any) -> bytes:  # RFC 8785 for values without floats: names are sorted by their UTF-16 code units
    def ordered(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: ordered(part[name]) for name in sorted(part, key=lambda name: name.encode("utf-16-be"))}
        return [ordered(one) for one in part] if isinstance(part, list) else part
    return json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode()
def parse(data: bytes) -> Any:  # of which `data` is the one spelling (ledger entry 1 and 2)
    def integer(text: str) -> int:  # what is no integer goes through here too, and is none
        need(abs(number := int(text)) <= MOST, "an integer beyond 2^53 − 1")
        return number
    try:
        value = json.loads(data.decode(), parse_int=integer, parse_float=integer, parse_constant=integer)
        need(canonical(value) == data, "another spelling")
    except (ValueError, RecursionError):
        raise Violation("not JSON with integers only, in the canonical form of RFC 8785") from None
    return value
def unbase64(text: str) -> bytes:  # of which `text` is the one spelling
    raw = base64.b64decode(text)
    need(base64.b64encode(raw).decode() == text, "not Base64, or with stray bits")
    return raw
def check_signed(second: bool, key: bytes, signature: bytes, message: bytes, what: str) -> None:
    kind: Any = Ed25519PublicKey  # RFC 8032; or, `second`, ML-DSA-44 of FIPS 204
    try:
        if second:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
            kind = MLDSA44PublicKey
        kind.from_public_bytes(key).verify(signature, message)
    except ImportError:
        raise Undecided("this room has ML-DSA-44 keys: install a newer cryptography") from None
    except (InvalidSignature, ValueError):
        raise Violation(f"{what} does not verify") from None
KNOWN = re.compile(r"ledger/(entries|checkpoints/[0-9]{10})|plans/[0-9a-f]{64}\.json|verify\.py"
                   r"|releases/[0-9a-f]{32}-[a-z][a-z0-9_-]{0,39}\.(json|tlog-proof)")
def written(name: str, content: bytes) -> bytes:  # as it must be: nothing else in the header is the member's own
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT, "latin-1") + content + bytes(-len(content) % 512)
def unpack(data: bytes) -> dict[str, bytes]:  # name → content; a violation where written again it is another
    need(len(data) <= 1 << 30 and data[257:265] == b"ustar\x0000", "no POSIX archive, or more than 1 GiB", Undecided)
    members, at, before = dict[str, bytes](), 0, ""
    while len(head := data[at : at + 512]) == 512 and any(head):
        name, octal = head[:100].rstrip(b"\0").decode("latin-1"), head[124:135]
        size = int(octal, 8) if re.fullmatch(b"[0-7]{11}", octal) else 0
        content, end = data[at + 512 : at + 512 + size], at + 512 + -(-size // 512) * 512
        need(KNOWN.fullmatch(name) and before < name and len(members) < 500_000, f"{name[:60]!r} is not in its place")
        need(end <= len(data), f"the archive ends within {name[:60]!r}", Undecided)
        need(data[at:end] == written(name, content), f"{name[:60]!r} is not written as it must be")
        members[name], at, before = content, end, name
    need(len(head) == 512, "the archive's end is missing", Undecided)
    need(data[at:] == bytes(-(-(at + 1024) // 10_240) * 10_240 - at), "another end than two empty blocks, and padding")
    return members
def grow(edge: list[tuple[int, bytes]], entry: bytes) -> bytes:  # the root; edge: height, root of complete subtrees
    height, node = 0, sha256(b"\0" + entry)
    while edge and edge[-1][0] == height:
        node, height = sha256(b"\1" + edge.pop()[1] + node), height + 1
    edge.append((height, node))
    for _, left in reversed(edge[:-1]):
        node = sha256(b"\1" + left + node)
    return node
def leads_to(entry: bytes, at: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    node, inner = sha256(b"\0" + entry), (at ^ (size - 1)).bit_length()  # so high the entry leaves the right edge
    for height, other in enumerate(path):
        left = height < inner and at >> height & 1 == 0
        node = sha256(b"\1" + node + other if left else b"\1" + other + node)
    return at < size and len(path) == inner + (at >> inner).bit_count() and node == root
# == The tables of the pages ===========================================================================================
Shape = Callable[[Any], bool]
def text(pattern: str) -> Shape:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None
def whole(least: int) -> Shape:
    return lambda value: type(value) is int and least <= value <= MOST
def base64_of(size: int | None = None) -> Shape:
    return lambda value: isinstance(value, str) and len(value) <= 8192 and size in (None, len(unbase64(value)))
def listed(item: str, least: int, most: int, form: Callable[[Any], Any] = list) -> Shape:
    return lambda value: (isinstance(value, list) and least <= len(value) <= most
                          and all(map(TYPES[item], value)) and list(form(value)) == value)
def mapped(item: str, least: int = 0, most: int = MOST, name: str = "Name") -> Shape:
    return lambda value: (isinstance(value, dict) and least <= len(value) <= most
                          and all(TYPES[name](at) and TYPES[item](one) for at, one in value.items()))
def record(table: str) -> Shape:  # a map of exactly these, `name:Type` or `name:word|word`; a `?`: may be left out
    fields = {name.rstrip("?"): kind for name, _, kind in (field.partition(":") for field in table.split())}
    must = {name for name in fields if f" {name}?:" not in f" {table}"}
    return lambda value: (isinstance(value, dict) and must <= set(value) <= set(fields)
                          and all((TYPES.get(fields[at]) or text(fields[at]))(one) for at, one in value.items()))
TYPES: dict[str, Shape] = {
    "Name": text("[a-z][a-z0-9_-]{0,39}"), "Hex16": text("[0-9a-f]{32}"), "Digest": text("[0-9a-f]{64}"),
    "Date": lambda value: isinstance(value, str) and date.fromisoformat(value).isoformat() == value,
    "Decimal": text(r"(0|[1-9][0-9]{0,24})(\.[0-9]{0,5}[1-9])?"), "Object": lambda value: isinstance(value, dict),
    "KeyName": lambda value: (isinstance(value, str) and 1 <= len(value.encode()) <= 255
                              and value.isprintable() and not {" ", "+"} & set(value)),  # checkpoint 4
    "Count": whole(0), "Positive": whole(1), "Integer": whole(-MOST), "Integers": listed("Integer", 1, MOST),
    "Base64": base64_of(), "Key32": base64_of(32), "Key1312": base64_of(1312), "Hashes": listed("Key32", 0, MOST),
    "Pointer": text(r"(?=[\s\S]{1,400}\Z)(/([^~/]|~[01])*)+"), "Pointers": listed("Pointer", 0, 100_000, dict.fromkeys),
    "Names": listed("Name", 1, MOST, dict.fromkeys), "Parties": listed("Name", 1, 64, lambda names: sorted(set(names))),
    "NoParties": listed("Name", 0, 64, lambda names: sorted(set(names))), "Proof": record("size:Positive path:Hashes"),
    "Nano": mapped("Count"), "Charge": mapped("Nano"), "Raised": mapped("Positive"), "Cap": mapped("Positive", 1),
    "Caps": mapped("Cap", 1), "Limits": record("record:Charge person:Nano lifetime_record:Nano lifetime_person:Count"),
    "Block": record("first:Date last:Date"), "Blocks": mapped("Block"), "SomeBlocks": mapped("Block", 1),
    "Key1": record("key:Key32"), "Members1": mapped("Key1", 1, 64), "Members2": mapped("Key2", 1, 64),
    "Key2": record("key:Key32 ml_dsa_44:Key1312"), "Own": record("old?:Base64 new?:Base64 new_ml_dsa_44?:Base64"),
    "Signed": mapped("Base64"), "Others": mapped("Base64", 0, 65, "KeyName"), "Steps": listed("Step", 1, 1000),
    "Step": record("step:Name nonce:Hex16 mechanism:Mechanism charge:Positive"),
    "Mechanism": record("name:discrete_gaussian sensitivity_sq:Positive variance:Decimal slots:Positive adders:Parties "
                        "quorum:Positive collusion:Count"),
    "Release": record("body:Body signature:Base64 entry:Count proof:Proof"), "Versions": mapped("Hex16"),
    "Body": record("type:release@v1 room:Name plan:Digest round:Hex16 step:Name nonce:Hex16 recipients:Names "
                   "survivors:Names mechanism:Mechanism charge_record:Positive charge_person:Positive "
                   "noised:Integers answer:Object state?:Object salt:Digest")}
KEYS = "key:Key32 ml_dsa_44?:Key1312 own:Own others:Others"
GENESIS = "room:Name origin:KeyName unit:person×party×block accountant:zcdp caps:Limits cosign_quorum:Positive"
ENTRIES = {kind: record(f"seq:Count time:Count type:{kind} {fields}") for kind, fields in {
    "genesis@v1": f"{GENESIS} blocks:SomeBlocks coordinator:Key1 parties:Members1",
    "genesis@v2": f"{GENESIS} blocks:SomeBlocks coordinator:Key2 parties:Members2",
    "key@v1": f"action:add|rotate|revoke member:KeyName {KEYS}",
    "party@v1": f"action:join|leave party:Name caps:Raised cosign_quorum:Positive {KEYS}",
    "dataset@v1": "party:Name version:Hex16 blocks:Names commitment:Digest schema_digest:Digest people_cap:Positive "
                  "signature:Base64",
    "plan@v1": "plan:Digest parties:Parties approvals:Signed", "reuse@v1": "round:Hex16 plan:Digest datasets:Versions",
    "reserve@v1": "round:Hex16 plan:Digest steps:Steps blocks:Names charge:Charge datasets:Versions expires:Count "
                  "holds:Signed",
    "commit@v1": "round:Hex16 step:Name digest:Digest recipients:Names numbers:Pointers survivors:Parties",
    "forfeit@v1": "round:Hex16 reason:party-unavailable|deadline|refused|coordinator-restart|integrity",
    "refund@v1": "round:Hex16 signatures:Signed", "grant@v1": "blocks:Blocks caps:Caps signatures:Signed",
    "deny@v1": "plan:Digest reason:not-approved|not-held|over-cap parties:NoParties",
    "egress@v1": "party:Name day:Date size:Count root:Digest signature:Base64",
    "audit@v1": "auditor:Name key:Key32 size:Positive root:Digest bundle:Digest policy:Digest verdict:clean|violation "
                "signature:Base64"}.items()}
def read_entry(data: bytes) -> Entry:
    entry: Entry = parse(data)
    need(isinstance(entry, dict) and entry.get("type") in list(ENTRIES), "no map, or of no known type")
    need(len(data) <= 1 << 20 and ENTRIES[entry["type"]](entry), f"not what the page says of {entry['type']}")
    return entry
# == Who is in force, and the checkpoints that they sign ===============================================================
Member = dict[str, str]  # `key` and, where it has one, `ml_dsa_44`, in Base64; empty while its keys are revoked
def vkey_text(name: str, kind: int, public: bytes) -> str:  # checkpoint 5 and 6
    number, key = sha256(name.encode() + b"\n" + bytes([kind]) + public)[:4], bytes([kind]) + public
    return f"{name}+{number.hex()}+{base64.b64encode(key).decode()}"
class Members(NamedTuple):  # who is in the room from one size of the ledger on
    origin: str
    coordinator: Member
    parties: dict[str, Member]
    quorum: int
    def in_force(self) -> dict[str, Member]:
        return {party: member for party, member in self.parties.items() if member}
    def vkeys(self) -> dict[str, tuple[str, int, bytes]]:  # text → name, kind (of the log 1, 6; else 4, 6), key
        all_ = [(self.origin, 1, self.coordinator), *((party, 4, member) for party, member in self.parties.items())]
        keys = [(who, one if at == "key" else 6, unbase64(raw)) for who, one, keys in all_ for at, raw in keys.items()]
        return {vkey_text(*key): key for key in keys}
class Note:  # a checkpoint: its three lines, and who signed it; all is checked here but the root, which needs entries
    def __init__(self, data: bytes, members_at: Callable[[int], Members]) -> None:
        found = re.fullmatch(r"((.+)\n(0|[1-9][0-9]{0,15})\n(.+)\n)\n((?:— \S+ \S+\n)+)", data.decode())
        words, origin, size, root, tail = found.groups() if found else ("", "", 0, "", "")
        self.size, self.root, members = int(size), unbase64(root), members_at(int(size))
        need(self.size <= MOST and len(self.root) == 32 and origin == members.origin, "no text of this ledger")
        lines = [(line, *line.split(" ")[1:]) for line in tail[:-1].split("\n")]
        in_order = sorted(lines, key=lambda line: (0, len(line[0]), "") if line[1] == origin else (1, 0, line[0]))
        need(lines == in_order and len(lines) <= 130, "lines not in their order, or too many")
        keys = {"+".join(text.split("+")[:2]): key for text, key in members.vkeys().items()}
        times = dict[tuple[str, int, bytes], int]()  # 0 where the signature does not say when it was made
        for who, raw in [(who, unbase64(text)) for _, who, text in lines]:
            key = keys.get(f"{who}+{raw[:4].hex()}", ("", 0, b""))
            need(key[1] and key not in times, f"a line of {who[:60]} by a key that is not in force, or twice")
            what, stamp, signature = f"the signature of {who}", raw[4:12], raw[12:] if key[1] != 1 else raw[4:]
            times[key] = time = int.from_bytes(stamp, "big") if key[1] != 1 else 0
            need(key[1] == 1 or 1 <= time <= MOST, f"{what} has an impossible time")
            one, two = (bytes([len(name.encode())]) + name.encode() for name in (who, origin))
            subtree = b"subtree/v1\n\0" + one + stamp + two + bytes(8) + self.size.to_bytes(8, "big") + self.root
            timed = f"cosignature/v1\ntime {time}\n{words}".encode()
            check_signed(key[1] == 6, key[2], signature, {1: words.encode(), 4: timed, 6: subtree}[key[1]], what)
        for who in (names := {key[0] for key in times}):
            stamps = [times.get(key) for key in keys.values() if key[0] == who]
            need(None not in stamps and len({*stamps} - {0}) <= 1, f"{who} signed with one key of two, or at two times")
        need(origin in names, "the log's own signature is missing")
        self.signers = names - {origin}
class Policy:  # C2SP tlog-policy: which keys the auditor trusts, whose cosignatures suffice; Undecided where it is none
    def __init__(self, data: bytes) -> None:
        self.keys, self.quorum, names, members = list[str](), "", ["none"], list[str]()
        self.groups: dict[str, tuple[int, list[str]]] = {"none": (0, [])}  # a witness is a group of its key's name
        try:
            for line in data.decode("utf-8", "surrogateescape").split("\n"):
                need(not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line), "control characters")
                match [word for word in re.split("[ \t]", line) if word]:
                    case ["log", key] | ["log", key, _]:
                        self.trust(key)
                    case ["witness", name, key] | ["witness", name, key, _]:
                        names, self.groups[name] = [*names, name], (1, ["+" + self.trust(key)])
                    case ["group", name, most, *inner] if set(inner) <= set(self.groups) - {"none"}:
                        least = {"all": len(inner), "any": 1}.get(most) or int(most)
                        need(1 <= least <= len(inner), "a group that nobody, or anybody, satisfies")
                        names, members, self.groups[name] = [*names, name], members + inner, (least, inner)
                    case ["quorum", name] if not self.quorum and name in self.groups:
                        self.quorum = name
                    case [word, *_]:
                        need(word[0] == "#", "another word, or a name that no line before has")
                need(all(len(set(many)) == len(many) for many in (self.keys, names, members)), "something twice")
            need(self.keys and self.quorum, "no keys, or no quorum, up to here")
        except ValueError as exc:
            raise Undecided(f"{line[:80]!r} is not, or does not end, a policy: {exc}") from None
    def trust(self, key: str) -> str:  # the name of the key, which must be spelled as keys are
        who, _, raw = key.split("+", 2)
        kind, *public = unbase64(raw)
        need(TYPES["KeyName"](who) and key == vkey_text(who, kind, bytes(public)), "no key")
        self.keys.append(key)
        return who
    def satisfied(self, parties: Collection[str], who: str) -> bool:  # by those who cosigned, each with all its keys
        least, inner = self.groups.get(who, (1, []))
        return who[1:] in parties if who[0] == "+" else sum(self.satisfied(parties, one) for one in inner) >= least
# == The ledger's rules (ledger entry 6 to 12, ledger changes) =========================================================
def millionths(noise: Entry) -> int:
    before, _, after = noise["variance"].partition(".")
    return int(before + after.ljust(6, "0"))
def cost(noise: Entry, honest: int) -> int:  # nano-ρ: of a record, max(1, quorum − collusion) being honest
    return int(-(-noise["sensitivity_sq"] * 10**15 // (2 * honest * millionths(noise))))
def threshold(n: int, c: int) -> int:
    return min(n, max((n + c + 1) // 2 + 1, 2 * n // 3 + 1))
def check_noise(noise: Entry, charged: int) -> None:
    n, c = len(noise["adders"]), noise["collusion"]
    need(millionths(noise) >= 9 * 10**6, "noise of a variance below 9")
    need((c == 0 if n == 1 else 1 <= c < n) and threshold(n, c) <= noise["quorum"] <= n, "no such collusion, or quorum")
    need(charged == cost(noise, max(1, noise["quorum"] - c)), f"a step is charged {charged}, which is not its cost")
class Ledger:  # what the entries so far have made: they are taken in one by one, each checked against all before it
    def __init__(self) -> None:
        self.room, self.entries, self.blocks, self.came = "", list[Entry](), dict[str, Entry](), set[tuple[str, ...]]()
        self.edge, self.roots = list[tuple[int, bytes]](), [sha256(b"")]  # of the tree; of each size
        self.history = [(0, Members("", {"key": ""}, {}, 0))]  # from so many entries on: these
        self.last = dict[tuple[str, str], Entry]()  # of a type, about a round, plan or member
        self.commits, self.declared = dict[str, list[Entry]](), dict[tuple[str, str], Entry]()  # (party, version)
        self.caps, self.spent = dict[tuple[str, str], int](), dict[tuple[str, str], int]()  # (who, block) → nano-ρ
    def members_at(self, size: int) -> Members:
        need(size <= len(self.entries), "of a size that this ledger never had")
        return [members for since, members in self.history if since <= size][-1]
    def left(self, name: str) -> list[Entry]:  # the steps that a round, if it is open, has yet to release
        steps: list[Entry] = self.last.get(("reserve", name), {"steps": []})["steps"]
        return [] if ("forfeit", name) in self.last else steps[len(self.commits.get(name, [])) :]
    def once(self, what: str, *which: str) -> None:
        need((what, *which) not in self.came, f"{what} for the second time")
        self.came.add((what, *which))
    def signed(self, purpose: str, body: Entry, by: dict[str, str], must: Iterable[str], of: dict[str, Member]) -> None:
        """By exactly those who must, over the entry without its signatures and its place, and with the room."""
        out = {"signature", "signatures", "approvals", "holds", "own", "others", "seq", "time"}
        body = {at: one for at, one in body.items() if at not in out} | {"room": self.room}
        need(set(by) == set(must), f"{purpose} signatures that are not by exactly {', '.join(sorted(must))}")
        for who, signature in by.items():
            need(of.get(who), f"{who} is not in force")
            message, what = f"sumroom/{purpose}/v1\0".encode() + canonical(body), f"the {purpose} signature of {who}"
            key = of[who].get("key") or of[who]["ml_dsa_44"]
            check_signed("key" not in of[who], unbase64(key), unbase64(signature), message, what)
    def consented(self, entry: Entry, own: dict[str, Member], others: dict[str, Member]) -> None:  # to other keys
        own |= {"new_ml_dsa_44": {"ml_dsa_44": entry["ml_dsa_44"]}} if own and "ml_dsa_44" in entry else {}
        self.signed("change", entry, entry["own"], own, own)
        self.signed("change", entry, entry["others"], others, others)
        for at in set(own) - {"old"}:
            self.once("a key", entry["key" if at == "new" else "ml_dsa_44"])
    def spend(self, entry: Entry, sign: int) -> None:  # charge a reserve in every balance or, −1, take it back
        person = sum(len(one["mechanism"]["adders"]) * cost(one["mechanism"], 1) for one in entry["steps"])
        for who, row in {**entry["charge"], "person": dict.fromkeys(entry["blocks"], person)}.items():
            for at, nano in (*row.items(), ("lifetime", sum(row.values()))):
                used = self.spent[who, at] = self.spent.get((who, at), 0) + sign * nano
                need(sign < 0 or used <= self.caps.get((who, at), -1), f"over the cap of {who} in {at}")
    def take(self, entry: Entry, data: bytes) -> None:
        size, (_, now), kind = len(self.entries), self.history[-1], entry["type"].split("@")[0]
        who, name = str(entry.get("party") or entry.get("member")), entry.get("round", "")
        blocks, reserve, left = entry.get("blocks", {}), self.last.get(("reserve", name), {}), self.left(name)
        force, after, raised = now.in_force(), now, dict[str, dict[str, int]]()  # raised: who → block → its new cap
        others = {party: keys for party, keys in force.items() if party != who}
        new: Member = {at: entry[at] for at in ("key", "ml_dsa_44") if at in entry}
        need(entry["seq"] == size and entry["time"] >= (self.entries or [entry])[-1]["time"], "not next, or too early")
        need((kind == "genesis") == (size == 0), "the first entry, and no other, is a genesis")
        need(now.coordinator or (kind == "key" and who == now.origin), "the coordinator has no key, and gets none here")
        need(kind not in ("commit", "forfeit") or left, "a round that is not open")
        match kind:
            case "genesis":
                caps, parties = entry["caps"], entry["parties"]
                after = Members(entry["origin"], entry["coordinator"], parties, entry["cosign_quorum"])
                for key in [key for member in (after.coordinator, *parties.values()) for key in member.values()]:
                    self.once("a key", key)
                rows = {**caps["record"], "person": caps["person"]}
                fits = all(set(row) == set(blocks) for row in rows.values())
                fits &= set(caps["record"]) == set(caps["lifetime_record"]) == set(parties)
                need(fits, "caps that are not of exactly the parties and the blocks")
                ever = {**caps["lifetime_record"], "person": caps["lifetime_person"]}
                self.room, raised = entry["room"], {one: rows[one] | {"lifetime": ever[one]} for one in rows}
            case "key":  # ledger changes 1 to 4
                need(who == now.origin or who in now.parties, "not a member of this room")
                old, action = now.coordinator if who == now.origin else now.parties[who], entry["action"]
                others |= {now.origin: now.coordinator} if now.coordinator and who != now.origin else {}
                good, own = {
                    "revoke": (old and new == {"key": old["key"]} and (who == now.origin or len(force) > 1), {}),
                    "rotate": (old and set(old) <= set(new), {"old": old, "new": new}),
                    "add": (len(new) == 2 and old in ({}, {"key": new["key"]}), {"old": old} if old else {"new": new}),
                }[action]
                need(good, f"keys that nobody can {action} so")
                self.consented(entry, own, others if action == "revoke" or not old else {})
                new = {} if action == "revoke" else new
                after = (now._replace(coordinator=new) if who == now.origin
                         else now._replace(parties={**now.parties, who: new}))
            case "party":  # ledger changes 5
                parties = {party: keys for party, keys in now.parties.items() if party != who}
                if entry["action"] == "join":
                    need(who not in now.parties, "a name that is taken")
                    need(len(new) == 2 or all(len(one) == 1 for one in force.values()), "others have two keys")
                    need(set(entry["caps"]) == {*self.blocks, "lifetime"}, "caps that are not of exactly the blocks")
                    self.consented(entry, {"new": new}, force)
                    parties[who], raised = new, {who: entry["caps"]}
                else:
                    had = [members.parties[who]["key"] for _, members in self.history if members.parties.get(who)]
                    need(who in now.parties and new == {"key": had[-1]}, "not a party, or not its last key")
                    need(entry["caps"] == {} and others, "caps, or the last party in force")
                    rounds = [at for (one, at), body in self.last.items() if one == "reserve" and who in body["charge"]]
                    need(not any(map(self.left, rounds)), "a round that charges it is open")
                    alone = entry["own"] and who in force
                    self.consented(entry, {"old": force[who]} if alone else {}, {} if alone else others)
                after = now._replace(parties=parties, quorum=entry["cosign_quorum"])
                need(len(parties) // 2 < after.quorum, "a quorum that is no majority")
            case "grant":  # ledger changes 6
                raised, room = entry["caps"], {*now.parties, "person"}
                need(set(raised) <= room and (not blocks or set(raised) == room), "caps of others, or not of all")
                for one, row in raised.items():
                    need(set(blocks) <= set(row) <= {*self.blocks, *blocks, "lifetime"}, "not of exactly the blocks")
                    need(all(cap > self.caps.get((one, at), 0) for at, cap in row.items()), "a cap that is not raised")
                    need(one in force or one == "person" or set(row) <= set(blocks), "a revoked party's old cap")
                all_ = blocks or "person" in raised
                self.signed("change", entry, entry["signatures"], force if all_ else raised, force)
            case "dataset":
                self.once("a version of data", who, entry["version"])
                need(set(blocks) <= set(self.blocks), "a block that the room has not")
                self.signed("dataset", entry, {who: entry["signature"]}, [who], force)
                self.declared[who, entry["version"]] = entry
            case "plan":
                self.once("a plan", entry["plan"])
                self.signed("approval", {"plan": entry["plan"]}, entry["approvals"], entry["parties"], force)
            case "reserve":
                charged, plan = entry["charge"], self.last.get(("plan", entry["plan"]), {"parties": []})
                need(charged and set(charged) <= set(plan["parties"]), "no plan of the ledger, or of others")
                need(entry["expires"] > entry["time"], "it expires before it begins")
                self.once("a round", name)
                for one in entry["steps"]:
                    self.once("a step", name, one["step"])
                    self.once("a nonce", one["nonce"])
                    check_noise(one["mechanism"], one["charge"])
                    need(set(one["mechanism"]["adders"]) == set(charged), "who adds noise is not who is charged")
                row = dict.fromkeys(blocks, sum(one["charge"] for one in entry["steps"]))
                need(all(one == row for one in charged.values()), "not the steps' sum in exactly the blocks")
                used = {one: self.last.get(("dataset", one), {"version": "", "blocks": ()}) for one in charged}
                need(entry["datasets"] == {one: used[one]["version"] for one in used}, "not the last data of each")
                need(all(set(blocks) <= set(one["blocks"]) for one in used.values()), "data of other blocks")
                self.signed("hold", entry, entry["holds"], charged, force)
                self.spend(entry, 1)
            case "commit":
                noise, late = left[0]["mechanism"], entry["time"] > reserve["expires"]
                need(entry["step"] == left[0]["step"] and not late, "not its next step, or late")
                need(set(entry["survivors"]) <= set(noise["adders"]), "survivors who add no noise")
                need(len(entry["survivors"]) >= noise["quorum"], "fewer survivors than the quorum")
                self.once("a release", entry["digest"])
                self.commits.setdefault(name, []).append(entry)
            case "refund":  # ledger changes 7
                need(("forfeit", name) in self.last and name not in self.commits, "a round that cannot be refunded")
                self.once("a refund", name)
                self.signed("refund", {"round": name, "sent": "nothing"}, entry["signatures"], reserve["charge"], force)
                self.spend(reserve, -1)
            case "reuse":
                need(len(self.commits.get(name, ())) == len(reserve.get("steps", "?")), "a round that has steps left")
                need(all(entry[at] == reserve[at] for at in ("plan", "datasets")), "of another plan, or other data")
            case "deny":
                need(set(entry["parties"]) <= set(force), "somebody who is not a party in force")
            case "egress":  # ledger changes 8
                last = self.last.get((kind, who), {"day": "", "size": 0, "root": entry["root"]})
                today = datetime.fromtimestamp(min(entry["time"], 10**11), UTC).date().isoformat()
                need(last["day"] < entry["day"] < today and entry["size"] >= last["size"], "not a later day, or less")
                need(entry["size"] > last["size"] or entry["root"] == last["root"], "another root of the same size")
                self.signed("egress", entry, {who: entry["signature"]}, [who], force)
            case "audit":  # ledger changes 8
                need(("a key", entry["key"]) not in self.came, "an auditor with a member's key")
                need(entry["size"] <= size and self.roots[entry["size"]].hex() == entry["root"], "another root")
                self.once("a verdict", entry["key"], str(entry["size"]), entry["bundle"])
                self.signed("audit", entry, {"its auditor": entry["signature"]}, ["its auditor"], {"its auditor": new})
        if kind in ("genesis", "grant"):
            need(not set(blocks) & {*self.blocks, "lifetime"}, "a block of a name that is taken")
            self.blocks.update(blocks)
            spans = sorted((one["first"], one["last"]) for one in self.blocks.values())
            need(all(a <= b for a, b in spans) and all(a[1] < b[0] for a, b in pairwise(spans)), "blocks share a day")
        need(not {"person", after.origin} & set(after.parties), "a party of a name that is taken")
        need(after.quorum <= len(after.parties) <= 64, "more than 64 parties, or a quorum of more than all")
        self.caps.update({(one, at): cap for one, row in raised.items() for at, cap in row.items()})
        self.history += [(size + 1, after)] if after is not now else []
        self.last[kind, name or entry.get("plan", who)] = entry
        self.entries.append(entry)
        self.roots.append(grow(self.edge, data))
    def lacks(self, entry: Entry, signers: set[str]) -> str:  # whose cosignature (checkpoint 19, ledger changes 10)
        kind, members = entry["type"].split("@")[0], self.members_at(entry["seq"] + 1)
        if kind in ("genesis", "key", "party", "grant", "dataset", "plan", "reserve"):
            return ", ".join(sorted(set(members.in_force()) - signers))
        if kind == "commit":
            steps = self.last["reserve", entry["round"]]["steps"]
            noise = next(one["mechanism"] for one in steps if one["step"] == entry["step"])
            if len(signers & set(entry["survivors"])) < threshold(len(noise["adders"]), noise["collusion"]):
                return "more of its survivors"
        return "" if len(signers) >= min(members.quorum, len(members.in_force())) else "more parties"
# == Plans and releases ================================================================================================
def pointers(tree: Any, at: str = "") -> list[str]:  # of every figure; what is no map of others is one (release 9)
    need(isinstance(tree, dict) and (tree or not at), f"{at or 'the answer'} is no map of figures")
    if "value" not in tree:
        names = {name: name.replace("~", "~0").replace("/", "~1") for name in tree}
        return [found for name, path in names.items() for found in pointers(tree[name], f"{at}/{path}")]
    figure = set(tree) - {"consistent"} == {"value", "low", "high"} or tree == {"value": "too noisy"}
    need(figure and all(isinstance(one, str) for one in tree.values()), f"{at} is no figure with its interval")
    return [at]
def cells_of(asked: Entry) -> int:  # stretches of whole numbers between a feature's bounds (lookalike question 5)
    low, high, moved = asked["low"], asked["high"], log1p if asked["transform"] == "log1p" else float
    def cell(x: int) -> int:
        scaled = 2.0 * (moved(x) - moved(low)) / (moved(high) - moved(low)) - 1.0
        return min(floor((min(1.0, max(-1.0, scaled)) + 1) / 2 * 256), 255)
    return len({min(bisect_left(range(low, high + 1), n, key=cell), high - low) for n in range(256)})
ALONE = {"overlap", "look-seed", "look-scores", "look-overlap", "look-audit"}  # nobody counts on another's noise
def planned(asked: Entry, plan: Entry) -> list[tuple[str, int, int, str]]:  # step, Δ², slots, name of its ρ, of each
    k = sum(max(of.values()) if isinstance(of := one.get("clusters", 0), dict) else of for one in plan["questions"])
    if asked["kind"] == "overlap":
        by, value = asked["lists"], asked.get("value", {"party": "", "bins": 1})
        lists = {"segments": k, "all": 1}.get(by["by"]) or len(plan["table"]["columns"][by["column"]]["values"])
        each = [lists * (value["bins"] if party == value["party"] else 1) for party in plan["parties"]]
        cells = (sum(each) ** 2 - sum(x * x for x in each)) // 2
        return [("overlap-sizes", 1, sum(each) + 1, "sizes"), ("overlap", len(each) - 1, cells, "pairs")]
    if asked["kind"] == "rfm":
        bins = sum(len(asked[at]) + 1 for at in ("recency_days", "frequency_baskets", "monetary_units"))
        return [("rfm-cuts", 3, bins + 1, "cuts"), ("rfm-cohorts", 5, 25 + 8 + 1, "cohorts")]
    if asked["kind"] == "classes":
        return [("classes-patterns", 1, prod(len(one["cuts"]) + 1 for one in asked["items"]) + 1, "patterns")]
    d, own, big = len(asked["features"]), len(asked["features"]) + 1, 2**32
    if asked["kind"] == "lookalike":
        cells, ranks, audited = [*map(cells_of, asked["features"])], len(asked["ranks"]), asked.get("attributes")
        bins = sum(min(10, n) for n in cells) + 160
        groups = sum(2 * len(plan["table"]["columns"][one["column"]]["values"]) for one in audited or ())
        return [("look-edges", d, sum(cells) + 1, "edges"),
                ("look-background", big, own * (2 * d + 3) + bins + 1, "background"),
                ("look-seed", big, 2 * d + bins + 3, "seed"), ("look-scores", 1, 65 * ranks + 2, "scores"),
                ("look-overlap", ranks, 6 * ranks, "overlap"),
                *([("look-audit", len(audited), ranks * (groups + 1), "audit")] if audited else [])]
    lloyd = [(f"seg-lloyd-{n + 1}", big, k * own + 2, "lloyd") for n in range(asked["lloyd_rounds"])]
    return [("seg-moments", 3 * d * big, 2 * d + 2, "moments"),
            *([("seg-covariance", big, d * own // 2 + 1, "covariance")] if d > 2 else []),
            ("seg-coarse", 1, asked["coarse_cells"] + 1, "coarse"), ("seg-fine", 1, asked["fine_cells"] + 2, "fine"),
            ("seg-over", big, 4 * k * own + 1, "over"), *lloyd, ("seg-profile", big, k * own + 1, "profile"),
            ("seg-stability", big, 2 * k + 1, "stability")][: None if "stability" in asked["rho"] else -1]
def check_plan(data: bytes, digest: str, ledger: Ledger) -> None:  # not its own rules: that every reserve of it is one
    need(sha256(data).hex() == digest and (plan := parse(data))["type"] == "plan@v1", "not the plan of its name")
    need((plan["room"], plan["parties"]) == (ledger.room, ledger.last["plan", digest]["parties"]), "others approved it")
    agreed = {at: plan[at] for at in ("people", "table")} if "people" in plan else plan["table"]
    table, h = (sha256(canonical(agreed)).hex(), plan["people_cap"]), max(1, plan["quorum"] - plan["collusion"])
    same, n = {"name": "discrete_gaussian", "adders": plan["parties"]}, len(plan["parties"])
    same, alone = same | {at: plan[at] for at in ("quorum", "collusion")}, same | {"quorum": n, "collusion": n - 1}
    noise = [(step, {"sensitivity_sq": squared, "slots": slots, **(alone if step in ALONE else same),
                     "variance": -(-squared * 10**15 // (2 * (1 if step in ALONE else h) * asked["rho"][rho]))})
             for asked in plan["questions"] for step, squared, slots, rho in planned(asked, plan)]
    for one in [one for (kind, _), one in ledger.last.items() if kind == "reserve" and one["plan"] == digest]:
        made = [(at["step"], at["mechanism"] | {"variance": millionths(at["mechanism"])}) for at in one["steps"]]
        need(made == noise, f"entry {one['seq']} has other steps or noise than its plan")
        need({b: ledger.blocks[b] for b in one["blocks"]} == plan["blocks"], f"entry {one['seq']} charges other blocks")
        found = {(d["schema_digest"], d["people_cap"]) for d in [ledger.declared[at] for at in one["datasets"].items()]}
        need(found == {table}, f"entry {one['seq']} uses data of another table or cap")
def check_proof(data: bytes, commit: Entry, line: bytes, ledger: Ledger) -> None:  # the page tlog-proof
    head, _, note = data.decode().partition("\n\n")
    first, index, *path = head.split("\n")
    need(first == "c2sp.org/tlog-proof@v1" and index == f"index {commit['seq']}" and len(path) <= 53, "no proof of it")
    checkpoint, nodes = Note(note.encode(), ledger.members_at), [unbase64(node) for node in path]
    need(all(len(node) == 32 for node in nodes) and checkpoint.root == ledger.roots[checkpoint.size], "another root")
    need(leads_to(line, commit["seq"], checkpoint.size, nodes, checkpoint.root), "it leads elsewhere")
    need(not ledger.lacks(commit, checkpoint.signers), "its checkpoint lacks cosignatures")
# == The whole bundle ==================================================================================================
NOT_CHECKED = ("whether figures and states follow from the noised sums, and the other rules of a plan",
               "whether a node's data were real, and whether its noise was drawn as stated",
               "what parties told each other outside, and whether the policy's keys are truly theirs")
class Audit:  # runs all checks. checks: (name, what was seen, problems)
    def __init__(self, data: bytes, policy: bytes) -> None:
        self.policy, self.ledger, self.checks = Policy(policy), Ledger(), list[tuple[str, str, list[str]]]()
        self.data, self.members, self.lines, self.notes = data, dict[str, bytes](), list[bytes](), list[Note]()
        for check in (self.archive, self.entries, self.checkpoints, self.plans, self.releases):
            self.seen, self.problems = "", list[str]()
            self.each(check, [("",)])
            self.checks.append((check.__name__, "" if self.problems else self.seen, self.problems))
            if self.problems and check in (self.archive, self.entries):
                break
    def each(self, check: Callable[..., None], parts: Iterable[tuple[Any, ...]]) -> None:  # noting what is wrong
        for name, *of in parts:
            try:
                check(*of)
            except (ValueError, LookupError, TypeError, AttributeError) as exc:
                self.problems.append(f"{name}{exc if isinstance(exc, Violation) else 'a field is of another kind'}")
    def archive(self) -> None:
        self.members = unpack(self.data)
        self.seen = f"{len(self.members)} members, spelled as the page says"
    def entries(self) -> None:
        *self.lines, last = self.members.get("ledger/entries", b"?").split(b"\n")
        need(self.lines and not last, "no entries, or the last has no newline")
        numbered = ((f"entry {number}: ", line) for number, line in enumerate(self.lines) if not self.problems)
        self.each(lambda line: self.ledger.take(read_entry(line), line), numbered)  # up to the first that is wrong
        self.seen = f"{len(self.lines)} keep every rule; root {self.ledger.roots[-1].hex()}"
    def checkpoints(self) -> None:
        self.each(self.note, ((f"{name}: ", name) for name in self.members if name.startswith("ledger/checkpoints/")))
        need(self.notes and self.notes[-1].size == len(self.lines), "none covers the last entry")
        by_them = [note for note in self.notes if set(self.ledger.members_at(note.size).vkeys()) == {*self.policy.keys}]
        need(by_them, "the policy's keys are not those in force at any checkpoint")
        need(self.policy.satisfied(by_them[-1].signers, self.policy.quorum), "the policy's quorum has not cosigned")
        self.seen = f"{len(self.notes)}, cosigned by all whom their entries need, by keys that follow from the policy's"
    def note(self, name: str) -> None:
        note, before = Note(self.members[name], self.ledger.members_at), self.notes[-1].size if self.notes else 0
        need(name.endswith(f"/{note.size:010}"), "of another size than its name says")
        need(note.root == self.ledger.roots[note.size], "its root is not that of the entries: history was rewritten")
        self.notes.append(note)
        for entry in self.ledger.entries[before : note.size]:
            lacks = self.ledger.lacks(entry, note.signers)
            need(not lacks, f"entry {entry['seq']} lacks the cosignature of {lacks}")
    def plans(self) -> None:
        found = {name[6:70]: data for name, data in self.members.items() if name.startswith("plans/")}
        need(set(found) == {at for kind, at in self.ledger.last if kind == "plan"}, "one is missing, or too many")
        self.each(check_plan, ((f"plan {at[:8]}: ", data, at, self.ledger) for at, data in found.items()))
        self.seen = f"{len(found)} approved by their parties; blocks, data and noise of each reserve are its plan's"
    def releases(self) -> None:
        all_ = [entry for done in self.ledger.commits.values() for entry in done]
        commits = {f"releases/{entry['round']}-{entry['step']}": entry for entry in all_}
        found = {name for name in self.members if name.startswith("releases/")}
        odd = sorted(found ^ {name + tail for name in commits for tail in (".json", ".tlog-proof")})
        self.problems += [f"{name}: {'no entry commits it' if name in found else 'missing'}" for name in odd]
        self.each(self.release, ((f"{at}: ", at, commit) for at, commit in commits.items() if f"{at}.json" in found))
        self.seen = f"{len(all_)} with {sum(len(one['numbers']) for one in all_)} numbers, each found in its entry"
    def release(self, name: str, commit: Entry) -> None:  # release 1 to 9 and 11, but for the figures; bundle 4
        release, ledger, line = parse(self.members[f"{name}.json"]), self.ledger, self.lines[commit["seq"]]
        need(TYPES["Release"](release), "not what the page says of a release")
        body, size, reserve = release["body"], release["proof"]["size"], ledger.last["reserve", commit["round"]]
        need(sha256(canonical(body)).hex() == commit["digest"], f"not the one that entry {commit['seq']} commits")
        step = next(one for one in reserve["steps"] if one["step"] == commit["step"])
        noise, person = step["mechanism"], len(step["mechanism"]["adders"]) * cost(step["mechanism"], 1)
        said = {"room": ledger.room, "plan": reserve["plan"], "nonce": step["nonce"], "mechanism": noise,
                "charge_record": step["charge"], "charge_person": person}
        said |= {at: commit[at] for at in ("round", "step", "survivors", "recipients")}
        need({at: body[at] for at in said} == said and len(body["noised"]) == noise["slots"], "not as the ledger says")
        need(sorted(pointers(body["answer"])) == sorted(commit["numbers"]), "not the numbers that the ledger lists")
        head, note = f"c2sp.org/tlog-proof@v1\nindex {release['entry']}", f"ledger/checkpoints/{size:010}"
        proof = "\n".join([head, *release["proof"]["path"], "\n"]).encode() + self.members.get(note, b"")
        need(self.members.get(f"{name}.tlog-proof") == proof, "the proof beside it is another")
        check_proof(proof, commit, line, ledger)
        key, message = ledger.members_at(size).coordinator["key"], b"sumroom/release/v1\0" + canonical(body)
        check_signed(False, unbase64(key), unbase64(release["signature"]), message, "the coordinator's signature")
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
        print(f"{'no' if problems else 'ok':4}{name:13}{len(problems) or seen}", *problems, sep=f"\n{'':17}")
    for who, at, used, cap in spent:
        print(f"    budget       {who} in {at}: ρ {used / 10**9:.9f} of {cap / 10**9:.9f} spent")
    rounds = [[kind for kind, _ in ledger.last].count(how) for how in ("reserve", "forfeit", "refund")]
    print("    rounds       {} reserved; {} of them forfeited, {} of those refunded".format(*rounds))
    print(*(f"not checked here: {one}" for one in NOT_CHECKED), verdict, sep="\n")
    return int(verdict != "clean")
if __name__ == "__main__":
    sys.exit(main())
