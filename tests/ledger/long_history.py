"""A ledger of many rounds, signed as a room would, but written straight down: what the rules allow, quickly made.

    python -m tests.ledger.long_history /tmp/long.tar --rounds 7143     # 100,006 entries, about a minute

No releases: they are for `verify --without-releases`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from protocols import bundle, keys
from protocols.encoding import canonical, digest
from protocols.ledger import entries, notes
from protocols.ledger.tree import Tree, leaf_hash
from protocols.ledger.trust import render
from tests.ledger import builder

FEATURES = ("recency_days", "baskets", "spend_cents", "promo_share_ppm")
SEGMENTS = {
    "kind": "segments",
    "clusters": 4,
    "lloyd_rounds": 5,
    "coarse_cells": 16,
    "fine_cells": 64,
    "rho": dict.fromkeys(("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile"), 1_000_000),
    "features": [{"name": name, "transform": "identity", "low": 0, "high": 1000} for name in FEATURES],
}
EVERYTHING = 2**52  # nano-ρ: a cap that no test reaches
CAPS = {
    "record": {party: dict.fromkeys(builder.BLOCKS, EVERYTHING) for party in builder.PARTIES},
    "person": dict.fromkeys(builder.BLOCKS, EVERYTHING),
    "lifetime_record": dict.fromkeys(builder.PARTIES, EVERYTHING),
    "lifetime_person": EVERYTHING,
}


def room() -> builder.Room:
    """A room whose plan has thirteen steps and whose caps are out of reach."""
    return builder.Room(caps=CAPS, rho=EVERYTHING, questions=[builder.QUESTION, SEGMENTS])


def bodies(made: builder.Room, rounds: int, *, forfeit_each: int = 0) -> list[bytes]:
    """The entries: genesis, datasets, plan, then `rounds` reserves with a commit for each step. Of every
    `forfeit_each` rounds one ends by a forfeit after its first step."""
    found = [entries.encode(entry) for entry in made.opening()]
    model = made.reserve(len(found)).body()
    seq = len(found)
    for number in range(rounds):
        label = f"round {number}"
        found.append(_reserve(made, model, label, seq))
        early = bool(forfeit_each) and number % forfeit_each == 0
        for step in model["steps"][: 1 if early else None]:
            found.append(_commit(label, step["step"], seq := seq + 1))
        if early:
            ended = {"type": "forfeit@v1", "time": builder.START + seq, "round": builder.hex16(label)}
            found.append(canonical({**ended, "seq": (seq := seq + 1), "reason": "deadline"}))
        seq += 1
    return found


def _reserve(made: builder.Room, model: dict[str, Any], label: str, seq: int) -> bytes:
    round_id = builder.hex16(label)
    steps = [{**step, "nonce": builder.hex16(f"{label}/{step['step']}")} for step in model["steps"]]
    body = {**model, "round": round_id, "steps": steps, "expires": builder.START + seq + 600}
    signed = {name: value for name, value in body.items() if name not in ("holds", "seq", "time")}
    signed["room"] = builder.ROOM
    holds = {party: keys.sign(builder.key(party), "hold", signed) for party in made.parties}
    return canonical({**body, "holds": holds, "seq": seq, "time": builder.START + seq})


def _commit(label: str, step: str, seq: int) -> bytes:
    return canonical(
        {
            "type": "commit@v1",
            "seq": seq,
            "time": builder.START + seq,
            "round": builder.hex16(label),
            "step": step,
            "digest": digest(f"{label}/{step}".encode()),
            "recipients": list(builder.PARTIES),
            "numbers": ["/recency/p20/below", "/recency/p20/edge"],
            "survivors": list(builder.PARTIES),
        }
    )


def members(made: builder.Room, written: list[bytes], checkpoints: int = 1) -> dict[str, bytes]:
    """The bundle's members, so many checkpoints by all parties in it, and the plan."""
    tree = Tree()
    for body in written:
        tree.append(leaf_hash(body))
    found = {bundle.ENTRIES: bundle.join_entries(written), bundle.plan_name(made.plan.digest): made.plan.canonical}
    for number in range(1, checkpoints + 1):
        size = len(written) * number // checkpoints
        checkpoint = notes.Checkpoint(builder.ORIGIN, size, tree.root(size))
        lines = [notes.cosign(checkpoint, party, builder.identity(party), builder.START) for party in made.parties]
        note = notes.assemble(checkpoint, notes.sign(checkpoint, made.identity, builder.START), lines)
        found[bundle.checkpoint_name(size)] = note.encode()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=7143)
    parser.add_argument("--forfeit-each", type=int, default=0)
    parser.add_argument("--checkpoints", type=int, default=1)
    args = parser.parse_args()
    made = room()
    written = bodies(made, args.rounds, forfeit_each=args.forfeit_each)
    args.out.write_bytes(bundle.pack(members(made, written, args.checkpoints)))
    args.out.with_suffix(".policy.txt").write_text(render(made.policy()), encoding="utf-8")
    print(f"{len(written)} entries, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
