"""The tree and its proofs are those of RFC 6962 and RFC 9162, and nothing else passes for them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import IntegrityError, UsageError
from protocols.ledger.proofs import verify_consistency, verify_inclusion
from protocols.ledger.tree import EMPTY_ROOT, Tree, leaf_hash, node_hash

VECTORS = Path(__file__).parents[1] / "vectors" / "merkle" / "vectors.json"  # of transparency-dev/merkle
# It wants two equal "roots" of 12 bytes to be consistent. A root has 32 bytes here, whatever else is true of it.
ODD_ROOTS = "additional/sizes-are-equal-one-and-proof-is-empty"


def load(kind: str) -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads(VECTORS.read_text())[kind]
    return vectors


def unbase64(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def refused(check: Callable[..., None], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except IntegrityError:
        return True
    return False


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def grow(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    return tree


def numbered(count: int) -> list[bytes]:
    return [str(i).encode() for i in range(count)]


def test_every_public_inclusion_vector_is_decided_as_it_says() -> None:
    vectors = load("inclusion")
    wrong = []
    for name, v in vectors.items():
        path = [unbase64(part) for part in v["proof"] or []]
        leaf, root = unbase64(v["leafHash"]), unbase64(v["root"])
        if refused(verify_inclusion, leaf, v["leafIdx"], v["treeSize"], path, root) != v["wantErr"]:
            wrong.append(name)
    assert len(vectors) == 98
    assert wrong == []


def test_every_public_consistency_vector_is_decided_as_it_says_but_one_refused_on_purpose() -> None:
    vectors = load("consistency")
    wrong = []
    for name, v in vectors.items():
        proof = [unbase64(part) for part in v["proof"] or []]
        roots = unbase64(v["root1"]), unbase64(v["root2"])
        if refused(verify_consistency, v["size1"], v["size2"], proof, *roots) != v["wantErr"]:
            wrong.append(name)
    assert len(vectors) == 98
    assert wrong == [ODD_ROOTS]


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_root_of_every_size_is_the_recursive_definition(leaves: list[bytes]) -> None:
    tree = grow(leaves)
    assert [tree.root(n) for n in range(len(leaves) + 1)] == [naive_root(leaves[:n]) for n in range(len(leaves) + 1)]


def test_every_inclusion_proof_of_every_size_verifies_and_for_no_other_leaf() -> None:
    tree = grow(numbered(33))
    for size in range(1, 34):
        for index in range(size):
            path, leaf = tree.inclusion(index, size), leaf_hash(str(index).encode())
            verify_inclusion(leaf, index, size, path, tree.root(size))
            with pytest.raises(IntegrityError):
                verify_inclusion(leaf_hash(b"another"), index, size, path, tree.root(size))


def test_every_growth_is_proved_and_a_fork_at_any_size_is_refused() -> None:
    count = 33
    tree = grow(numbered(count))
    for old in range(count + 1):
        for new in range(old, count + 1):
            verify_consistency(old, new, tree.consistency(old, new), tree.root(old), tree.root(new))
    for fork in range(1, count):
        other = grow([*numbered(fork - 1), b"forked", *numbered(count)[fork:]])
        for new in range(fork, count + 1):
            with pytest.raises(IntegrityError):
                verify_consistency(fork, new, other.consistency(fork, new), tree.root(fork), other.root(new))


@given(st.integers(1, 60), st.data())
def test_no_changed_proof_verifies(size: int, data: st.DataObject) -> None:
    tree = grow(numbered(size))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    inclusion = data.draw(st.booleans())
    proof = tree.inclusion(index, size) if inclusion else tree.consistency(old, size)
    how = data.draw(st.sampled_from(["longer", "shorter", "bit"]))
    if how == "longer" or not proof:
        changed = [*proof, b"\0" * 32]
    elif how == "shorter":
        changed = proof[:-1]
    else:
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
    leaf, root = leaf_hash(str(index).encode()), tree.root(size)
    with pytest.raises(IntegrityError):
        _ = (
            verify_inclusion(leaf, index, size, changed, root)
            if inclusion
            else verify_consistency(old, size, changed, tree.root(old), root)
        )


@given(st.integers(0, 40), st.integers(0, 40))
def test_truncating_to_a_mark_undoes_exactly_what_came_after(before: int, after: int) -> None:
    tree = grow(numbered(before))
    mark, root = tree.mark(), tree.root()
    for leaf in numbered(after):
        tree.append(leaf_hash(leaf))
    tree.truncate(mark)
    assert (len(tree), tree.root()) == (before, root)
    tree.append(leaf_hash(b"next"))
    assert tree.root() == naive_root([*numbered(before), b"next"])


def test_an_empty_ledger_begins_every_ledger_but_only_with_its_own_root() -> None:
    tree = grow(numbered(5))
    verify_consistency(0, 5, [], EMPTY_ROOT, tree.root())
    with pytest.raises(IntegrityError, match="one root only"):
        verify_consistency(0, 5, [], tree.root(2), tree.root())
    with pytest.raises(IntegrityError, match="none is needed"):
        verify_consistency(0, 5, [EMPTY_ROOT], EMPTY_ROOT, tree.root())


def test_sizes_that_cannot_be_are_refused() -> None:
    tree = grow(numbered(5))
    root = tree.root()
    with pytest.raises(IntegrityError, match="grow from 6 to 5"):
        verify_consistency(6, 5, [], root, root)
    with pytest.raises(IntegrityError, match="empty"):
        verify_consistency(3, 5, [], tree.root(3), root)
    for index in (-1, 5):
        with pytest.raises(IntegrityError, match="cannot be in a tree"):
            verify_inclusion(root, index, 5, [], root)


def test_asking_the_tree_beyond_its_end_is_wrong_usage() -> None:
    tree = grow(numbered(3))
    for ask in (lambda: tree.root(4), lambda: tree.inclusion(3, 3), lambda: tree.consistency(2, 4)):
        with pytest.raises(UsageError):
            ask()
