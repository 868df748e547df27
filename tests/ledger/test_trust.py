"""The auditor's policy file is a C2SP tlog-policy, and every fault in it is named by its line."""

from __future__ import annotations

from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import CannotDecide, IntegrityError, UsageError
from protocols.keys import Identity, PublicKeys
from protocols.ledger import notes, trust


def identity(number: int) -> Identity:
    seed = bytes([number]) * 32
    return Identity(Ed25519PrivateKey.from_private_bytes(seed), MLDSA44PrivateKey.from_seed_bytes(seed))


def public(number: int) -> PublicKeys:
    return identity(number).public()


LOG, LOG_2 = (key.text() for key in notes.log_keys("room.example/q1", public(1)))
A, A_2, B, B_2, C, _, D, _ = (
    key.text() for n, name in enumerate("abcd", 2) for key in notes.cosigner_keys(name, public(n))
)
OTHER_LOG = notes.log_keys("room.example/q2", public(9))[0].text()
SAME_LOG = notes.log_keys("room.example/q1", public(9))[0].text()
SAME_A = notes.cosigner_keys("a", public(9))[0].text()
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
        (2, f"log {LOG}\nlog {OTHER_LOG}\n"),
        (2, f"log {LOG}\nlog {SAME_LOG}\n"),
        (2, f"log {LOG_2}\nlog {LOG_2}\n"),
        (2, f"witness a {A}\nwitness a2 {SAME_A}\n"),
        (2, f"witness a {A_2}\nwitness a2 {A_2}\n"),
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


# --- two keys beside each other ---------------------------------------------------------------------------------------

BOTH = f"""log {LOG_2}
log {LOG}
witness a-new {A_2}
witness a-old {A}
group a all a-old a-new
witness b-old {B}
witness b-new {B_2}
group b all b-old b-new
group any any a b
quorum any
"""


def test_a_policy_with_two_keys_a_member_gives_them_by_the_cosigners_name_ed25519_first() -> None:
    policy = trust.parse(BOTH)
    assert [key.text() for key in policy.log] == [LOG, LOG_2]
    assert {name: [key.text() for key in keys] for name, keys in policy.cosigners.items()} == {
        "a": [A, A_2],
        "b": [B, B_2],
    }
    assert trust.parse(trust.render(policy)) == policy


def test_a_cosigner_stands_for_all_the_witnesses_of_its_name() -> None:
    policy = trust.parse(BOTH)
    assert policy.satisfied({"a"})
    assert policy.satisfied({"a", "b"})
    assert not policy.satisfied(())
    assert not policy.satisfied({"a-old", "a-new"})
    assert trust.parse(BOTH.replace("group any any a b", "group any all a b")).satisfied({"a", "b"})
    assert not trust.parse(BOTH.replace("group any any a b", "group any all a b")).satisfied({"a"})


def test_a_note_opens_by_the_keys_of_a_policy_only_with_both_signatures_of_each() -> None:
    policy = trust.parse(BOTH)
    checkpoint = notes.Checkpoint("room.example/q1", 7, bytes(32))
    log, a = notes.sign(checkpoint, identity(1), 5), notes.cosign(checkpoint, "a", identity(2), 6)
    note = notes.assemble(checkpoint, log, [a])
    _, signed = notes.open_note(note, policy.log, policy.witnesses.values())
    assert policy.satisfied(signed)
    for missing in notes.split(note)[1]:
        with pytest.raises(IntegrityError, match="not signed with all its keys"):
            notes.open_note(note.replace(missing, ""), policy.log, policy.witnesses.values())


@pytest.mark.parametrize("text", [
    f"log {LOG}\nwitness w {notes.cosigner_keys('room.example/q1', public(9))[0].text()}\nquorum w\n",
    f"log {LOG}\nwitness w {notes.cosigner_keys('w', public(1))[0].text()}\nquorum w\n",
    f"log {LOG}\nlog {LOG_2}\nwitness w {notes.cosigner_keys('w', public(1))[1].text()}\nquorum w\n",
])  # fmt: skip
def test_a_log_is_not_its_own_witness(text: str) -> None:
    with pytest.raises(UsageError, match="a witness has the name or a key of the log"):
        trust.parse(text)


@given(st.data())
def test_every_policy_reads_back_and_suffices_for_the_same_cosigners(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["a", "b", "c", "dd", "é", "x/y"]), min_size=1, unique=True))
    both = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    witnesses, groups = dict[str, notes.VerifierKey](), dict[str, trust.Group]()
    for number, (name, second) in enumerate(zip(names, both, strict=True), 10):
        own = notes.cosigner_keys(name, public(number))[: 1 + second]
        mine = [f"{name}~{key.kind}" for key in data.draw(st.permutations(own))]
        witnesses |= dict(zip(mine, own, strict=True))
        groups[name] = trust.Group(data.draw(st.integers(1, len(own))), tuple(mine))
    groups["Q"] = trust.Group(data.draw(st.integers(1, len(names))), tuple(names))
    log = notes.log_keys("room.example/q1", public(1))[: data.draw(st.integers(1, 2))]
    policy = trust.TrustPolicy(log, witnesses, trust.Quorum("Q", groups))
    again = trust.parse(trust.render(policy).encode())
    assert again == policy
    some = data.draw(st.sets(st.sampled_from(names)))
    assert again.satisfied(some) == policy.satisfied(some) == (len(some) >= groups["Q"].threshold)
