"""What it costs to finish a step without some of its parties: masks, sealed pieces, settling, unmasking.

Every party does what a node does in a step (`party_node/participation.py`) and the coordinator what it does
(`coordinator/steps.py`), message for message through their bytes, in one process and without sockets, discs or noise.
CPU seconds; a party's is the mean over those who stay. Prints a table and, as its last line, one JSON object.
QUICK=1: once each instead of five times.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator import aggregate
from party_node import share
from protocols import masking, messages, recovery
from protocols.budget import recovery_threshold
from protocols.masking import Occasion, Secrets
from protocols.noise import add_noise

REPEATS = 1 if os.environ.get("QUICK") == "1" else 5
# Parties, quorum, collusion, slots, lost.
STEPS = [(50, 45, 10, 100_000, 0), (50, 45, 10, 100_000, 5), (10, 8, 2, 100_000, 2), (5, 4, 1, 100_000, 1)]
OCCASION = Occasion(room="bench", plan="0" * 64, round="0" * 32, step="sum", nonce="0" * 32, state="0" * 64, attempt=1)

T = TypeVar("T")


class Clocks:
    """CPU seconds by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, what: str, do: Callable[[], T]) -> T:
        began = time.process_time()
        done = do()
        self.spent[what] = self.spent.get(what, 0.0) + time.process_time() - began
        return done


class Step:
    """One step of all parties. Parties are lost between their agreement and their share."""

    def __init__(self, parties: int, quorum: int, collusion: int, slots: int, lost: int) -> None:
        self.names = [f"p{i:02d}" for i in range(parties)]
        self.signing = {name: Ed25519PrivateKey.generate() for name in self.names}
        self.identities = {name: key.public_key() for name, key in self.signing.items()}
        self.threshold, self.slots = recovery_threshold(parties, collusion), slots
        assert quorum >= self.threshold
        self.alive = self.names[: parties - lost]
        generator = np.random.Generator(np.random.PCG64(1))
        self.sums = {name: generator.integers(-(2**40), 2**40, slots) for name in self.names}

    def run(self) -> tuple[float, float]:
        """CPU seconds of a party and of the coordinator. Raises AssertionError unless the sum is exact."""
        party, coordinator = Clocks(), Clocks()
        own, offers = {}, {}
        for name in self.names:
            own[name] = party("keys", lambda: Secrets.fresh(OCCASION, recoverable=True))
            offers[name] = party("keys", lambda n=name: own[n].offer(self.signing[n], n))  # type: ignore[misc]
        coordinator("roster", lambda: self._check_roster(offers))
        asked = messages.encode(messages.Agree(occasion=OCCASION, roster=offers))
        self.agreed_to = masking.roster_digest(offers)
        agreed = {n: party("agree", lambda n=n: self._agree(n, own[n], asked)) for n in self.names}  # type: ignore[misc]
        replies = coordinator("roster", lambda: self._agreed(agreed, offers))
        agreements = {n: r.signature for n, r in replies.items()}
        asked = messages.encode(messages.Contribute(occasion=OCCASION, roster=offers, agreements=agreements))
        sent = {n: party("mask", lambda n=n: self._contribute(n, own[n], asked)) for n in self.alive}  # type: ignore[misc]
        total = coordinator("sum", lambda: self._sum(sent))
        asked = messages.encode(messages.Settle(occasion=OCCASION, survivors=self.alive))
        settled = {n: party("settle", lambda n=n: self._settle(n, offers, asked)) for n in self.alive}  # type: ignore[misc]
        unmask = coordinator("settle", lambda: self._unmask(settled, replies, offers))
        given = {n: party("pieces", lambda n=n: self._give(n, own[n], offers, unmask[n])) for n in self.alive}  # type: ignore[misc]
        noised = coordinator("unmask", lambda: self._unmasked(total, offers, given))
        assert np.array_equal(noised, sum(self.sums[name] for name in self.alive)), "the sum is not exact"
        # Those who are lost have made keys and agreed: they are counted as if they had stayed.
        return sum(party.spent.values()) / len(self.alive), sum(coordinator.spent.values())

    def _check_roster(self, roster: Mapping[str, masking.MaskKey]) -> None:
        masking.check_roster(roster, self.identities, OCCASION, recoverable=True)

    def _circle(self, roster: Mapping[str, masking.MaskKey]) -> recovery.Circle:
        return recovery.Circle(OCCASION, roster, self.names, self.threshold)

    def _agree(self, name: str, own: Secrets, asked: bytes) -> bytes:
        request = messages.read_request(asked)
        assert isinstance(request, messages.Agree)
        self._check_roster(request.roster)
        signature = masking.agree(self.signing[name], name, OCCASION, request.roster)
        boxes = recovery.Dealer(self._circle(request.roster), name, own).deal()
        return messages.encode(messages.Agreed(party=name, signature=signature, boxes=boxes))

    def _agreed(self, agreed: Mapping[str, bytes], roster: Mapping[str, masking.MaskKey]) -> dict[str, messages.Agreed]:
        replies: dict[str, Any] = {name: messages.read_reply(body) for name, body in agreed.items()}
        signatures = {name: reply.signature for name, reply in replies.items()}
        masking.check_agreements(signatures, self.identities, OCCASION, roster)
        return replies

    def _contribute(self, name: str, own: Secrets, asked: bytes) -> tuple[bytes, bytes]:
        request = messages.read_request(asked)
        assert isinstance(request, messages.Contribute)
        assert masking.roster_digest(request.roster) == self.agreed_to  # a node knows the roster that it agreed to
        masking.check_agreements(request.agreements, self.identities, OCCASION, request.roster)
        group = {party: request.roster[party] for party in request.agreements}
        built = share.build(self.sums[name], own, party=name, signing=self.signing[name], group=group)
        return messages.encode(built.share), built.payload

    def _sum(self, sent: Mapping[str, tuple[bytes, bytes]]) -> masking.Words:
        room: Any = type("Room", (), {"identities": self.identities})
        shares = {}
        for name, (body, payload) in sent.items():
            reply = messages.read_reply(body)
            assert isinstance(reply, messages.Share)
            shares[name] = aggregate.check_share(room, name, OCCASION, reply, payload, self.slots)
        return aggregate.add_up(shares)

    def _settle(self, name: str, group: Mapping[str, masking.MaskKey], asked: bytes) -> bytes:
        request = messages.read_request(asked)
        assert isinstance(request, messages.Settle)
        signature = recovery.settle(self.signing[name], name, OCCASION, group, request.survivors)
        return messages.encode(messages.Settled(party=name, signature=signature))

    def _unmask(
        self, settled: Mapping[str, bytes], replies: Mapping[str, messages.Agreed], group: Mapping[str, masking.MaskKey]
    ) -> dict[str, bytes]:
        read: dict[str, Any] = {name: messages.read_reply(body) for name, body in settled.items()}
        signatures = {name: reply.signature for name, reply in read.items()}
        recovery.check_settled(signatures, self.identities, OCCASION, group, self.alive, self.threshold)
        requests = {}
        for name in self.alive:
            boxes = {dealer: reply.boxes[name] for dealer, reply in replies.items() if name in reply.boxes}
            requests[name] = messages.encode(
                messages.Unmask(occasion=OCCASION, survivors=self.alive, signatures=signatures, boxes=boxes)
            )
        return requests

    def _give(self, name: str, own: Secrets, group: Mapping[str, masking.MaskKey], asked: bytes) -> bytes:
        request = messages.read_request(asked)
        assert isinstance(request, messages.Unmask)
        circle = self._circle(group)
        recovery.check_settled(
            request.signatures, self.identities, OCCASION, group, request.survivors, circle.threshold
        )
        pieces = recovery.Dealer(circle, name, own).give_out(request.boxes, request.survivors, sorted(group))
        return messages.encode(messages.Unmasked(party=name, pieces=pieces))

    def _unmasked(self, total: masking.Words, group: Mapping[str, masking.MaskKey], given: Mapping[str, bytes]) -> Any:
        read: dict[str, Any] = {name: messages.read_reply(body) for name, body in given.items()}
        pieces = {name: reply.pieces for name, reply in read.items()}
        return aggregate.noised_sum(recovery.unmask(total, group, self.alive, pieces, self._circle(group)))


