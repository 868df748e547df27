"""What must hold after every round, whatever was done to it. Each check gives the violations it found, in words.

Read from the files and from what the processes said before it could have an effect (`role.py`); the rules of the
ledger, its signatures and figures are the auditor's business (`protocols.audit`), everything else is counted anew.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator import outputs
from coordinator.config import Config
from protocols import audit
from protocols.errors import CannotDecide, SumroomError
from protocols.logbook import Logbook
from tests.torture.processes import COORDINATOR, Room
from tests.torture.room import exact_cuts

AFTER_DEADLINE_S = 14  # for the forfeit's cosigners, and for a coordinator that has just come back
TROUBLE = re.compile(r"Traceback|internal fault|never retrieved|is damaged|forked|Segmentation|panicked")
Key = tuple[str, str]  # round, step


@dataclass
class Copy:
    """One copy of the ledger, as it is in its file."""

    entries: list[bytes]
    checkpoints: list[int]
    cosigned: dict[int, set[str]]


@dataclass
class Ended:
    """A round in the ledger. state: open, released or forfeited."""

    id: str
    reserve: dict[str, Any]
    state: str = "open"
    at: int = 0
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)


def copy_of(room: Room, name: str) -> Copy:
    with closing(_read(room.made.state(name) / "ledger.db")) as db:
        entries = [bytes(row[0]) for row in db.execute("SELECT body FROM entry ORDER BY seq")]
        sizes = [int(row[0]) for row in db.execute("SELECT size FROM checkpoint ORDER BY size")]
        cosigned: dict[int, set[str]] = defaultdict(set)
        for size, who in db.execute("SELECT size, name FROM cosignature"):
            cosigned[size].add(who)
    return Copy(entries, sizes, cosigned)


def rounds_of(copy: Copy) -> dict[str, Ended]:
    """The rounds of a copy, in their order."""
    found: dict[str, Ended] = {}
    for body in copy.entries:
        entry = json.loads(body)
        if entry["type"] == "reserve@v1":
            found[entry["round"]] = Ended(entry["round"], entry)
        elif entry["type"] in ("commit@v1", "forfeit@v1"):
            round_ = found[entry["round"]]
            round_.at = entry["time"]
            if entry["type"] == "forfeit@v1":
                round_.state = "forfeited"
            else:
                round_.commits[entry["step"]] = entry
                round_.state = "released" if len(round_.commits) == len(round_.reserve["steps"]) else "open"
    return found


def covered_by(mine: Copy, parties: Sequence[str]) -> int:
    """How many entries are under a checkpoint that carries them: of everybody where one spends or admits, of the
    survivors that a commit names, of a majority where a round was forfeited."""
    covered = 0
    for size in mine.checkpoints:
        new = [json.loads(body) for body in mine.entries[covered:size]]
        needed = {
            party for entry in new for party in entry.get("survivors", parties if entry["type"] != "forfeit@v1" else [])
        }
        if needed <= mine.cosigned[size] and len(mine.cosigned[size]) > len(parties) // 2:
            covered = size
    return covered


def restless(room: Room) -> str:
    """What is still to come before the room is at rest; nothing once it is."""
    if dead := room.dead():
        return f"{', '.join(dead)} not running"
    online = room.online()
    if online is None:
        return "the coordinator does not answer"
    if missing := sorted(set(room.parties) - set(online)):
        return f"{', '.join(missing)} not connected"
    mine = copy_of(room, COORDINATOR)
    if still := [r.id[:8] for r in rounds_of(mine).values() if r.state == "open"]:
        return f"round {still[0]} open"
    for party in room.parties:
        missing_entries = mine.entries[len(copy_of(room, party).entries) :]
        # Who was away when a round was forfeited hears of it when it is asked next: the others have cosigned it.
        if any(json.loads(body)["type"] != "forfeit@v1" for body in missing_entries):
            return f"the copy of {party} is behind"
    if (covered := covered_by(mine, room.parties)) < len(mine.entries):
        return f"entry {covered} is not cosigned by all that it needs"
    committed = {(r.id, step) for r in rounds_of(mine).values() for step in r.commits}
    if missing_ := committed - set(_releases(room)):
        return f"{len(missing_)} committed releases are not signed"
    for party in room.parties:
        if missing_ := committed - set(_delivered(room, party)):
            return f"{party} has not got {len(missing_)} releases"
    return ""


def after_round(room: Room, before: set[str]) -> Iterator[str]:
    """Everything, once the room is at rest. before: the rounds that there were."""
    mine = copy_of(room, COORDINATOR)
    rounds = rounds_of(mine)
    fresh = [r for r in rounds.values() if r.id not in before]
    if len(fresh) > 1:
        yield f"one launch made {len(fresh)} rounds"
    for round_ in fresh:
        late = round_.at - round_.reserve["time"] - room.made.plan.deadline_s
        if late > AFTER_DEADLINE_S:
            yield f"round {round_.id[:8]} ended {late} s after its deadline"
        if round_.state == "released" and late > 0:
            yield f"round {round_.id[:8]} released {late} s after its deadline"
    yield from copies(room, mine)
    yield from charges(room, rounds)
    yield from audited(room, rounds)
    room.hear()
    yield from drawn_once(room)
    yield from sums(room, fresh)
    yield from logs(room)


def copies(room: Room, mine: Copy) -> Iterator[str]:
    """Every party's copy begins the coordinator's, and each has cosigned one history only."""
    for party in room.parties:
        theirs = copy_of(room, party).entries
        if theirs != mine.entries[: len(theirs)]:
            yield f"the ledger of {party} is not the beginning of the coordinator's"


def charges(room: Room, rounds: dict[str, Ended]) -> Iterator[str]:
    """Each party's own budget: every round once, by what the plan costs; nothing that the ledger does not know."""
    cost = room.made.plan.charge
    for party in room.parties:
        spent: dict[str, list[int]] = defaultdict(list)
        with closing(_read(room.place / party / "accounts.db")) as db:
            for round_id, nano in db.execute("SELECT round, nano FROM charge WHERE state='spent'"):
                spent[round_id].append(nano)
        for round_id, amounts in spent.items():
            if round_id not in rounds:
                yield f"{party} has spent for round {round_id[:8]}, which is in no ledger"
            elif amounts != [cost]:
                yield f"{party} has spent {amounts} for round {round_id[:8]}, which costs {cost}"
        for round_ in rounds.values():
            if round_.state == "released" and round_.id not in spent:
                yield f"{party} has not spent for round {round_.id[:8]}, which was released"


