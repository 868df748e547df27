"""From one published number back to everything that stands behind it, in words for somebody who is no programmer.

    number → release → entry → mechanism → charge → plan → data → proof → cosigners

1. the release is read, and the number at its path
2. one way through the entries finds its commit, its reserve, its plan's entry and its datasets
3. every link is checked again here, so that a release from outside the bundle is explained as well
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from .. import accuracy, bundle, release
from ..audit.evidence import Evidence
from ..budget import MICRO, decimal
from ..bundle import Archive
from ..errors import CannotDecide, IntegrityError, UsageError
from ..figures import at, pointers
from ..keys import unbase64
from ..ledger import notes, proofs
from ..ledger.entries import Commit, Dataset, Entry, Reserve, decode
from ..ledger.entries import Plan as PlanEntry
from ..ledger.records import check_recorded
from ..ledger.tree import leaf_hash
from ..plan import Mechanism, Plan
from ..statistic import Step
from ..verdict import counted

_PLACE = re.compile(r"(?P<file>[^#]+)#(?P<pointer>(/([^~/]|~[01])*)+)")


@dataclass(frozen=True)
class Link:
    """One step of the way back. about: which; said: sentences; shown: the same as values, for a program."""

    about: str
    said: tuple[str, ...]
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """place: as it was asked for. links: from the number to the cosigners."""

    place: str
    value: Mapping[str, str]
    links: tuple[Link, ...]


@dataclass
class _Found:
    """What the entries say about one round's step."""

    commit: Commit | None = None
    leaf: bytes = b""
    reserve: Reserve | None = None
    approval: PlanEntry | None = None
    datasets: list[Dataset] = field(default_factory=list)


