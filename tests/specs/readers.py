"""How the product reads each format: it raises what it raises at bytes that it does not take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from coordinator.aggregate import check_share
from party_node.participation import Participation
from party_node.store import Store
from protocols import audit, bundle, keys, masking, messages, plan, recovery, release
from protocols.carrier import codec, seal
from protocols.carrier import room_pb2 as pb
from protocols.encoding import parse
from protocols.errors import IntegrityError
from protocols.ledger import entries, notes, tlog_proof
from protocols.ledger.reducer import Accounts
from protocols.ledger.state import Round
from protocols.room import Room
from protocols.statistic import Noise, Step
from tests.ledger import builder
from tests.vectors import recoveries, rooms, shares

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ASKED = {
    "overlap": "good-overlap-of-three",
    "classes": "good-classes",
    "lookalike": "good-lookalike",
    "rfm": "good-rfm",
    "five": "good-rfm-of-five",
    "segments": "good-segments-of-three",
    "range": "good-segments-of-two-or-three",
}


def golden(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def files(start: str) -> list[str]:
    return sorted(f"{path.parent.name}/{path.name}" for path in VECTORS.glob(f"*/{start}-*"))


@cache
def genesis() -> entries.Genesis:
    found = entries.decode(golden("ledger-entry/good-00-genesis.json"))
    assert isinstance(found, entries.Genesis)
    return found


def identities() -> dict[str, Ed25519PublicKey]:
    return {party: keys.public_key(member.key) for party, member in genesis().parties.items()}


def coordinator() -> Ed25519PublicKey:
    return keys.public_key(genesis().coordinator.key)


def room() -> Any:
    """As much of a room as a check of shares looks at."""
    return SimpleNamespace(identities=identities())


# -- one reader a format -----------------------------------------------------------------------------------------------


def read_entry(name: str, data: bytes) -> None:
    """Decoded, encoded again, and taken in by the rules at its place."""
    entry = entries.decode(data)
    assert entries.encode(entry) == data
    accounts = Accounts()
    series = next((f"ledger-entry/good-{of}-" for of in ("five", "both") if f"-{of}" in name), "ledger-entry/good-0")
    good = [name for name in files("good") if name.startswith(series)]
    for before in good[:-1] if entry.type == "forfeit@v1" else good[: entry.seq]:
        accounts.apply(entries.decode(golden(before)))
    accounts.apply(entry)


def read_change(name: str, data: bytes) -> None:
    """As an entry, after those before it of a room with keys of both kinds, or with Ed25519 keys at first."""
    entry = entries.decode(data)
    assert entries.encode(entry) == data
    accounts = Accounts()
    series = "ledger-changes/good-plain-" if "-plain" in name else "ledger-changes/good-[0-9]"
    for before in sorted(VECTORS.glob(f"{series}*"))[: entry.seq]:
        accounts.apply(entries.decode(before.read_bytes()))
    accounts.apply(entry)


def read_checkpoint(name: str, data: bytes) -> None:
    text = data.decode()
    if "key-" in name and "of-another" not in name:
        assert notes.parse_key(text.removesuffix("\n")).text() + "\n" == text
        return
    checkpoint, _ = notes.open_note(text, *known_keys("-both" in name))
    _, lines = notes.split(text)
    assert notes.assemble(checkpoint, lines[0], lines[1:]) == text


def known_keys(both: bool) -> tuple[list[notes.VerifierKey], list[notes.VerifierKey]]:
    """The log's keys and the cosigners'."""
    kinds = ("good-key-", "good-key-ml-dsa-44-") if both else ("good-key-",)
    names = {who: [f"checkpoint/{kind}{who}.txt" for kind in kinds] for who in ("log", *builder.PARTIES)}
    found = {who: [notes.parse_key(golden(name).decode().rstrip()) for name in names[who]] for who in names}
    return found.pop("log"), [key for keys in found.values() for key in keys]


def read_proof(_: str, data: bytes) -> None:
    """Of entry 6 of the room whose members have two keys."""
    text = data.decode()
    proof = tlog_proof.parse(text)
    assert tlog_proof.render(proof.index, proof.path, proof.note) == text
    entry = bundle.split_entries(bundle.unpack(golden("bundle/good-both.tar"))[bundle.ENTRIES])[6]
    proof.check(entry, *known_keys(both=True))


def read_bundle(name: str, data: bytes) -> None:
    """Unpacked, packed again, and audited."""
    members = bundle.unpack(data)
    assert bundle.pack(members) == data
    _audit(name, members)


def _audit(name: str, members: dict[str, bytes]) -> None:
    for problem in audit.verify(bundle.pack(members), rooms.room_of(name).policy()).violations:
        raise IntegrityError(problem.what)


def read_release(vector: str, data: bytes) -> None:
    """Read, computed again, and in the place of the good release of its step in its bundle."""
    made = release.read(data)
    assert made.to_bytes() == data
    release.check_signature(made, coordinator())
    kinds = {"seg": "segments", "overlap": "overlap", "classes": "classes", "look": "lookalike"}
    name = kinds.get(made.body_.step.split("-")[0], "five" if "-five" in vector else "rfm")
    members = bundle.unpack(golden(f"bundle/{'good-room' if name == 'rfm' else f'good-{name}'}.tar"))
    agreed = plan.Plan.from_bytes(golden(f"plan/{ASKED[name]}.json"))
    steps = [step.name for step, _ in agreed.steps()]
    before = steps[: steps.index(made.body_.step)] if made.body_.step in steps else []
    assert isinstance(made.body_.numbers, list)
    earlier = {step: parse(golden(f"release/good-{step}.json"))["body"] for step in before}
    release.recompute(made.body_.body(), agreed, earlier)
    _audit(vector, {**members, f"{bundle.RELEASES}{made.name}.json": data})


def read_plan(_: str, data: bytes) -> None:
    assert plan.Plan.from_bytes(data).canonical == data


def read_share(name: str, data: bytes) -> None:
    if "-share-" in name or "-words-" in name:
        _read_share(name, data)
    elif "-masks" in name:
        parse(data)
    elif "-mask-offer" in name or "-agreed" in name:
        assert messages.encode(messages.read_reply(data)) == data
    else:
        request = messages.read_request(data)
        assert messages.encode(request) == data
        if isinstance(request, messages.Contribute):
            _read_contribute(
                request, "good-0", {"alpha": shares.secrets_of("alpha", request.occasion, recoverable=False)}
            )


def _read_contribute(request: messages.Contribute, ledger: str, own: dict[str, masking.Secrets]) -> None:
    """As alpha reads it before it masks."""
    node, round_ = alpha(ledger)
    node._check_roster(request, round_)
    agreed = masking.roster_digest(request.roster)
    node.store = cast(Store, SimpleNamespace(agreed=lambda *_: agreed))
    node._check_contribute(request, round_)
    masking.check_own(request.roster, "alpha", own["alpha"].offer(builder.key("alpha"), "alpha"))


def alpha(ledger: str) -> tuple[Participation, Round]:
    """As much of alpha's node as its checks look at, and the round that the ledger of these vectors opens."""
    accounts = Accounts()
    for name in files("good"):
        if name.startswith(f"ledger-entry/{ledger}") and not accounts.rounds:
            accounts.apply(entries.decode(golden(name)))
    known = {party: builder.key(party).public_key() for party in accounts.members.parties}
    node = object.__new__(Participation)
    room = cast(Room, SimpleNamespace(identities=known, parties=sorted(known)))
    node.party, node.standing = "alpha", cast(Any, SimpleNamespace(room=room))
    return node, next(iter(accounts.rounds.values()))