def audited(room: Room, rounds: dict[str, Ended]) -> Iterator[str]:
    """The auditor's verdict over what the coordinator would hand out, and the balance that it finds."""
    config = Config.load(room.made.settings(COORDINATOR))
    try:
        with Logbook(room.made.state(COORDINATOR) / "ledger.db") as book:
            packed = outputs.bundle_of(book)
        findings = audit.verify(packed, outputs.policy_of(config.room))
    except CannotDecide as exc:
        if rounds:
            yield f"the auditor cannot decide: {exc.message}"
        return
    except SumroomError as exc:
        yield f"no bundle can be made: {exc.message}"
        return
    for problem in findings.violations:
        yield f"audit: {problem.where}: {problem.what}"
    for line in findings.budgets:
        if line.who in room.parties and line.spent != len(rounds) * room.made.plan.charge:
            yield f"audit: {line.who} is charged {line.spent} for {len(rounds)} rounds"


def drawn_once(room: Room) -> Iterator[str]:
    """No share of a step left a party in two forms, and no noise was drawn after a share had left."""
    arrived: dict[tuple[str, Key], set[str]] = defaultdict(set)
    for event in room.events[COORDINATOR]:
        if event["what"] == "arrive":
            arrived[event["party"], (event["round"], event["step"])].add(event["sha256"])
    for (party, (round_id, step)), forms in arrived.items():
        if len(forms) > 1:
            yield f"{len(forms)} different shares of {party} came for step {step} of round {round_id[:8]}"
    for party in room.parties:
        left: dict[Key, set[str]] = defaultdict(set)
        for event in room.events[party]:
            if event["what"] == "draw" and left[event["round"], event["step"]]:
                yield f"{party} drew noise again for step {event['step']} of round {event['round'][:8]}"
            elif event["what"] == "leave":
                left[event["round"], event["step"]].add(event["sha256"])
        for (round_id, step), forms in left.items():
            if len(forms) > 1:
                yield f"{len(forms)} different shares left {party} for step {step} of round {round_id[:8]}"


