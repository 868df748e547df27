"""The auditor's trust policy, `policy.txt`: whose keys count, and how many of them (C2SP tlog-policy).

    log room.example/q1+8f2c…+AZ…
    log room.example/q1+5e01…+Bk…
    witness retailer-ed25519 retailer+77aa…+BK…
    witness retailer-ml-dsa-44 retailer+1c9f…+Bp…
    group retailer all retailer-ed25519 retailer-ml-dsa-44
    witness telco-ed25519 telco+0b1c…+BM…
    witness telco-ml-dsa-44 telco+9d33…+Bq…
    group telco all telco-ed25519 telco-ml-dsa-44
    group parties 2 retailer telco
    quorum parties

The log and each witness have an Ed25519 key, and an ML-DSA-44 key beside it or not. A policy that lists two keys of one
name asks for both: a log or a witness that signs with one of its keys alone is not believed. (By tlog-policy any log
line suffices; to ask for more is the reader's right.)

Trusted absolutely: whoever can change this file decides what `verify` believes. It must reach the auditor by another
way than the bundle does. URLs, which the format allows, are read over: nothing here goes to a network.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import CannotDecide, UsageError
from .notes import COSIGNER, LOG, ML_DSA_44, VerifierKey, check_name, parse_key

NONE = "none"
MAX_LINES = 1000

_THRESHOLD = re.compile(r"[1-9][0-9]{0,3}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Group:
    """Witnessed when at least `threshold` of its members are; a member is a witness or an earlier group."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Quorum:
    """The rule which cosigners suffice: the name of a witness, of a group, or `none`."""

    name: str
    groups: Mapping[str, Group] = field(default_factory=dict)

    def satisfied(self, names: Collection[str]) -> bool:
        """Whether the witnesses `names` together suffice."""
        return self.name == NONE or self._witnessed(self.name, names)

    def _witnessed(self, name: str, names: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        return sum(self._witnessed(member, names) for member in group.members) >= group.threshold


@dataclass(frozen=True)
class TrustPolicy:
    """Whose signatures an auditor accepts. log: its keys, Ed25519 first; witnesses: the policy's name → key."""

    log: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey]
    quorum: Quorum

    @property
    def log_name(self) -> str:
        """The ledger's origin."""
        return self.log[0].name

    @cached_property
    def cosigners(self) -> dict[str, tuple[VerifierKey, ...]]:
        """The name in the keys, which is a party's → all its keys, Ed25519 first."""
        names = sorted({key.name for key in self.witnesses.values()})
        return {name: _by_kind(key for key in self.witnesses.values() if key.name == name) for name in names}

    def satisfied(self, cosigners: Collection[str]) -> bool:
        """Whether these cosigners, by the name in their keys, together suffice; each has signed with all its keys."""
        return self.quorum.satisfied({name for name, key in self.witnesses.items() if key.name in cosigners})


def parse(data: bytes | str) -> TrustPolicy:
    """The policy of a file. Raises UsageError naming the line, CannotDecide when it is no text at all."""
    reading = _Reading()
    number = 0
    for number, line in enumerate(_lines(data), 1):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            reading.take(words)
        except UsageError as exc:
            raise UsageError(f"policy line {number}: {exc.message}", exc.hint) from None
    try:
        return reading.finish()
    except UsageError as exc:
        raise UsageError(f"policy, after line {number}: {exc.message}", exc.hint) from None


def render(policy: TrustPolicy) -> str:
    """The text of a policy, which `parse` reads back to an equal value."""
    lines = [f"log {key.text()}" for key in policy.log]
    lines += [f"witness {name} {key.text()}" for name, key in policy.witnesses.items()]
    for name, group in policy.quorum.groups.items():
        count = "all" if group.threshold == len(group.members) else str(group.threshold)
        lines.append(f"group {name} {count} {' '.join(group.members)}")
    return "\n".join([*lines, f"quorum {policy.quorum.name}"]) + "\n"