def read_recovery(name: str, data: bytes) -> None:
    if "good-pieces" in name or "good-unmasking" in name:
        parse(data)
    elif any(f"-{reply}" in name for reply in ("mask-offer", "agreed", "settled", "unmasked")):
        reply = messages.read_reply(data)
        assert messages.encode(reply) == data
        if isinstance(reply, messages.Settled):
            _check_settled({**_good_unmask().signatures, "alpha": reply.signature})
        if isinstance(reply, messages.Unmasked):
            _check_pieces({**parse(golden("recovery/good-unmasking.json"))["given"], "alpha": reply.pieces})
    else:
        request = messages.read_request(data)
        assert messages.encode(request) == data
        if isinstance(request, messages.Contribute):
            _read_contribute(request, "good-five-", recoveries.OWN)
        elif isinstance(request, messages.Settle | messages.Unmask):
            node, round_ = alpha("good-five-")
            node._check_survivors(round_, list(builder.FIVE), request.survivors)
        if isinstance(request, messages.Unmask):
            _check_settled(request.signatures)
            dealer = recovery.Dealer(recoveries.CIRCLE, "alpha", recoveries.OWN["alpha"])
            dealer.give_out(request.boxes, request.survivors, builder.FIVE)


def _good_unmask() -> messages.Unmask:
    request = messages.read_request(golden("recovery/good-unmask.json"))
    assert isinstance(request, messages.Unmask)
    return request