def sums(room: Room, fresh: Iterable[Ended]) -> Iterator[str]:
    """What was released is the sum, over exactly the survivors that are named, of what these have drawn."""
    released = _releases(room)
    for round_ in fresh:
        for step, commit in round_.commits.items():
            document = released.get((round_.id, step))
            if document is None:
                yield f"step {step} of round {round_.id[:8]} is committed and its release is not there"
                continue
            body = json.loads(document)["body"]
            survivors = commit["survivors"]
            draws = [_draws(room, party, round_.id, step) for party in survivors]
            if not any(_sum(choice) == body["noised"] for choice in itertools.product(*draws)):
                yield f"step {step} of round {round_.id[:8]} is not the sum of what {', '.join(survivors)} drew"
            if not room.made.noise and step == "rfm-cuts":
                exact = _sum([exact_cuts(room.parties.index(party)) for party in survivors])
                if exact != body["noised"]:
                    yield f"step {step} of round {round_.id[:8]} is not the exact sum over {', '.join(survivors)}"
            for party in room.parties:
                if _delivered(room, party).get((round_.id, step)) != document:
                    yield f"{party} has another release of step {step} of round {round_.id[:8]}"


def logs(room: Room) -> Iterator[str]:
    """No process ended by itself or said that something went wrong that must not."""
    for name in room.names:
        for line in room.told(name):
            if TROUBLE.search(line):
                yield f"log of {name}: {line[:160]}"
    for name in room.names:
        for event in room.events[name]:
            if event["what"] == "ended" and event["status"]:
                yield f"{name} ended with status {event['status']}"
    yield from (f"{name} ended, and nobody had ended it" for name in room.fallen)


def _sum(vectors: Iterable[list[int]]) -> list[int]:
    return [sum(slots) for slots in zip(*vectors, strict=True)]


def _draws(room: Room, party: str, round_id: str, step: str) -> list[list[int]]:
    """What a party drew for a step: once, or again where the first was lost before it was kept."""
    return [
        event["noised"]
        for event in room.events[party]
        if event["what"] == "draw" and (event["round"], event["step"]) == (round_id, step)
    ]


def _releases(room: Room) -> dict[Key, bytes]:
    """Every signed release that the coordinator keeps."""
    with closing(_read(room.made.state(COORDINATOR) / "ledger.db")) as db:
        rows = db.execute("SELECT key, data FROM blob WHERE key LIKE 'release/%'").fetchall()
    return {(key.split("/")[1], key.split("/")[2]): bytes(data) for key, data in rows}


def _delivered(room: Room, party: str) -> dict[Key, bytes]:
    """Every release that a party keeps."""
    with closing(_read(room.made.state(party) / "node.db")) as db:
        return {(r, s): bytes(d) for r, s, d in db.execute("SELECT round, step, document FROM release")}


def _read(path: Path) -> sqlite3.Connection:
    why = ""
    for _ in range(50):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            db.execute("SELECT 1 FROM sqlite_master")
            return db
        except sqlite3.OperationalError as exc:  # its process is just starting
            db.close()
            why = str(exc)
            time.sleep(0.1)
    raise AssertionError(f"{path.parent.parent.name}/{path.name} cannot be read: {why}")
