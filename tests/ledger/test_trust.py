"""The auditor's policy file is a C2SP tlog-policy, and every fault in it is named by its line."""

from __future__ import annotations

from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols.errors import CannotDecide, UsageError
from protocols.keys import Identity, PublicKeys
from protocols.ledger import notes, trust


def public(number: int) -> PublicKeys:
    seed = bytes([number]) * 32
    return Identity(Ed25519PrivateKey.from_private_bytes(seed), MLDSA44PrivateKey.from_seed_bytes(seed)).public()


LOG, LOG_2 = (key.text() for key in notes.log_keys("room.example/q1", public(1)))
A, A_2, B, B_2, C, _, D, _ = (
    key.text() for n, name in enumerate("abcd", 2) for key in notes.cosigner_keys(name, public(n))
)
POLICY = f"""# whose word counts
log {LOG}
witness a {A}
\twitness b {B} https://b.example/
witness c {C}
group two 2 a b c

quorum two
"""


def test_a_policy_reads_to_its_keys_and_its_rule() -> None:
    policy = trust.parse(POLICY)
    assert policy.log_name == "room.example/q1"
    assert {name: key.text() for name, key in policy.witnesses.items()} == {"a": A, "b": B, "c": C}
    for size in range(4):
        for names in combinations("abc", size):
            assert policy.quorum.satisfied(names) == (size >= 2)


def test_a_rendered_policy_reads_back_to_the_same_value() -> None:
    policy = trust.parse(POLICY)
    assert trust.parse(trust.render(policy).encode()) == policy


def test_groups_nest_and_a_member_counts_once_for_its_group() -> None:
    text = f"log {LOG}\nwitness a {A}\nwitness b {B}\nwitness c {C}\nwitness d {D}\n"
    text += "group left any a b\ngroup right all c d\ngroup both all left right\nquorum both\n"
    quorum = trust.parse(text).quorum
    assert quorum.satisfied({"a", "c", "d"})
    assert not quorum.satisfied({"a", "b", "c"})
    assert not quorum.satisfied({"c", "d"})


def test_a_quorum_may_be_one_witness_or_none() -> None:
    one = trust.parse(f"log {LOG}\nwitness a {A}\nquorum a\n").quorum
    assert one.satisfied({"a"})
    assert not one.satisfied({"b"})
    assert trust.parse(f"log {LOG}\nquorum none\n").quorum.satisfied(())


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (1, "logs x\n"),
        (1, f"log {A}\n"),
        (1, f"witness a {LOG}\n"),
        (1, "log nonsense\n"),
        (2, f"log {LOG}\nlog {LOG}\n"),
        (2, f"witness a {A}\nwitness a {B}\n"),
        (2, f"witness a {A}\nwitness b {A}\n"),
        (1, f"witness none {A}\n"),
        (1, f"witness a+b {A}\n"),
        (1, f"witness a {A} url more\n"),
        (2, f"witness a {A}\ngroup g 2 a\n"),
        (2, f"witness a {A}\ngroup g 0 a\n"),
        (2, f"witness a {A}\ngroup g 01 a\n"),
        (2, f"witness a {A}\ngroup g most a\n"),
        (2, f"witness a {A}\ngroup g all\n"),
        (2, f"witness a {A}\ngroup g all a a\n"),
        (2, f"witness a {A}\ngroup a all a\n"),
        (3, f"witness a {A}\ngroup g all a\ngroup h all a\n"),
        (1, "group g all later\n"),
        (1, "group g all g\n"),
        (1, "quorum later\n"),
        (2, "quorum none\nquorum none\n"),
        (2, f"log {LOG}\nquorum none\r\n"),
        (1, "# bell \a\n"),
    ],
)
def test_a_fault_is_named_by_its_line(line: int, text: str) -> None:
    with pytest.raises(UsageError, match=f"policy line {line}:"):
        trust.parse(text)


def test_a_policy_without_log_or_quorum_is_refused() -> None:
    with pytest.raises(UsageError, match="no log"):
        trust.parse("quorum none\n")
    with pytest.raises(UsageError, match="no quorum"):
        trust.parse(f"log {LOG}\n")


def test_what_is_no_text_at_all_cannot_be_decided() -> None:
    with pytest.raises(CannotDecide, match="UTF-8"):
        trust.parse(b"\xff\xfe")
    with pytest.raises(CannotDecide, match="lines"):
        trust.parse("\n" * trust.MAX_LINES)
