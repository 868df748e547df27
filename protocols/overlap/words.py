"""What coordinator and nodes say to one another in an overlap. `messages.py` has these among all its words.

coordinator asks          a node answers          what the node does before it answers
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────
Meet     a step           Met or Refusal          draws its dummies, keeps them with fresh secrets
Lay      all offers       Laid or Refusal         keeps them as the only ones; lays its lists out, and signs them
Fetch    a part           Chunk or Refusal        of its own lists, encrypted for the peer; or of finished ones
Take     a peer's part    Taken or Refusal        decrypts it, keeps it
Finish   –                Finished or Refusal     checks its peers' lists, masks them, adds its mates; signs them
Reveal   peers' word      Revealed or Refusal     shows its canaries, when its own lists are finished, once
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..masking import Occasion
from ..schema import Base64, Count, Digest, Frozen, Name
from .agreement import Head, Offer
from .layout import CHUNK_BYTES


class Meet(Frozen):
    """`checkpoint`: one over the round's reserve, cosigned by every party."""

    type: Literal["meet"] = "meet"
    occasion: Occasion
    checkpoint: str


class Met(Frozen):
    type: Literal["met"] = "met"
    party: Name
    offer: Offer


class Lay(Frozen):
    type: Literal["lay"] = "lay"
    occasion: Occasion
    roster: dict[Name, Offer]


class Laid(Frozen):
    """`heads`: peer → what this party's lists for it are."""

    type: Literal["laid"] = "laid"
    party: Name
    heads: dict[Name, Head]


class Fetch(Frozen):
    """kind `list`: of the party's own lists for `peer`. `final`: of the lists of `peer`, as the party finished them."""

    type: Literal["fetch"] = "fetch"
    occasion: Occasion
    peer: Name
    kind: Literal["list", "final"]
    index: Count


class Chunk(Frozen):
    """The part travels beside this, filled up to whole words of 8 bytes. sha256: of its `size` bytes."""

    type: Literal["chunk"] = "chunk"
    party: Name
    peer: Name
    kind: Literal["list", "final"]
    index: Count
    size: Annotated[int, Field(strict=True, ge=1, le=CHUNK_BYTES + 16)]
    sha256: Digest


class Take(Frozen):
    """The next part of the lists that `head` speaks of, as their owner encrypted it; it travels beside this."""

    type: Literal["take"] = "take"
    occasion: Occasion
    head: Head
    index: Count
    size: Annotated[int, Field(strict=True, ge=1, le=CHUNK_BYTES + 16)]


class Taken(Frozen):
    """`next`: the first part of the peer's lists that is not here yet."""

    type: Literal["taken"] = "taken"
    party: Name
    peer: Name
    next: Count


class Finish(Frozen):
    type: Literal["finish"] = "finish"
    occasion: Occasion


class Finished(Frozen):
    """`heads`: peer → what its lists are, now that this party has finished them."""

    type: Literal["finished"] = "finished"
    party: Name
    heads: dict[Name, Head]


class Reveal(Frozen):
    """`heads`: peer → what it says of this party's lists, now that it has finished them."""

    type: Literal["reveal"] = "reveal"
    occasion: Occasion
    heads: dict[Name, Head]


class Revealed(Frozen):
    """`canaries`: peer → for each of this party's lists, the final values of its canaries, 8 bytes each."""

    type: Literal["revealed"] = "revealed"
    party: Name
    canaries: dict[Name, list[Base64]]


Requests = Meet | Lay | Fetch | Take | Finish | Reveal
Replies = Met | Laid | Chunk | Taken | Finished | Revealed

__all__ = [
    "Chunk", "Fetch", "Finish", "Finished", "Laid", "Lay", "Meet", "Met", "Replies", "Requests", "Reveal", "Revealed",
    "Take", "Taken",
]  # fmt: skip