def split(place: str) -> tuple[str, str]:
    """`file#/pointer` → the file's name and the pointer. Raises UsageError for anything else."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise UsageError(
            f"{place[:200]!r} names no number", "write releases/<file>.json#/path/of/the/number, as the release has it"
        )
    return match["file"], match["pointer"]


def explain(archive: Archive, evidence: Evidence, place: str, read: Callable[[str], bytes]) -> Explanation:
    """Follow one number back.

    evidence   of an audit of this archive in which nothing was found
    read       gives the bytes of a file that is not in the bundle

    Raises UsageError where there is no such number, IntegrityError where the release is not what the ledger says,
    CannotDecide where it cannot be read.
    """
    file, pointer = split(place)
    data = archive[file] if file in archive else read(file)
    signed = release.read(data)
    body = signed.body_
    figure = _figure(body.answer, pointer)
    found = _entries(archive, body.round, body.step)
    if found.commit is None or found.reserve is None:
        raise IntegrityError("the ledger has no commit of this release: nobody has agreed to it or paid for it")
    _check(evidence, signed, found)
    if pointer not in found.commit.numbers:
        raise IntegrityError(f"the ledger does not name {pointer} among the numbers of this release")
    plan = evidence.plans[found.reserve.plan]
    if plan is None:
        raise CannotDecide("the plan of this release is not in the bundle")
    links = (
        _number(pointer, figure, body, plan.plan),
        _release(file, signed, found.commit),
        _mechanism(plan.plan, body, found.reserve),
        _charge(plan.plan, found.reserve, body.step),
        _asked(plan.plan, found),
        _proof(archive, evidence, signed, found),
    )
    return Explanation(place, figure, links)


def _figure(answer: Mapping[str, Any], pointer: str) -> dict[str, str]:
    known = list(pointers(answer)) if answer else []
    if pointer not in known:
        near = [other for other in known if other.startswith(pointer)] or known
        hint = f"it has for example {', '.join(near[:3])}" if near else "it publishes no numbers"
        raise UsageError(f"the release has no number {pointer[:200]}", hint)
    figure: dict[str, str] = at(answer, pointer)
    return figure


def _entries(archive: Archive, round_id: str, step: str) -> _Found:
    """One way through the entries; only those of this round are decoded, and what it could have been paid for by."""
    found, latest = _Found(), dict[tuple[str, str], Dataset]()
    approvals: dict[str, PlanEntry] = {}
    wanted = round_id.encode()
    for raw in archive.entries():
        if wanted not in raw and b'"type":"plan@v1"' not in raw and b'"type":"dataset@v1"' not in raw:
            continue
        entry: Entry = decode(raw)
        match entry:
            case Dataset():
                latest[entry.party, entry.version] = entry
            case PlanEntry():
                approvals[entry.plan] = entry
            case Reserve() if entry.round == round_id:
                found.reserve, found.approval = entry, approvals.get(entry.plan)
                found.datasets = [latest[pair] for pair in entry.datasets.items() if pair in latest]
            case Commit() if (entry.round, entry.step) == (round_id, step):
                found.commit, found.leaf = entry, leaf_hash(raw)
    return found


def _check(evidence: Evidence, signed: release.Release, found: _Found) -> None:
    assert found.commit is not None
    assert found.reserve is not None
    check_recorded(signed, found.commit, found.reserve, evidence.accounts.genesis.room)
    coordinator = evidence.accounts.members_at(signed.proof.size).coordinator
    if coordinator is None:
        raise IntegrityError("the coordinator had no key in force")
    release.check_signature(signed, coordinator.ed25519)
    if not found.commit.seq < signed.proof.size <= evidence.size:
        raise IntegrityError(f"its proof is for a history of {signed.proof.size} entries, which is not here")
    path, root = [unbase64(part) for part in signed.proof.path], evidence.tree.root(signed.proof.size)
    proofs.verify_inclusion(found.leaf, found.commit.seq, signed.proof.size, path, root)


# --- the links, each in sentences ------------------------------------------------------------------------------------


def _number(pointer: str, figure: Mapping[str, str], body: release.Body, plan: Plan) -> Link:
    said = [f"The number {pointer} is {figure['value']}."]
    if "low" in figure:
        said.append(
            f"With 95 % certainty the true figure, without noise, lies between {figure['low']} and {figure['high']}."
        )
    else:
        said.append("Too noisy means: the true figure is too small beside the noise to say anything about it.")
    between = plan.step(body.step)[0].made == "overlap"
    noised = counted(len(body.noised), "noised count") if between else counted(len(body.noised), "noised sum")
    before = ", from the sizes of the lists that the step before it released," if between else ","
    said.append(
        f"It was computed from {noised} that the release shows in full{before} and from nothing else: anybody can "
        "compute it again."
    )
    return Link("number", tuple(said), {"pointer": pointer, **figure})


def _release(file: str, signed: release.Release, commit: Commit) -> Link:
    said = (
        f"It stands in the release {file.rpartition('/')[2]}, which the coordinator signed.",
        f"Entry {commit.seq} of the ledger, written {_when(commit.time)}, before anybody got the release, names its "
        f"fingerprint ({commit.digest}) and this number, one of {len(commit.numbers)}.",
        f"It was for {_list(commit.recipients)}. In its sums are the customers of {_list(commit.survivors)}.",
    )
    shown = {
        "file": file,
        "entry": commit.seq,
        "time": commit.time,
        "digest": commit.digest,
        "recipients": list(commit.recipients),
        "survivors": list(commit.survivors),
    }
    return Link("release", said, shown)


def _mechanism(plan: Plan, body: release.Body, reserve: Reserve) -> Link:
    step, mechanism = plan.step(body.step)
    scale = step.statistic.scale
    sigma = math.sqrt(mechanism.variance_micro / MICRO) / scale
    bound = math.sqrt(mechanism.sensitivity_sq) / scale
    others = counted(mechanism.collusion, "other party", "other parties")
    shown = {"entry": reserve.seq, "step": body.step, "scale": scale, **mechanism.body()}
    if step.made == "overlap":
        return Link("mechanism", _between(mechanism, sigma, bound), shown)
    if step.statistic.owners:
        return Link("mechanism", _of_one(step, sigma, bound), shown)
    said = (
        f"Step {body.step} adds up {counted(mechanism.slots, 'number')} at each company. Whatever a single person did "
        f"can move these sums by no more than {bound:.3g} (in persons, all of them together).",
        f"By the plan each of {_list(mechanism.adders)} adds random noise of standard deviation {sigma:.3g} (in "
        "persons) to each of its sums before they leave it. Its own node sees to that; no audit can.",
        f"The noise is enough to hide a person even from {others} and the coordinator together.",
    )
    return Link("mechanism", said, shown)


def _between(mechanism: Mechanism, sigma: float, bound: float) -> tuple[str, ...]:
    """How an overlap is counted and hidden."""
    return (
        f"The step counts {counted(mechanism.slots, 'number')} between {_list(mechanism.adders)}, pair by pair: how "
        "many people of one company's list are in a list of another. Keys of people were masked by both companies with "
        "numbers that only they know, one after the other; equal ones could be counted, and nobody could read them.",
        f"A single person at one company can move these numbers by no more than {bound:.3g} (in persons, all of them "
        "together).",
        "Before anything was counted, each company of a pair put people that do not exist into each number: a random "
        f"number of them, of standard deviation {sigma:.3g} around a public one that was then taken off. So in each "
        "number there is the noise of two companies, and nobody ever saw it without. That each put in what it should "
        "only its own node sees to; no audit can.",
        "Either company's noise alone is enough to hide its people from the other companies and the coordinator "
        "together, while they do as agreed.",
    )


def _of_one(step: Step, sigma: float, bound: float) -> tuple[str, ...]:
    """How numbers of which each is one company's come about."""
    owners = tuple(dict.fromkeys(step.statistic.owners))
    return (
        f"Step {step.name} adds up {counted(len(step.statistic.slots), 'number')}, each of one company alone, of "
        f"{_list(owners)}: only its people are in its numbers. Whatever a single person of it did can move these by no "
        f"more than {bound:.3g} (in persons, all of them together).",
        f"By the plan a company adds random noise of standard deviation {sigma:.3g} (in persons) to each of its own "
        "numbers before they leave it, and zeros to those of others. Its own node sees to that; no audit can.",
        "Its own noise is enough to hide a person from all other companies and the coordinator together.",
    )