def noise_s(slots: int) -> float:
    """CPU seconds of one party's noise, for comparison."""
    began = time.process_time()
    add_noise(np.zeros(slots, dtype=np.int64), bound_sq=1, variance_micro=400_000_000)
    return time.process_time() - began


def main() -> None:
    print("masking and recovery of one step, CPU ms; every sum was exact")
    print(f"{'parties':>8}{'quorum':>8}{'slots':>9}{'lost':>6}{'a party':>10}{'coordinator':>13}")
    rows = []
    for parties, quorum, collusion, slots, lost in STEPS:
        step = Step(parties, quorum, collusion, slots, lost)
        party, coordinator = zip(*(step.run() for _ in range(REPEATS)), strict=True)
        row = {"parties": parties, "quorum": quorum, "slots": slots, "lost": lost}
        row |= {"party_ms": round(1000 * statistics.median(party), 1)}
        row |= {"coordinator_ms": round(1000 * statistics.median(coordinator), 1)}
        rows.append(row)
        print(f"{parties:>8}{quorum:>8}{slots:>9}{lost:>6}{row['party_ms']:>10}{row['coordinator_ms']:>13}", flush=True)
    beside = round(1000 * noise_s(100_000))
    print(f"beside it, one party's noise for 100,000 slots: {beside} ms")
    print(json.dumps({"steps": rows, "noise_ms": beside, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
