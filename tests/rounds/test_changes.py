"""A room that changes while it works: people sign with their commands, the operator enters, and the next round runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coordinator import cli as coordinator_cli
from coordinator import entering
from party_node import cli as party_cli
from party_node.config import Config
from party_node.node import Node
from party_node.policy import consent_of
from protocols import keys
from protocols.change import Proposal
from protocols.errors import Refused, RoundEnded, UsageError
from protocols.ledger.changes import Grant
from protocols.ledger.entries import build
from protocols.ledger.statements import Audit, statement_body

ALL = ("alpha", "beta", "gamma")
NEXT = {"first": "2018-01-01", "last": "2018-03-31"}


def operator(room: Any, *words: object) -> None:
    config = room.base / "coordinator" / "coordinator.toml"
    assert coordinator_cli.main(["change", *map(str, words), "--config", str(config)]) == 0


def party(room: Any, name: str, *words: object) -> None:
    config = room.base / name / "node.toml"
    assert party_cli.main(["change", *map(str, words), "--config", str(config)]) == 0


def drafted(room: Any, *words: object) -> Path:
    file = Path(room.base / f"change-{room.book.size}-{len(list(room.base.glob('change-*')))}.json")
    operator(room, "new", *words, "--out", file)
    return file


def signed_by(room: Any, file: Path, names: Sequence[str] = ALL) -> Path:
    for name in names:
        party(room, name, "sign", file, "--yes")
    return file


def enter(room: Any, *files: Path) -> entering.Entered:
    """What `change enter` does once the door is open."""
    proposals = [Proposal.from_bytes(file.read_bytes(), where=file.name) for file in files]
    return entering.enter(proposals, room.ledger, room.ask, 5.0, lambda: None)


def rotated(room: Any, name: str) -> Path:
    """New keys of a party, named by its settings, its node started again with them."""
    file = Path(room.base / f"rotate-{name}.json")
    party(room, name, "rotate-key", "--new", room.base / name / "signing-next.pem", "--out", file)
    settings = room.base / name / "node.toml"
    text = settings.read_text()
    assert "[files]\n" in text
    settings.write_text(text.replace("[files]\n", '[files]\nsigning_key_next = "signing-next.pem"\n'))
    return file


def after_new_year(lab: ModuleType) -> Any:
    """A plan over a block that the room does not begin with."""
    return lab.plan(name="later", blocks={"q1": NEXT}, features={**lab.PLAN["features"], "as_of": "2018-04-02"})


def test_a_plan_over_a_new_block_runs_once_it_is_granted(room: Any, lab: ModuleType) -> None:
    room.run()
    later = after_new_year(lab)
    file = drafted(room, "grant", "--block", "q1=2018-01-01/2018-03-31", "--record", "0.5", "--person", "1.5")
    signed_by(room, file)
    (number,) = enter(room, file).numbers
    assert isinstance(build(json.loads(room.book.entries()[number])), Grant)
    agreed = room.base / "later.toml"
    agreed.write_text(lab.plan_toml(later))
    words = ["plan", "status", str(agreed), "--config", str(room.base / "coordinator" / "coordinator.toml")]
    assert coordinator_cli.main(words) == 0  # the room has the block, as the ledger says
    for name in ALL:
        home = room.base / name
        room.nodes[name].close()
        moved = [(who, basket, day.replace(year=2018, month=1 + day.month % 3, day=1 + day.day % 28), paid, off)
                 for who, basket, day, paid, off in lab.rows_of(name)]  # fmt: skip
        (home / "sales.csv").write_text(lab.csv_of(moved))
        assert party_cli.main(["register", "--config", str(home / "node.toml"), "--plan", str(agreed)]) == 0
        lab.consent(home, later)
        room.nodes[name] = room._node(name)
    released = room.run(later)
    assert [one.body_.step for one in released] == ["rfm-cuts", "rfm-cohorts"]
    assert room.book.accounts.balance("alpha", "q1").spent == later.charge
    assert room.book.accounts.balance("alpha", "year").spent == room.plan.charge


def test_without_the_grant_the_same_plan_is_refused(room: Any, lab: ModuleType) -> None:
    room.run()
    later = after_new_year(lab)
    for name in ALL:
        lab.consent(room.base / name, later)
    with pytest.raises(Refused, match="block q1"):
        room.run(later)


def test_a_round_that_no_cap_bears_runs_when_the_caps_are_raised(room: Any, lab: ModuleType) -> None:
    room.run()
    low = room.book.accounts.balance("alpha", "lifetime")
    assert low.cap == 2_000_000_000
    file = drafted(room, "grant", "--raise", "alpha:year=2.5", "--raise", "alpha:lifetime=2.5")
    signed_by(room, file, ["alpha"])
    enter(room, file)
    assert room.book.accounts.balance("alpha", "lifetime").cap == 2_500_000_000
    assert room.book.accounts.balance("beta", "lifetime").cap == 2_000_000_000
    assert all(node.book.accounts.balance("alpha", "year").cap == 2_500_000_000 for node in room.nodes.values())
    assert len(room.run()) == 2


def test_the_round_after_a_partys_keys_have_changed_runs_under_the_new_ones(room: Any) -> None:
    room.run()
    file = rotated(room, "alpha")
    room.restart("alpha")
    (number,) = enter(room, file).numbers
    assert room.ledger.cosigned_size() == number + 1
    members = room.book.accounts.members
    new = keys.Identity.from_pem((room.base / "alpha" / "signing-next.pem").read_bytes(), where="next")
    assert members.parties["alpha"].texts() == new.public().texts()
    assert len(room.run()) == 2
    assert room.book.accounts.members is members


def test_a_change_that_a_party_cannot_cosign_yet_is_taken_up_again(room: Any) -> None:
    room.run()
    file = Path(room.base / "rotate.json")
    party(room, "alpha", "rotate-key", "--new", room.base / "alpha" / "signing-next.pem", "--out", file)
    with pytest.raises(RoundEnded, match="no round can run before it is cosigned"):
        enter(room, file)
    settings = room.base / "alpha" / "node.toml"
    settings.write_text(settings.read_text().replace("[files]\n", '[files]\nsigning_key_next = "signing-next.pem"\n'))
    room.restart("alpha")
    again = enter(room, file)
    assert again.fresh == ()
    assert room.ledger.cosigned_size() == again.numbers[0] + 1
    assert len(room.run()) == 2


def test_a_party_that_joins_cosigns_from_its_first_entry_on(room: Any, lab: ModuleType) -> None:
    room.run()
    home = room.base / "delta"
    home.mkdir()
    assert party_cli.main(["keys", str(home / "signing.pem"), "--new"]) == 0
    identity = keys.Identity.from_pem((home / "signing.pem").read_bytes(), where="delta")
    (home / "public.json").write_text(json.dumps(identity.public().texts()))
    words = ("join", "--party", "delta", "--keys", home / "public.json", "--record", "0.5", "--quorum", "3")
    file = drafted(room, *words)
    own = ["change", "sign", str(file), "--yes", "--key", str(home / "signing.pem")]
    assert party_cli.main([*own, "--room", str(room.base / "room.toml")]) == 0
    signed_by(room, file)
    settings = lab.NODE_TOML.format(party="delta", accounts="accounts.db")
    (home / "node.toml").write_text("joined_later = true\n" + settings)
    (home / "consent.toml").write_text('default = "ask"\n')
    (home / "state").mkdir()
    room.nodes["delta"] = Node(Config.load(home / "node.toml"), room.clock)
    (number,) = enter(room, file).numbers
    assert room.nodes["delta"].book.size == room.book.size == number + 1
    assert "\n— delta " in room.book.checkpoint(number + 1)
    assert len(room.run()) == 2  # a plan of the three, which the fourth cosigns too
    assert room.nodes["delta"].book.size == room.book.size
    # Whoever joined can be named where a party says to whom its results may go.
    rules = room.base / "alpha" / "consent.toml"
    rules.write_text('[[deny]]\nrecipients = ["delta", "gamma"]\n')
    assert consent_of(room.nodes["alpha"].config).deny[0].recipients == ["delta", "gamma"]
    rules.write_text('[[deny]]\nrecipients = ["dleta"]\n')
    with pytest.raises(UsageError, match="there is no 'dleta'"):
        consent_of(room.nodes["alpha"].config)


def test_a_party_that_leaves_has_cosigned_all_before_and_nothing_after(room: Any, lab: ModuleType) -> None:
    room.run()
    file = Path(room.base / "leave.json")
    party(room, "gamma", "leave", "--quorum", "2", "--out", file)
    (number,) = enter(room, file).numbers
    assert sorted(room.ledger.room.parties) == ["alpha", "beta"]
    assert "\n— gamma " in room.book.checkpoint(number)
    assert "\n— gamma " not in room.book.checkpoint(number + 1)
    assert room.ledger.cosigned_size() == number + 1
    assert room.nodes["gamma"].book.size == number


def test_the_coordinators_stolen_key_is_revoked_and_replaced_in_one_checkpoint(room: Any) -> None:
    room.run()
    home = room.base / "coordinator"
    assert party_cli.main(["keys", str(home / "signing-next.pem"), "--new"]) == 0
    identity = keys.Identity.from_pem((home / "signing-next.pem").read_bytes(), where="next")
    (home / "public.json").write_text(json.dumps(identity.public().texts()))
    revoke = signed_by(room, drafted(room, "revoke", "--member", "coordinator"))
    words = ("add-key", "--member", "coordinator", "--keys", home / "public.json", "--after", revoke)
    add = drafted(room, *words)
    for name in ALL:
        party(room, name, "sign", add, "--yes", "--after", revoke)
    operator(room, "sign", add, "--yes", "--after", revoke, "--key", home / "signing-next.pem")
    text = (home / "coordinator.toml").read_text()
    (home / "coordinator.toml").write_text(
        text.replace("[files]\n", '[files]\nsigning_key_next = "signing-next.pem"\n')
    )
    restart(room)
    first, second = enter(room, revoke, add).numbers
    assert second == first + 1
    assert room.book.accounts.members.coordinator.texts() == identity.public().texts()
    assert first + 1 not in [size for size, _ in room.book.checkpoints()]
    assert room.ledger.cosigned_size() == second + 1
    assert len(room.run()) == 2


def test_an_auditors_verdict_is_entered_and_one_over_another_history_is_not(room: Any) -> None:
    room.run()
    size = room.book.size
    auditor = keys.Identity.generate()

    def verdict(root: bytes) -> Path:
        body = {
            "type": "audit@v1", "auditor": "kirchner", "key": keys.public_text(auditor.ed25519), "size": size,
            "root": root.hex(), "bundle": "ab" * 32, "policy": "cd" * 32, "verdict": "clean",
        }  # fmt: skip
        unsigned = build({**body, "signature": "AA==", "seq": 0, "time": 0})
        assert isinstance(unsigned, Audit)
        signature = keys.sign(auditor.ed25519, "audit", statement_body(unsigned, "trial"))
        file = Path(room.base / f"verdict-{root.hex()[:4]}.json")
        file.write_text(json.dumps({**body, "signature": signature}))
        return file

    file = verdict(room.book.root(size))
    operator(room, "show", file)
    (number,) = enter(room, file).numbers
    assert number == size
    config = str(room.base / "coordinator" / "coordinator.toml")
    assert coordinator_cli.main(["change", "show", str(verdict(b"\7" * 32)), "--config", config]) == 1
    assert enter(room, file).fresh == ()


def restart(room: Any) -> None:
    """The coordinator again, with all the keys that its settings name."""
    from coordinator.config import Config as CoordinatorConfig
    from coordinator.ledger import RoomLedger
    from coordinator.store import Store

    room.store.close()
    config = CoordinatorConfig.load(room.base / "coordinator" / "coordinator.toml")
    room.store = Store(config.path("state"))
    room.ledger = RoomLedger(config.room, room.store.book, config.identities[0], room.clock, config.identities[1:])
