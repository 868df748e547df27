"""That one entry is in the ledger, in one text that stands for itself: C2SP tlog-proof@v1.

    c2sp.org/tlog-proof@v1
    index 6                                            which entry, from 0
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=       its sibling, then up to the root's child (RFC 6962 2.1.1)
    B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
                                                       (empty line)
    room.example/q1                                    a checkpoint with its cosignatures (`notes.py`)
    7
    …

The file's name ends in `.tlog-proof`. Whoever has the entry's bytes and the keys of log and witnesses needs nothing
else, and may use any program that reads the format. The line `extra`, which the format allows and nobody signs, has no
place in a proof of this ledger: it is never written, and refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..encoding import MAX_INT
from ..errors import IntegrityError, UsageError
from ..keys import base64_text, unbase64
from . import notes, proofs
from .notes import Checkpoint, VerifierKey
from .tree import HASH_BYTES, leaf_hash

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
MAX_PATH = 53  # levels of a tree of 2^53 entries

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")


@dataclass(frozen=True)
class Proof:
    """Entry `index` is under the checkpoint of `note` by `path`, hashes of 32 bytes from the leaf's sibling upwards."""

    index: int
    path: tuple[bytes, ...]
    note: str

    def check(
        self, entry: bytes, log: Sequence[VerifierKey], witnesses: Iterable[VerifierKey]
    ) -> tuple[Checkpoint, dict[str, int | None]]:
        """As `notes.open_note`, once `entry` is shown to be in that checkpoint's tree.

        entry: its exact bytes. Raises IntegrityError. Whether the cosigners suffice, the caller must decide.
        """
        checkpoint, signed = notes.open_note(self.note, log, witnesses)
        proofs.verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint, signed


def render(index: int, path: Sequence[bytes], note: str) -> str:
    """The text of a proof. Raises UsageError for a path or an index that no tree has."""
    if not 0 <= index <= MAX_INT or len(path) > MAX_PATH or any(len(step) != HASH_BYTES for step in path):
        raise UsageError(f"no proof of entry {index} has {len(path)} hashes, or of another length than {HASH_BYTES}")
    lines = [HEADER, f"index {index}", *map(base64_text, path)]
    return "\n".join(lines) + "\n\n" + note


def parse(text: str) -> Proof:
    """The proof that `render` wrote; its note is not read yet. Raises IntegrityError for any other spelling."""
    head, gap, note = text.partition("\n\n")
    header, *lines = head.split("\n")
    if not gap or header != HEADER or not lines:
        raise IntegrityError(f"not a proof: it begins with {HEADER}, an index and hashes, before an empty line")
    if lines[0].startswith("extra "):
        raise IntegrityError("a proof with extra data, which nobody signs; proofs of this ledger have none")
    index = _INDEX.fullmatch(lines[0])
    if index is None or int(index[1]) > MAX_INT:
        raise IntegrityError("a proof without the index of its entry")
    path = tuple(unbase64(line) for line in lines[1:])
    if len(path) > MAX_PATH or any(len(step) != HASH_BYTES for step in path):
        raise IntegrityError(f"a proof's path has at most {MAX_PATH} hashes of {HASH_BYTES} bytes, one a line")
    return Proof(int(index[1]), path, note)
