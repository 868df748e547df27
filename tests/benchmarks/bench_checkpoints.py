"""What a checkpoint costs with one key a member and with two: bytes, the time to cosign it, the time to check it.

`make bench-checkpoints`. One core, CPU time, the best of three; the note has every member's cosignature.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.keys import Identity
from protocols.ledger import notes

ORIGIN, TIME = "room.example/q1", 1_700_000_000


def milliseconds(work: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - began) / times)
    return best * 1e3


def main() -> None:
    print("parties  keys            bytes  cosign ms  check ms")
    checkpoint = notes.Checkpoint(ORIGIN, 100, bytes(32))
    for parties in (3, 5, 50):
        for both in (False, True):
            coordinator, *members = (
                Identity.generate() if both else Identity(Ed25519PrivateKey.generate()) for _ in range(parties + 1)
            )
            named = {f"p{number:02d}": member for number, member in enumerate(members)}
            lines = [notes.cosign(checkpoint, name, member, TIME) for name, member in named.items()]
            note = notes.assemble(checkpoint, notes.sign(checkpoint, coordinator, TIME), lines)
            log = notes.log_keys(ORIGIN, coordinator.public())
            witnesses = [key for name, own in named.items() for key in notes.cosigner_keys(name, own.public())]
            cosign = milliseconds(lambda own=members[0]: notes.cosign(checkpoint, "p00", own, TIME), 50)  # type: ignore[misc]
            check = milliseconds(lambda n=note, k=log, w=witnesses: notes.open_note(n, k, w), 10)  # type: ignore[misc]
            kind = "Ed25519, ML-DSA" if both else "Ed25519"
            print(f"{parties:7d}  {kind:15s} {len(note.encode()):6d}  {cosign:9.2f}  {check:8.2f}")


if __name__ == "__main__":
    main()