def _lines(data: bytes | str) -> list[str]:
    try:
        text = data.decode() if isinstance(data, bytes) else data
    except UnicodeDecodeError:
        raise CannotDecide("the policy is not a text in UTF-8") from None
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise CannotDecide(f"a policy of {len(lines)} lines, more than {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        if _CONTROL.search(line):
            raise UsageError(f"policy line {number}: control character", "save it with plain line ends, not CRLF")
    return lines


class _Reading:
    """A policy being read, line by line."""

    def __init__(self) -> None:
        self.log: list[VerifierKey] = []
        self.witnesses: dict[str, VerifierKey] = {}
        self.groups: dict[str, Group] = {}
        self.members: set[str] = set()
        self.quorum: str | None = None

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", key] | ["log", key, _]:
                self._take_log(_key(key, LOG, ML_DSA_44))
            case ["witness", name, key] | ["witness", name, key, _]:
                self._take_witness(name, _key(key, COSIGNER, ML_DSA_44))
            case ["group", name, count, *members] if members:
                self._take_group(name, count, tuple(members))
            case ["quorum", name]:
                self._take_quorum(name)
            case _:
                raise UsageError(
                    f"not a line of a policy: {words[0][:40]!r}", "a line begins with log, witness, group or quorum"
                )

    def _take_log(self, key: VerifierKey) -> None:
        for other in self.log:
            if key.name != other.name:
                raise UsageError("a second log", "one policy is for one room")
            if key.kind == other.kind:
                raise UsageError(f"a second key of kind {key.kind:#04x} of the log")
        self.log.append(key)

    def _take_witness(self, name: str, key: VerifierKey) -> None:
        self._check_new(name)
        for other in self.witnesses.values():
            if key.public == other.public:
                raise UsageError(f"witness {name} has the key of another witness")
            if (key.name, key.kind) == (other.name, other.kind):
                raise UsageError(f"witness {name}: a second key of kind {key.kind:#04x} of {key.name}")
        self.witnesses[name] = key

    def _take_group(self, name: str, count: str, members: tuple[str, ...]) -> None:
        self._check_new(name)
        for member in members:
            self._check_defined(member)
            if member in self.members:
                raise UsageError(f"{member} is a member twice")
            self.members.add(member)
        self.groups[name] = Group(_threshold(count, len(members)), members)

    def _take_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise UsageError("a second quorum")
        if name != NONE:
            self._check_defined(name)
        self.quorum = name

    def _check_new(self, name: str) -> None:
        check_name(name)
        if name == NONE or name in self.witnesses or name in self.groups:
            raise UsageError(f"the name {name} is taken")

    def _check_defined(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise UsageError(f"no witness or group {name[:40]!r} on an earlier line")

    def finish(self) -> TrustPolicy:
        if not self.log:
            raise UsageError("no log", "add a line: log <verifier key>")
        if self.quorum is None:
            raise UsageError("no quorum", "add a line: quorum <name of a witness or group>")
        log = _by_kind(self.log)
        if any(key.name == log[0].name or key.public in [own.public for own in log] for key in self.witnesses.values()):
            raise UsageError("a witness has the name or a key of the log", "a log cannot be its own witness")
        return TrustPolicy(log, self.witnesses, Quorum(self.quorum, self.groups))


def _by_kind(keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    return tuple(sorted(keys, key=lambda key: key.kind))


def _key(text: str, *kinds: int) -> VerifierKey:
    key = parse_key(text)
    if key.kind not in kinds:
        allowed = " or ".join(f"{kind:#04x}" for kind in kinds)
        raise UsageError(f"the key of {key.name} is of kind {key.kind:#04x}, where {allowed} is needed")
    return key


def _threshold(text: str, members: int) -> int:
    if text in ("all", "any"):
        return members if text == "all" else 1
    if not _THRESHOLD.fullmatch(text) or int(text) > members:
        raise UsageError(f"a group of {members} cannot need {text[:40]!r} of them")
    return int(text)