def _check_settled(signatures: Mapping[str, str]) -> None:
    known = {party: builder.key(party).public_key() for party in rooms.SURVIVORS}
    group, occasion, threshold = recoveries.ROSTER, recoveries.OCCASION, recoveries.THRESHOLD
    recovery.check_settled(signatures, known, occasion, group, rooms.SURVIVORS, threshold)


def _check_pieces(given: Mapping[str, Mapping[str, str]]) -> None:
    """As the coordinator takes them: the sum of the good unmasking comes out."""
    document = parse(golden("recovery/good-unmasking.json"))
    words = {party: np.frombuffer(bytes.fromhex(text), dtype="<u8") for party, text in document["words"].items()}
    circle, group = recoveries.CIRCLE, recoveries.ROSTER
    total = recovery.unmask(masking.add_up(words), group, document["survivors"], given, circle)
    assert total.view(np.int64).tolist() == document["sum"]


def _read_share(name: str, data: bytes) -> None:
    party = next((party for party in identities() if party in name), "alpha")
    is_words = name.endswith(".bin")
    share = messages.read_reply(golden(f"share/good-share-{party}.json") if is_words else data)
    assert isinstance(share, messages.Share)
    prepare = messages.read_request(golden("share/good-prepare.json"))
    assert isinstance(prepare, messages.Prepare)
    beside = "bad-words-cut" if "too-few" in name else f"good-words-{party}"
    words = data if is_words else golden(f"share/{beside}.bin")
    check_share(room(), party, prepare.occasion, share, words, 4)
    assert is_words or messages.encode(share) == data


def read_header(name: str, data: bytes) -> None:
    if "payload" in name:
        codec.decode(data, seal.ERROR if "error" in name else seal.INSTRUCTION)
        return
    sealed = pb.Sealed.FromString(data)
    if "good-error" in name or "bad-reply" in name:
        reply = seal.unseal(identities()["alpha"], sealed, room="demo-room", src="alpha", dst="coordinator")
        seal.check_reply(reply, instruction())
        return
    assert seal.unseal(coordinator(), sealed, room="demo-room", src="coordinator", dst="alpha") == instruction()


def instruction() -> seal.Header:
    return seal.read(pb.Sealed.FromString(golden("wire-header/good-instruction.bin")).header)


# -- questions ---------------------------------------------------------------------------------------------------------


def read_question(name: str, data: bytes) -> None:
    """Every number computed again from the people, the noise and the states; raises at the first that differs."""
    document = parse(data)
    kind = "classes" if name.startswith("classes-question/") else name.split("-")[1].removesuffix(".json")
    asked = plan.Plan.from_bytes(golden(f"plan/{ASKED[kind]}.json"))
    assert document["plan"] == asked.digest
    earlier: dict[str, Any] = {}
    for (step, mechanism), made in zip(asked.steps(), document["steps"], strict=True):
        noise = Noise(len(document["people"]), mechanism.variance_micro)
        _compare(step, noise, document["people"], made, earlier)
        if step.check_state is not None:
            step.check_state(made["state"], earlier)
        more = {field: made[field] for field in ("state", "noised")} if step.check_state is not None else {}
        earlier[step.name] = {**made["answer"], **more}


def _compare(step: Step, noise: Noise, people: Any, made: dict[str, Any], earlier: dict[str, Any]) -> None:
    for part, found in _computed(step, noise, people, made, earlier):
        if made[part] != found:
            raise IntegrityError(f"{step.name}: {part}")


