"""Checking proofs against roots (RFC 9162 sections 2.1.3.2 and 2.1.4.2). Every check returns None or raises."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import IntegrityError
from .tree import EMPTY_ROOT, HASH_BYTES, node_hash


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise IntegrityError unless `path` proves leaf hash `leaf` at `index` of the tree (`size`, `root`).

    leaf, root and every element of path: 32 bytes. Source: RFC 9162 section 2.1.3.2.
    """
    _check_widths(leaf, root, *path)
    if not 0 <= index < size:
        raise IntegrityError(f"entry {index} cannot be in a tree of {size}")
    fn, sn, running = index, size - 1, leaf
    for step in path:
        if sn == 0:
            raise IntegrityError("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            running = node_hash(step, running)
            fn, sn = _skip_right_edge(fn, sn)
        else:
            running = node_hash(running, step)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or running != root:
        raise IntegrityError(f"the inclusion proof of entry {index} does not lead to the root of size {size}")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raise IntegrityError unless `proof` shows that the tree (`old`, `old_root`) begins (`new`, `new_root`).

    Roots and every element of proof: 32 bytes. An empty tree begins every tree, by the empty proof and its own root
    only; equal sizes need equal roots and the empty proof. Source: RFC 9162 section 2.1.4.2.
    """
    _check_widths(old_root, new_root, *proof)
    if not 0 <= old <= new:
        raise IntegrityError(f"a ledger cannot grow from {old} to {new}")
    if old in (0, new):
        _check_trivial(old, new, proof, old_root, new_root)
        return
    if not proof:
        raise IntegrityError("the consistency proof is empty")
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for step in path[1:]:
        if sn == 0:
            raise IntegrityError("the consistency proof is too long")
        if fn & 1 or fn == sn:
            first, second = node_hash(step, first), node_hash(step, second)
            fn, sn = _skip_right_edge(fn, sn)
        else:
            second = node_hash(second, step)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or first != old_root or second != new_root:
        raise IntegrityError(f"the ledger of {new} entries does not continue the one of {old}")


def _skip_right_edge(fn: int, sn: int) -> tuple[int, int]:
    """RFC 9162's inner loop: levels at which the node is the rightmost and has no sibling."""
    while fn and not fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn


def _check_trivial(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    if proof:
        raise IntegrityError("a proof where none is needed")
    if old == 0 and old_root != EMPTY_ROOT:
        raise IntegrityError("an empty ledger has one root only")
    if old == new and old_root != new_root:
        raise IntegrityError(f"two different ledgers of {old} entries")


def _check_widths(*hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise IntegrityError(f"a hash has {HASH_BYTES} bytes")
