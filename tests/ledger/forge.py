"""Growth of a ledger as a coordinator could send it that has its own key, and bad intentions."""

from __future__ import annotations

from collections.abc import Sequence

from protocols import keys
from protocols.messages import Witness

from . import naive, witnesses


def growth(shared: Sequence[bytes], entries: Sequence[bytes]) -> Witness:
    """These entries after those shared ones, with the proof and the checkpoint that belong to them."""
    history = [*shared, *entries]
    proof = naive.consistency(history, len(shared)) if shared else []
    return Witness(
        old_size=len(shared),
        entries=[body.decode() for body in entries],
        proof=[keys.base64_text(node) for node in proof],
        checkpoint=witnesses.forged_note(len(history), naive.root(history)),
    )


def spoiled(request: Witness, how: str, at: int) -> Witness:
    """The request with one thing wrong; where there is nothing to spoil, as it is."""
    entries, proof = list(request.entries), list(request.proof)
    place = at % len(entries) if entries else 0
    changes: dict[str, object] = {}
    if how == "entry" and entries:
        digit = at % len(entries[place])
        entries[place] = entries[place][:digit] + "0" + entries[place][digit + 1 :]
    elif how == "spelling" and entries:
        entries[place] = entries[place].replace(",", ", ", 1)
    elif how == "cut":
        entries = entries[:-1]
    elif how == "twice" and entries:
        entries.insert(place, entries[place])
    elif how == "proof":
        proof = (
            [*proof[:-1], keys.base64_text(at.to_bytes(32, "big"))] if at % 2 else [*proof, proof[0]] if proof else []
        )
    elif how == "root":
        changes["checkpoint"] = witnesses.forged_note(request.old_size + len(entries), at.to_bytes(32, "big"))
    elif how == "note":
        whole = [*b"".join(text.encode() for text in entries)]
        changes["checkpoint"] = witnesses.forged_note(len(whole), naive.root([]), by="alpha")
    return request.model_copy(update={**changes, "entries": entries, "proof": proof})