def read_lookalike(_: str, data: bytes) -> None:
    """Of its sums every number computed again; of the step between parties matches and noise are given."""
    document, asked = parse(data), plan.Plan.from_bytes(golden("plan/good-lookalike.json"))
    assert document["plan"] == asked.digest
    earlier: dict[str, Any] = {}
    for (step, mechanism), made in zip(asked.steps(), document["steps"], strict=True):
        noise = step.noise(len(asked.parties), mechanism.variance_micro)
        if step.between is None:
            _compare(step, noise, document["people"], made, earlier)
        else:
            noised = np.sum([made["matched"], *made["noise"].values()], axis=0, dtype=np.int64)
            caps = {party: list(most) for party, most in step.between.caps(earlier).items()}
            again = {"slots": list(step.statistic.slots), "caps": caps, "noised": noised.tolist()}
            for part, found in {**again, "answer": step.answer(noised, noise, earlier)}.items():
                if made[part] != found:
                    raise IntegrityError(f"{step.name}: {part}")
        if step.check_state is not None:
            step.check_state(made["state"], earlier)
        more = {field: made[field] for field in ("state", "noised")} if step.check_state is not None else {}
        earlier[step.name] = {**made["answer"], **more}


def read_overlap(name: str, data: bytes) -> None:
    """The same of both steps of an overlap: the first is a sum, of the second matches and noise are given."""
    document = parse(data)
    of = "two" if name.endswith("-two.json") else "three"
    asked = plan.Plan.from_bytes(golden(f"plan/good-overlap-of-{of}.json"))
    assert document["plan"] == asked.digest
    (sizes, of_sizes), (cells, of_cells) = asked.steps()
    first, second = document["steps"]
    n = len(asked.parties)
    for part, made in _computed(sizes, sizes.noise(n, of_sizes.variance_micro), document["people"], first, {}):
        if first[part] != made:
            raise IntegrityError(f"{sizes.name}: {part}")
    vectors = (second["matched"], *second["noise"].values())
    noised = [sum(numbers) for numbers in zip(*vectors, strict=True)]
    noise, earlier = cells.noise(n, of_cells.variance_micro), {sizes.name: first["answer"]}
    again = {
        "slots": list(cells.statistic.slots),
        "noised": noised,
        "answer": cells.answer(np.array(noised, dtype=np.int64), noise, earlier),
    }
    for part, made in again.items():
        if second[part] != made:
            raise IntegrityError(f"{cells.name}: {part}")


def _computed(
    step: Step, noise: Noise, people: dict[str, Any], made: dict[str, Any], earlier: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Part by part: figures of another sum than the released one may be none at all."""

    def row(party: str, person: dict[str, int]) -> list[list[int]]:
        alone = {name: np.array([value], dtype=np.int64) for name, value in person.items()}
        total = step.tally(party, alone, earlier).total
        return [[int(slot), int(total[slot])] for slot in np.flatnonzero(total)]

    def exact(party: str, persons: list[dict[str, int]]) -> list[int]:
        times = [person["times"] for person in persons]
        all_of_them = {name: np.repeat([p[name] for p in persons], times).astype(np.int64) for name in persons[0]}
        total: list[int] = step.tally(party, all_of_them, earlier).total.tolist()
        return total

    vectors = (*made["exact"].values(), *made["noise"].values())
    seen = {**earlier, step.name: {"state": made["state"]}} if "state" in made else earlier
    yield "slots", list(step.statistic.slots)
    yield "rows", {party: [row(party, person) for person in persons] for party, persons in people.items()}
    yield "exact", {party: exact(party, persons) for party, persons in people.items()}
    yield "noised", [sum(numbers) for numbers in zip(*vectors, strict=True)]
    yield "answer", step.answer(np.array(made["noised"], dtype=np.int64), noise, seen)


READ: dict[str, Callable[[str, bytes], None]] = {
    "ledger-entry": read_entry,
    "ledger-changes": read_change,
    "checkpoint": read_checkpoint,
    "tlog-proof": read_proof,
    "bundle": read_bundle,
    "release": read_release,
    "plan": read_plan,
    "people": read_plan,
    "question": read_question,
    "overlap-question": read_overlap,
    "classes-question": read_question,
    "lookalike-question": read_lookalike,
    "share": read_share,
    "recovery": read_recovery,
    "wire-header": read_header,
}
