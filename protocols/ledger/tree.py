"""The Merkle tree over the entries (RFC 6962 section 2.1, RFC 9162 section 2.1): one root for a whole history.

    leaf hash  = SHA-256(0x00 ‖ entry)
    node hash  = SHA-256(0x01 ‖ left ‖ right)

The tree is kept in memory, all complete subtrees of it, and is built anew from the entries whenever a ledger is opened.
"""

from __future__ import annotations

import hashlib

from ..errors import UsageError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Mark = tuple[int, ...]


def leaf_hash(entry: bytes) -> bytes:
    """The 32-byte hash of one entry's exact bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The 32-byte hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only list of leaf hashes, and the roots and proofs of every size it ever had.

    `levels[k][i]` is the root of the complete subtree over the leaves i·2^k … (i+1)·2^k − 1.
    """

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash (32 bytes)."""
        number, node = len(self), leaf
        for level, nodes in enumerate(self._levels):
            nodes.append(node)
            if not number >> level & 1:
                return
            node = node_hash(nodes[-2], node)
        self._levels.append([node])

    def mark(self) -> Mark:
        """Where the tree stands now, for `truncate`."""
        return tuple(len(level) for level in self._levels)

    def truncate(self, mark: Mark) -> None:
        """Forget every leaf added since `mark`."""
        del self._levels[len(mark) :]
        for level, length in zip(self._levels, mark, strict=True):
            del level[length:]

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves, all of them by default. Raises UsageError beyond the tree."""
        size = len(self) if size is None else size
        if not 0 <= size <= len(self):
            raise UsageError(f"the tree has {len(self)} leaves, not {size}")
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The path that proves leaf `index` in the tree of `size` leaves (RFC 9162 section 2.1.3.1), leaf first."""
        if not 0 <= index < size <= len(self):
            raise UsageError(f"no leaf {index} in a tree of {size}, of {len(self)} in all")
        path, low, high = [], 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        return path[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `old` leaves begins the tree of `new` (RFC 9162 section 2.1.4.1)."""
        if not 0 <= old <= new <= len(self):
            raise UsageError(f"no growth from {old} to {new} in a tree of {len(self)}")
        return self._subproof(old, 0, new, True) if old else []

    def _subproof(self, old: int, low: int, high: int, whole: bool) -> list[bytes]:
        if old == high - low:
            return [] if whole else [self._subtree(low, high)]
        middle = low + _split(high - low)
        if old <= middle - low:
            return [*self._subproof(old, low, middle, whole), self._subtree(middle, high)]
        return [*self._subproof(old - (middle - low), middle, high, False), self._subtree(low, middle)]

    def _subtree(self, low: int, high: int) -> bytes:
        width = high - low
        if width & (width - 1) == 0 and low % width == 0:
            return self._levels[width.bit_length() - 1][low // width]
        middle = low + _split(width)
        return node_hash(self._subtree(low, middle), self._subtree(middle, high))


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)