def _charge(plan: Plan, reserve: Reserve, step: str) -> Link:
    _, mechanism = plan.step(step)
    delta = float(plan.delta)
    record, person = mechanism.charge, mechanism.charge_person
    blocks = counted(len(reserve.blocks), "stretch", "stretches")
    said = (
        f"Entry {reserve.seq}, {_when(reserve.time)}, took the price out of the budget beforehand, in each of "
        f"{blocks} of time ({_list(reserve.blocks)}): ρ {decimal(record)} for one person's records at one company, "
        f"ρ {decimal(person)} for one person at all of them.",
        f"By itself this step is worth ε {accuracy.epsilon(record, delta):.3f} and ε "
        f"{accuracy.epsilon(person, delta):.3f} at δ = {plan.delta}: the larger ε, the better somebody who reads it "
        "could tell whether you are in the data.",
        f"{_list(reserve.holds)} each signed this charge.",
    )
    shown = {
        "entry": reserve.seq,
        "blocks": list(reserve.blocks),
        "rho_record": decimal(record),
        "rho_person": decimal(person),
        "delta": plan.delta,
        "signed_by": sorted(reserve.holds),
    }
    return Link("charge", said, shown)


def _asked(plan: Plan, found: _Found) -> Link:
    approval = found.approval
    said = [
        f"It was asked by the plan “{plan.name}”: {plan.purpose} (fingerprint {plan.digest}, file "
        f"{bundle.plan_name(plan.digest)}).",
    ]
    if approval is not None:
        names = _list(approval.approvals)
        said.append(f"Entry {approval.seq}, {_when(approval.time)}: {names} each approved it, by a signature.")
    said += [
        f"{each.party} answered from the data that it declared in entry {each.seq}, {_when(each.time)}: at most "
        f"{each.people_cap:,} people. It bound itself to them by a fingerprint; whether they are real only it knows."
        for each in found.datasets
    ]
    shown = {
        "plan": plan.digest,
        "name": plan.name,
        "purpose": plan.purpose,
        "entry": approval.seq if approval else None,
        "datasets": {each.party: each.seq for each in found.datasets},
    }
    return Link("plan", tuple(said), shown)


def _proof(archive: Archive, evidence: Evidence, signed: release.Release, found: _Found) -> Link:
    assert found.commit is not None
    size = signed.proof.size
    root = evidence.tree.root(size).hex()
    said = [
        f"The release carries a proof of {counted(len(signed.proof.path), 'hash', 'hashes')} that entry "
        f"{found.commit.seq} stands in the history of {size} entries whose root is {root}."
    ]
    signers: dict[str, int] = {}
    name = bundle.checkpoint_name(size)
    if name in archive:
        members = evidence.accounts.members_at(size)
        witnesses = chain.from_iterable(members.witness_keys().values())
        _, times = notes.open_note(archive[name].decode(), members.log_keys(), witnesses)
        signers = {party: time for party, time in times.items() if time is not None}
        said += [f"{party} cosigned that history {_when(time)}." for party, time in signers.items()]
    last = {each.party: each.size for each in evidence.cosigners.values()}
    said.append(
        "Whoever cosigned a later state has vouched for this one too: "
        + "; ".join(f"{party} up to {counted(upto, 'entry', 'entries')}" for party, upto in sorted(last.items()))
        + "."
    )
    shown = {"size": size, "root": root, "index": found.commit.seq, "cosigned": signers, "cosigned_up_to": last}
    return Link("proof", tuple(said), shown)


def _when(time: int) -> str:
    return dt.datetime.fromtimestamp(time, dt.UTC).strftime("on %Y-%m-%d at %H:%M UTC")


def _list(names: Any) -> str:
    ordered = sorted(names)
    return f"{', '.join(ordered[:-1])} and {ordered[-1]}" if len(ordered) > 1 else "".join(ordered)
