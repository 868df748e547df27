"""`sumroom-party change`, `sumroom-coordinator change`: drafted, shown, signed, and refused where they must be."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from coordinator import cli as coordinator_cli
from protocols import keys
from tests.cli.hands import Hands

ALL = ("alpha", "beta", "gamma")
Q1 = "q1=2018-01-01/2018-03-31"


@pytest.fixture
def grant(hands: Hands) -> Path:
    return hands.drafted("grant", "--block", Q1, "--record", "0.06", "--person", "0.18")


# -- grants ------------------------------------------------------------------------------------------------------------


def test_a_new_block_is_drafted_shown_signed_by_everybody_and_entered(hands: Hands, grant: Path) -> None:
    status, out, err = hands.party("alpha", "show", grant)
    assert (status, err) == (0, "")
    for words in ("2018-01-01 to 2018-03-31", "0.06", "0.18", "all parties together", "for a person in the data"):
        assert words in out
    assert out.count("is missing") == 3
    hands.signed("alpha", "gamma")
    status, out, err = hands.operator("enter", grant)
    assert status == 1
    assert "signatures are missing, of: beta" in err
    hands.signed("beta")
    found = json.loads(hands.party("alpha", "show", grant, "--json")[1])
    assert [one["signed"] for one in found["signatures"]] == [True, True, True]
    assert hands.enter().numbers == (1,)
    assert hands.room.book.accounts.balance("alpha", "q1").cap == 60_000_000
    assert {node.book.size for node in hands.room.nodes.values()} == {2}
    assert hands.room.ledger.cosigned_size() == 2
    assert "in the ledger: entry 1" in hands.party("alpha", "show", grant)[1]


def test_what_is_in_the_ledger_is_not_entered_again(hands: Hands, grant: Path) -> None:
    hands.signed(*ALL)
    assert hands.enter().fresh == (1,)
    again = hands.enter()
    assert (again.numbers, again.fresh) == ((1,), ())
    assert hands.room.book.size == 2


def test_the_numbers_shown_are_the_caps_and_what_they_mean(hands: Hands) -> None:
    hands.drafted("grant", "--raise", "alpha:year=2.5", "--raise", "alpha:lifetime=3")
    found = json.loads(hands.party("alpha", "show", hands.file, "--json")[1])
    year, ever = found["budgets"]
    assert (year["who"], year["block"], year["rho_cap_before"], year["rho_cap_after"]) == ("alpha", "year", "2", "2.5")
    assert year["days"] == "2017-01-01 to 2017-12-31"
    assert 0 < year["epsilon_before"] < year["epsilon_after"]
    assert (ever["block"], ever["days"]) == ("lifetime", "all")
    assert [one["name"] for one in found["signatures"]] == ["alpha"]


def test_a_cap_of_one_party_is_that_partys_business_alone(hands: Hands) -> None:
    hands.drafted("grant", "--raise", "alpha:year=2.5")
    status, _, err = hands.party("beta", "sign", hands.file, "--yes")
    assert status == 1
    assert "not for beta to sign: it needs alpha" in err
    hands.signed("alpha")
    status, _, err = hands.party("alpha", "sign", hands.file, "--yes")
    assert status == 1
    assert "you have signed this change already" in err
    hands.enter()
    assert hands.room.book.accounts.balance("alpha", "year").cap == 2_500_000_000


def test_a_lowered_cap_is_signed_by_nobody(hands: Hands) -> None:
    hands.drafted("grant", "--raise", "alpha:year=2.5")
    before = {**hands.body(), "caps": {"alpha": {"year": 1_000_000_000}}}
    hands.file.write_text(json.dumps(before))
    status, _, err = hands.party("alpha", "sign", hands.file, "--yes")
    assert status == 1
    assert "it never lowers it" in err
    assert hands.body() == before
    status, _, err = hands.operator("new", "grant", "--raise", "alpha:year=2", "--out", hands.base / "b.json")
    assert status == 1
    assert not (hands.base / "b.json").exists()


def test_a_block_that_shares_days_with_another_is_not_drafted(hands: Hands) -> None:
    words = ("new", "grant", "--block", "q4=2017-12-01/2018-03-01", "--record", "1", "--person", "1")
    status, _, err = hands.operator(*words, "--out", hands.file)
    assert status == 1
    assert "shares its name or a day" in err
    assert not hands.file.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing is granted"),
        (("--block", "q1"), "NAME=FIRST/LAST"),
        (("--block", Q1), "a new block needs its caps"),
        (("--record", "0.1"), "are the caps of a new block"),
        (("--raise", "alpha"), "WHO:BLOCK=RHO"),
        (("--raise", "alpha:year=a lot"), "not a decimal"),
        (("--raise", "alpha:year=3", "--raise", "alpha:year=4"), "set twice"),
        (("--block", Q1, "--block", "q1=2019-01-01/2019-01-02", "--record", "1", "--person", "1"), "one name"),
        (("--block", "q1=2018-02-30/2018-03-31", "--record", "1", "--person", "1"), "no such day"),
        (("--raise", "nobody:year=3"), "nobody is not a party"),
        (("--raise", "alpha:never=3"), "no block never"),
    ],
)
def test_a_grant_that_cannot_be_is_not_drafted(hands: Hands, words: tuple[str, ...], said: str) -> None:
    status, _, err = hands.operator("new", "grant", *words, "--out", hands.file)
    assert status in (1, 2)
    assert said in err
    assert not hands.file.exists()


def test_a_signature_is_over_what_was_shown_and_nothing_else(hands: Hands, grant: Path) -> None:
    hands.signed("alpha")
    body = hands.body()
    body["caps"]["alpha"]["q1"] += 1
    grant.write_text(json.dumps(body))
    for status, _, err in (hands.party("beta", "sign", grant, "--yes"), hands.party("beta", "show", grant)):
        assert status == 3
        assert "the change signature of alpha does not verify" in err


def test_without_a_terminal_and_without_yes_nothing_is_signed(hands: Hands, grant: Path) -> None:
    before = grant.read_bytes()
    status, _, err = hands.party("alpha", "sign", grant)
    assert status == 2
    assert "add --yes" in err
    assert grant.read_bytes() == before


def test_a_file_that_is_no_change_is_named(hands: Hands) -> None:
    for text, said in (
        ("[]", "is no change of a room"),
        ("{", "is not JSON"),
        ('{"type": "plan@v1"}', "is no change of a room, but 'plan@v1'"),
        ('{"type": "grant@v1", "seq": 4}', "has seq"),
        ('{"type": "grant@v1", "type": "grant@v1"}', "is not JSON with each name once"),
        ('{"type": "grant@v1", "blocks": {}}', "caps: is missing"),
    ):
        hands.file.write_text(text)
        status, _, err = hands.party("alpha", "show", hands.file)
        assert status == 2, err
        assert said in err
    status, _, err = hands.party("alpha", "show", hands.base / "none.json")
    assert (status, "cannot read the change" in err) == (2, True)


def test_no_file_is_written_over(hands: Hands, grant: Path) -> None:
    before = grant.read_bytes()
    status, _, err = hands.operator("new", "grant", "--raise", "alpha:year=3", "--out", grant)
    assert (status, "is there already" in err) == (2, True)
    assert grant.read_bytes() == before


# -- keys --------------------------------------------------------------------------------------------------------------


def test_new_keys_are_made_signed_by_both_and_are_their_owners_alone(hands: Hands) -> None:
    next_ = hands.base / "alpha" / "signing-next.pem"
    status, out, err = hands.party("alpha", "rotate-key", "--new", next_, "--out", hands.file)
    assert (status, err) == (0, "")
    assert stat.S_IMODE(next_.stat().st_mode) == 0o600
    assert "signing_key_next" in out
    assert sorted(hands.body()["own"]) == ["new", "new_ml_dsa_44", "old"]
    made = keys.Identity.from_pem(next_.read_bytes(), where="next")
    assert hands.body()["key"] == keys.public_text(made.ed25519)
    assert hands.operator("show", hands.file)[0] == 0
    before = next_.read_bytes()
    for words in (
        ("--new", next_, "--out", hands.base / "b.json"),
        ("--new", hands.base / "n.pem", "--out", hands.file),
    ):
        status, _, err = hands.party("alpha", "rotate-key", *words)
        assert (status, "is there already" in err) == (2, True)
    assert next_.read_bytes() == before
    assert not (hands.base / "n.pem").exists()


def test_nobodys_old_key_hands_its_place_to_a_strangers(hands: Hands) -> None:
    thief = keys.Identity.generate()
    body = {"type": "key@v1", "action": "rotate", "member": "alpha", **thief.public().texts(), "own": {}, "others": {}}
    hands.file.write_text(json.dumps(body))
    status, _, err = hands.party("alpha", "sign", hands.file, "--yes")
    assert status == 1
    assert "whoever has it would be you" in err
    assert hands.body() == body


def test_nor_to_a_pair_of_which_one_key_is_a_strangers(hands: Hands) -> None:
    next_ = hands.base / "next.pem"
    mine = json.loads(hands.bare("keys", next_, "--new")[1])
    new = {**keys.Identity.generate().public().texts(), "key": mine["key"]}
    body = {"type": "key@v1", "action": "rotate", "member": "alpha", **new, "own": {}, "others": {}}
    hands.file.write_text(json.dumps(body))
    status, _, err = hands.party("alpha", "sign", hands.file, "--yes", "--key", next_)
    assert status == 1
    assert "whoever has it would be you" in err
    assert hands.body() == body
    hands.file.write_text(json.dumps({**body, **mine}))
    hands.signed("alpha", after=("--key", next_))
    assert sorted(hands.body()["own"]) == ["new", "new_ml_dsa_44", "old"]


def test_a_revocation_needs_every_other_member_and_the_coordinator(hands: Hands) -> None:
    hands.drafted("revoke", "--member", "gamma")
    found = json.loads(hands.operator("show", hands.file, "--json")[1])
    assert [one["who"] for one in found["signatures"]] == ["alpha", "beta", "the coordinator"]
    status, _, err = hands.party("gamma", "sign", hands.file, "--yes")
    assert (status, "not for gamma to sign" in err) == (1, True)
    hands.signed("alpha", "beta")
    status, _, err = hands.operator("enter", hands.file)
    assert (status, "of: the coordinator" in err) == (1, True)
    status, _, err = hands.operator("sign", hands.file, "--yes")
    assert (status, err) == (0, "")
    assert hands.enter().numbers == (1,)
    assert sorted(hands.room.book.accounts.members.parties) == ["alpha", "beta"]
    assert sorted(hands.room.book.accounts.members.revoked) == ["gamma"]


def test_new_keys_after_a_revocation_are_signed_before_it_is_entered(hands: Hands) -> None:
    revoke = hands.drafted("revoke", "--member", "gamma")
    status, out, _ = hands.bare("keys", hands.base / "g.pem", "--new")
    assert status == 0
    public = hands.base / "public.json"
    public.write_text(out)
    hands.file = hands.base / "add.json"
    status, _, err = hands.operator("new", "add-key", "--member", "gamma", "--keys", public, "--out", hands.file)
    assert (status, "gamma has keys in force" in err) == (1, True)
    hands.drafted("add-key", "--member", "gamma", "--keys", public, "--after", revoke)
    hands.signed("alpha", "beta", after=("--after", revoke))
    hands.operator("sign", hands.file, "--yes", "--after", revoke)
    status, out, err = hands.party(
        "gamma", "sign", hands.file, "--yes", "--after", revoke, "--key", hands.base / "g.pem"
    )
    assert (status, err) == (0, "")
    assert "nobody else has to sign it" in out


def test_the_coordinators_key_is_not_revoked_alone(hands: Hands) -> None:
    hands.drafted("revoke", "--member", "coordinator")
    hands.signed(*ALL)
    from protocols.errors import Refused

    with pytest.raises(Refused, match="nobody could sign the checkpoint"):
        hands.enter()
    assert hands.room.book.size == 1


def test_a_member_that_there_is_not_is_named(hands: Hands) -> None:
    status, _, err = hands.operator("new", "revoke", "--member", "delta", "--out", hands.file)
    assert status == 2
    assert "delta has no key in force" in err
    assert "alpha, beta, gamma, coordinator" in err


# -- parties -----------------------------------------------------------------------------------------------------------


def test_who_joins_signs_first_without_a_ledger_and_then_everybody(hands: Hands) -> None:
    key, public = hands.base / "delta.pem", hands.base / "delta.json"
    status, out, err = hands.bare("keys", key, "--new")
    assert (status, err) == (0, "")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert hands.bare("keys", key)[1] == out
    public.write_text(out)
    hands.drafted("join", "--party", "delta", "--keys", public, "--record", "0.5", "--quorum", "3")
    words = ("change", "sign", hands.file, "--yes", "--room", hands.base / "room.toml", "--key")
    status, _, err = hands.bare(*words, hands.base / "alpha" / "signing.pem")
    assert (status, "not for you to sign" in err) == (1, True)
    status, out, err = hands.bare(*words, key)
    assert (status, err) == (0, "")
    assert "still to sign: every party of the room" in out
    hands.signed(*ALL)
    assert sorted(hands.body()["own"]) == ["new", "new_ml_dsa_44"]
    found = json.loads(hands.party("beta", "show", hands.file, "--json")[1])
    assert all(one["signed"] for one in found["signatures"])
    assert {row["rho_cap_after"] for row in found["budgets"]} == {"0.5"}


def test_without_a_ledger_nothing_but_ones_own_joining_is_signed(hands: Hands, grant: Path) -> None:
    key = hands.base / "alpha" / "signing.pem"
    status, _, err = hands.bare("change", "sign", grant, "--yes", "--room", hands.base / "room.toml", "--key", key)
    assert (status, "only one's own joining" in err) == (2, True)
    status, _, err = hands.bare("change", "sign", grant, "--yes")
    assert (status, "whose signature?" in err) == (2, True)


def test_a_party_leaves_by_its_own_signature(hands: Hands) -> None:
    status, out, err = hands.party("gamma", "leave", "--quorum", "2", "--out", hands.file)
    assert (status, err) == (0, "")
    assert "all signatures are there" in out
    assert hands.enter().numbers == (1,)
    assert sorted(hands.room.book.accounts.members.parties) == ["alpha", "beta"]
    status, _, err = hands.party("alpha", "leave", "--quorum", "7", "--out", hands.base / "b.json")
    assert (status, "no majority" in err) == (1, True)


def test_keys_that_cannot_be_read_are_named(hands: Hands) -> None:
    public = hands.base / "p.json"
    for text, said in (("{}", "key: is missing"), ('key = "AAAA"', "32 bytes"), ("[", "holds no public keys")):
        public.write_text(text)
        words = ("new", "join", "--party", "delta", "--keys", public, "--record", "1", "--quorum", "3")
        status, _, err = hands.operator(*words, "--out", hands.file)
        assert status == 2
        assert said in err, err
    assert hands.bare("keys", hands.base / "none.pem")[0] == 2


# -- before there is a ledger ------------------------------------------------------------------------------------------


def test_a_room_without_a_ledger_has_nothing_to_change(
    lab: Any, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = lab.copy(template, tmp_path / "trial")
    config = str(base / "coordinator" / "coordinator.toml")
    words = ["change", "new", "grant", "--raise", "alpha:year=3", "--config", config, "--out", str(tmp_path / "c.json")]
    assert coordinator_cli.main(words) == 2
    assert "there is no ledger yet" in capsys.readouterr().err


def test_what_the_auditors_tool_signs_is_shown_and_entered_as_it_is(hands: Hands) -> None:
    from protocols.auditor.statement import statement
    from protocols.verdict import Findings

    book, auditor = hands.room.book, keys.Identity.generate()
    findings = Findings("trial", book.size, book.root().hex(), checks=(), budgets=(), releases=0, numbers=0, forfeits=0)
    paper = statement(findings, "ab" * 32, "cd" * 32, auditor, "kirchner")
    assert paper["room"] == "trial"
    hands.file.write_text(json.dumps(paper))
    status, out, err = hands.party("beta", "show", hands.file)
    assert (status, err) == (0, "")
    assert "the verdict of kirchner" in out
    status, _, err = hands.party("beta", "sign", hands.file, "--yes")
    assert (status, "signed by its auditor alone" in err) == (1, True)
    hands.file.write_text(json.dumps({**paper, "verdict": "violation"}))
    status, _, err = hands.party("beta", "show", hands.file)
    assert (status, "the audit signature of kirchner does not verify" in err) == (3, True)
    hands.file.write_text(json.dumps(paper))
    assert hands.enter().numbers == (1,)


def test_a_lifetime_cap_for_all_leaves_out_who_has_no_key_to_sign_by(hands: Hands) -> None:
    hands.drafted("revoke", "--member", "gamma")
    hands.signed("alpha", "beta")
    assert hands.operator("sign", hands.file, "--yes")[0] == 0
    hands.enter()
    hands.file = hands.base / "caps.json"
    hands.drafted("grant", "--lifetime-record", "3", "--block", Q1, "--record", "0.5", "--person", "1.5")
    caps = hands.body()["caps"]
    assert [who for who in caps if "lifetime" in caps[who]] == ["alpha", "beta"]
    assert [who for who in caps if "q1" in caps[who]] == ["alpha", "beta", "gamma", "person"]
