"""A whole round among three nodes in this process: what comes out, and what never does."""

from __future__ import annotations

import datetime as dt
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coordinator import outputs
from protocols import audit, bundle, messages
from protocols import release as releases
from protocols.errors import SumroomError
from protocols.ledger.entries import decode
from protocols.verdict import Findings

# Marked values: customers no other text contains, and an amount whose cents and units are in no other number.
CANARIES = ("canary-7f3d19", "canary-b8c044", "canary-e21aa5")
AMOUNT = 7_391_846


@pytest.fixture
def verify(room: Any) -> Callable[[], Findings]:
    def now() -> Findings:
        return audit.verify(outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room))

    return now


def test_without_noise_the_released_sum_is_exactly_the_pooled_sum(
    room: Any, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = lab.NoNoise()
    monkeypatch.setattr("party_node.share.add_noise", noise)
    cuts, cohorts = room.run()
    assert cuts.body_.noised == lab.pooled_cuts().tolist()
    assert cohorts.body_.noised == sum(noise.totals[3:]).tolist()
    assert sum(cohorts.body_.noised[:25]) == 3 * lab.PEOPLE
    assert sum(cohorts.body_.noised[25:33]) == 2 * 3 * lab.PEOPLE


def test_a_whole_round_leaves_a_bundle_without_a_violation_and_two_releases(
    room: Any, lab: ModuleType, verify: Callable[[], Findings]
) -> None:
    cuts, cohorts = room.run()
    assert (cuts.body_.step, cohorts.body_.step) == ("rfm-cuts", "rfm-cohorts")
    found = verify()
    assert found.violations == ()
    assert (found.releases, found.forfeits) == (2, 0)
    assert {line.spent for line in found.budgets if line.who in room.nodes} == {lab.RHO}
    assert {room.spent(party) for party in room.nodes} == {lab.RHO}


def test_a_round_that_counts_on_two_honest_shares_charges_a_person_for_each_share_alone(
    room: Any, lab: ModuleType, verify: Callable[[], Findings]
) -> None:
    """By each node, the ledger, the release and the auditor: 3 · 2 · 0.018 where 3 · 0.018 was held by the parties."""
    questions = [{**lab.QUESTION, "rho": {"cuts": 6_000_000, "cohorts": 12_000_000}}]
    plan = lab.plan(collusion=1, questions=questions)
    for party in room.nodes:
        lab.consent(room.base / party, plan)
    signed = room.run(plan)
    assert [one.body_.charge_record for one in signed] == [6_000_000, 12_000_000]
    assert [one.body_.charge_person for one in signed] == [36_000_000, 72_000_000]
    found = verify()
    assert found.violations == ()
    spent = {(line.who, line.block): line.spent for line in found.budgets if line.spent}
    blocks = [*plan.blocks, "lifetime"]
    each = {**dict.fromkeys(room.nodes, 18_000_000), "person": 108_000_000}
    assert spent == {
        (who, block): amount * (len(plan.blocks) if block == "lifetime" else 1)
        for who, amount in each.items()
        for block in blocks
    }
    for node in room.nodes.values():
        assert node.book.accounts.balances() == room.book.accounts.balances()
    assert {room.spent(party) for party in room.nodes} == {18_000_000}


def test_every_party_ends_with_the_same_ledger_and_the_same_releases(room: Any) -> None:
    signed = room.run()
    for node in room.nodes.values():
        assert node.book.entries() == room.book.entries()
        for one in signed:
            assert node.store.release(one.body_.round, one.body_.step) == one.to_bytes()


def test_a_second_round_has_other_noise_another_salt_and_other_masks(room: Any) -> None:
    first, second = room.run(), room.run()
    assert first[0].body_.noised != second[0].body_.noised
    assert first[0].body_.salt != second[0].body_.salt
    payloads = [one.payload for one in room.sent(messages.Contribute)]
    assert len(set(payloads)) == len(payloads) == 12


def test_a_round_beyond_the_partys_own_budget_is_refused_at_the_hold_and_only_that_is_written(
    room: Any, lab: ModuleType
) -> None:
    for party in room.nodes:
        lab.consent(room.base / party, room.plan, per_period="9")
    room.run()
    room.run()
    size = room.book.size
    with pytest.raises(Exception, match="the budget is not held: alpha"):
        room.run()
    assert [decode(entry).type for entry in room.book.entries(size)] == ["deny@v1"]
    assert {room.spent(party) for party in room.nodes} == {2 * lab.RHO}


def test_a_party_that_registers_new_data_between_two_rounds_declares_it_first(room: Any) -> None:
    from party_node import cli

    room.run()
    room.nodes.pop("beta").close()
    home = room.base / "beta"
    with (home / "sales.csv").open("a") as sales:
        sales.write("beta-0,new,2017-12-31,1.00,0.00\n")
    arguments = ["--config", str(home / "node.toml"), "--plan", str(room.base / "plan.toml"), "--json"]
    assert cli.main(["register", *arguments]) == 0
    room.nodes["beta"] = room._node("beta")
    assert len(room.run()) == 2
    entries = b"\n".join(room.book.entries())
    assert entries.count(b'"type":"dataset@v1"') == 4


def test_data_registered_between_hold_and_contribution_do_not_change_what_is_computed(
    room: Any, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reserve names a version, and that version is what the node sums."""
    noise = lab.NoNoise()
    monkeypatch.setattr("party_node.share.add_noise", noise)
    request = room.stopped_at(messages.Contribute)["beta"]
    dataset = room.nodes["beta"].store.dataset()
    other = type(dataset)(**{**vars(dataset), "version": "0" * 32, "sha256": "0" * 64})
    room.nodes["beta"].store.add_dataset(other)
    assert isinstance(room.say("beta", request), messages.Share)
    assert noise.totals[0].any()


def test_a_node_whose_state_was_put_back_in_the_middle_of_a_round_does_not_draw_noise_again(room: Any) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    state, saved = room.base / "alpha" / "state", room.base / "saved"
    room.nodes.pop("alpha").close()
    shutil.copytree(state, saved)
    room.nodes["alpha"] = room._node("alpha")
    first = room.share("alpha", request)
    room.nodes.pop("alpha").close()
    shutil.rmtree(state)
    shutil.move(saved, state)
    room.nodes["alpha"] = room._node("alpha")
    again = room.share("alpha", request)
    assert again == first or isinstance(again[0], messages.Refusal)


# -- what never comes out ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marked(lab: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room whose parties each know three marked customers, one of them with a row that cannot be used."""
    day = dt.date(2017, 6, 1)
    csv = {}
    for party in lab.PARTIES:
        rows = lab.rows_of(party, people=200)  # one bad row among them is few enough to register
        rows += [(name, f"basket-of-{name}", day, AMOUNT // 10, 0) for name in CANARIES[:2]]
        rows += [(CANARIES[2], "basket", day, AMOUNT * 1000, 0)]
        csv[party] = lab.csv_of(rows)
    made: Path = lab.make(tmp_path_factory.mktemp("marked") / "trial", csv=csv)
    return made


@pytest.mark.parametrize("broken", [False, True])
def test_a_marked_customer_or_amount_is_in_no_message_log_release_or_ledger(
    lab: ModuleType, marked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: bool
) -> None:
    """Whether all goes well or the snapshot is spoilt, a step fails and the round is forfeited."""
    caplog.set_level(logging.DEBUG)
    with lab.Room(lab.copy(marked, tmp_path / "trial")) as room:
        for snapshot in (room.base / "beta" / "state").glob("snapshot-*.parquet"):
            if broken:
                snapshot.write_bytes(CANARIES[0].encode() + snapshot.read_bytes())
        room.run()
        if broken:
            room.away = {"gamma"}
            with pytest.raises(Exception, match="gamma"):
                room.run()
        texts = [part for one in room.wire for part in (one.request, one.reply)]
        texts += room.book.entries() + list(room.book.blobs().values())
        texts += [caplog.text.encode(), outputs.bundle_of(room.book)]
        texts += [path.read_bytes() for path in _kept(room.base)]
    assert len(texts) > 60
    amounts = [f"{cents}" for cents in (AMOUNT // 10, AMOUNT * 1000)]
    amounts += [f"{cents // 100}.{cents % 100:02}" for cents in (AMOUNT // 10, AMOUNT * 1000)]
    # A number counts where it stands alone: six digits in a row are found in long enough random text.
    numbers = b"|".join(re.escape(text.encode()) for text in amounts)
    mark = re.compile(b"|".join(name.encode() for name in CANARIES) + rb"|(?<![\w+/])(" + numbers + rb")(?![\w+/])")
    assert mark.search(b'{"paid":' + amounts[0].encode() + b"}")
    for text in [*texts, b"".join(one.payload for one in room.wire)]:
        assert not mark.search(text)


def _kept(base: Path) -> list[Path]:
    """Every database that nodes and coordinator keep, but for snapshots and the parties' own tables."""
    found = [path for path in base.rglob("*.db*") if path.is_file()]
    assert len(found) >= 10
    return found


def test_a_release_whose_bytes_were_changed_in_the_coordinators_store_is_not_accepted(room: Any) -> None:
    """Who can write to the coordinator's disk is found out by the parties, and by the auditor."""
    signed = room.run()[0]
    body = signed.body_.model_copy(update={"salt": "0" * 64})
    forged = releases.sign(body, room.ledger.identity.ed25519, signed.entry, signed.proof)
    members = bundle.unpack(outputs.bundle_of(room.book))
    members[bundle.release_name(body.round, body.step)] = forged.to_bytes()
    found = audit.verify(bundle.pack(members), outputs.policy_of(room.ledger.room))
    assert any("digest" in problem.what for problem in found.violations)


def test_a_coordinator_that_goes_back_to_an_older_ledger_gets_no_share(
    room: Any, lab: ModuleType, tmp_path: Path
) -> None:
    room.run()
    saved = tmp_path / "saved"
    shutil.copytree(room.base / "coordinator" / "state", saved)
    room.run()
    room.store.close()
    shutil.rmtree(room.base / "coordinator" / "state")
    shutil.move(saved, room.base / "coordinator" / "state")
    room.open_coordinator()
    sent = len(room.sent(messages.Contribute))
    for party in room.nodes:
        lab.consent(room.base / party, room.plan, per_period="2")
    with pytest.raises(SumroomError, match="older copy|forked|cosigned"):
        room.run()
    assert len(room.sent(messages.Contribute)) == sent
