"""A lookalike from end to end: the seed's sum is its owner's alone, the report counts whom it says, lists stay home."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from rich.console import Console

from party_node import card, cli
from protocols import messages
from protocols.errors import RoundEnded
from protocols.overlap import words
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.questions.lookalike.scorer import CELLS
from protocols.release import Release
from tests.overlap import meeting_lab
from tests.rounds import audience, lab


@pytest.fixture(scope="session")
def template_of_seed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    return audience.make(tmp_path_factory.mktemp("seed") / "room")


@pytest.fixture
def room(template_of_seed: tuple[Path, Plan], tmp_path: Path) -> Iterator[lab.Room]:
    """In this file a room is one of a seed and two parties that rank."""
    with lab.Room(lab.copy(template_of_seed[0], tmp_path / "room"), template_of_seed[1]) as made:
        yield made


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> meeting_lab.Draws:
    """No noise in sums; of the overlap's the draws are noted."""
    monkeypatch.setattr("party_node.share.add_noise", lab.NoNoise())
    return meeting_lab.Draws(monkeypatch)


def by_step(releases: list[Release]) -> dict[str, Any]:
    return {release.body_.step: release.body_ for release in releases}


def seed_party_alone(noised: list[int], plan: Plan) -> list[int]:
    own = plan.step("look-seed")[0].statistic.own(audience.SEED_PARTY)
    return [*noised[: own.start], *noised[own.stop :]]


@pytest.mark.usefixtures("exact")
def test_the_steps_count_the_seed_and_each_owners_people_and_nobody_elses(room: lab.Room) -> None:
    found = by_step(room.run())
    assert list(found) == ["look-edges", "look-background", "look-seed", "look-scores", "look-overlap", "look-audit"]
    scores = found["look-scores"].answer
    assert scores["seed"]["size"]["value"] == str(len(audience.members())) == "600"
    for owner in audience.OWNERS:
        cells = [int(scores["owners"][owner]["cells"][str(i)]["value"]) for i in range(CELLS)]
        assert (sum(cells), min(cells)) == (audience.PEOPLE, 0)
    # The constant of φ is in every row of the seed's sum, once for each of its people.
    one = room.plan.step("look-seed")[0].statistic.slots.index(f"{audience.SEED_PARTY}/one")
    constant = int(0.1**0.5 * (1 << 16))
    assert found["look-seed"].noised[one] == constant * len(audience.members())


def test_the_overlap_counts_the_seeds_people_in_the_bands_of_each_owner(
    room: lab.Room, exact: meeting_lab.Draws
) -> None:
    found = by_step(room.run())
    noised = np.asarray(found["look-overlap"].noised).reshape(2, lookalike.BANDS)
    for row, pair in zip(noised, (("alpha", "beta"), ("beta", "gamma")), strict=True):
        owner = pair[0] if pair[1] == audience.SEED_PARTY else pair[1]
        there = row - exact.noise(*pair).reshape(-1)
        assert there.sum() == len(audience.shared(owner)) == 300
        assert there.min() >= 0
        assert there[:4].sum() > there[4:].sum(), "the seed's people are among the likest"


def test_a_party_whose_people_were_not_in_its_sizes_has_none_of_them_in_its_lists(
    room: lab.Room, exact: meeting_lab.Draws
) -> None:
    """Their caps would be those of nobody: of so few places one person's absence lets another have one."""
    node = room.nodes["beta"]
    snapshot = node.store.state / node.dataset_for(room.plan).snapshot
    aside = snapshot.with_suffix(".gone")

    def meddle(party: str, request: messages.Request) -> messages.Request:
        """Its disk is gone while sizes are counted, and back afterwards."""
        if party == "beta" and isinstance(request, messages.Prepare) and request.occasion.step == "look-scores":
            snapshot.rename(aside)
        elif party == "beta" and aside.exists() and isinstance(request, words.Meet):
            aside.rename(snapshot)
        return request

    room.meddle = meddle
    found = by_step(room.run())
    assert found["look-scores"].answer["seed"]["size"]["value"] == "0"
    noised = np.asarray(found["look-overlap"].noised).reshape(2, lookalike.BANDS)
    for row, pair in zip(noised, (("alpha", "beta"), ("beta", "gamma")), strict=True):
        assert (row - exact.noise(*pair).reshape(-1)).tolist() == [0] * lookalike.BANDS


@pytest.mark.usefixtures("exact")
def test_the_audit_counts_each_owners_people_by_group(room: lab.Room) -> None:
    answer = by_step(room.run())["look-audit"].answer
    for owner in audience.OWNERS:
        people = [int(answer["owners"][owner]["region"][name]["people"]["value"]) for name in audience.REGIONS]
        assert people == audience.regions(owner).tolist()


def test_a_party_of_the_plan_that_neither_ranks_nor_has_the_seed_takes_part(tmp_path: Path) -> None:
    """It is charged like the others, and only zeros of its are in what is others' alone."""
    question = {**audience.QUESTION, "ranks": ["gamma"], "rho": {**audience.SHARES, "overlap": 30_000_000}}
    base, plan = audience.make(tmp_path / "room", questions=[question])
    with lab.Room(base, plan) as room:
        found = by_step(room.run())
        assert list(found["look-overlap"].answer["owners"]) == ["gamma"]
        assert len({room.spent(party) for party in room.parties}) == 1


def test_a_seed_below_the_floor_gets_no_answer_and_is_ranked_by_nobody(tmp_path: Path, capsys: Any) -> None:
    base, plan = audience.make(tmp_path / "room", questions=[{**audience.QUESTION, "floor": 1000}])
    with lab.Room(base, plan) as room:
        found = by_step(room.run())
        told = [one for step in ("look-overlap", "look-audit") for one in leaves(found[step].answer)]
        assert len(told) > 40
        assert all(one == {"value": "too noisy"} for one in told)
    capsys.readouterr()
    assert cli.main(["audience", "--config", str(base / "gamma" / "node.toml"), "--out", str(tmp_path / "out")]) == 1
    assert "the plan's floor is 1,000" in capsys.readouterr().err
    assert not (tmp_path / "out" / "audience.csv").exists()


def leaves(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in tree.values():
        if "value" in one:
            yield one
        else:
            yield from leaves(one)


def test_a_party_ranks_its_own_people_on_its_own_disk_by_the_released_score(
    room: lab.Room, tmp_path: Path, capsys: Any
) -> None:
    found = by_step(room.run())
    room.nodes["gamma"].close()
    capsys.readouterr()
    out = tmp_path / "out"
    assert cli.main(["audience", "--config", str(room.base / "gamma" / "node.toml"), "--out", str(out)]) == 0
    room.nodes["gamma"] = room._node("gamma")
    with (out / "audience.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    assert list(ranked[0]) == ["customer", "score", "rank", "cell", "within", "signal", "also_customers"]
    assert {one["also_customers"] for one in ranked} == {""}
    signal = found["look-overlap"].answer["owners"]["gamma"]["signal"]["value"]
    assert {one["signal"] for one in ranked} == {signal}
    assert (f"warning: {signal}: " in capsys.readouterr().err) == (signal != "usable")
    assert [int(one["rank"]) for one in ranked] == list(range(1, audience.PEOPLE + 1))
    scores = [float(one["score"]) for one in ranked]
    assert scores == sorted(scores, reverse=True)
    best = [int(one["customer"].removeprefix("p-")) for one in ranked[:200]]
    assert sum(map(audience.loyal, best)) > 190
    # Cells are what left this party, noise apart; cuts are those of the release.
    cuts = lookalike.Sizes.read(room.plan.questions[0], {"look-scores": found["look-scores"].answer}).cuts("gamma")
    for one in ranked:
        cut = next((r for r, c in zip((5, 10, 20, 30, 50), cuts, strict=True) if int(one["cell"]) <= c), None)
        assert one["within"] == ("" if cut is None or cut > 20 else str(cut))
    again = duckdb.sql(f"SELECT * FROM read_parquet('{out / 'audience.parquet'}')").fetchall()
    assert [row[0] for row in again] == [one["customer"] for one in ranked]
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}


def test_a_private_ranking_is_marked_and_has_nothing_that_was_released_of_the_party(
    room: lab.Room, tmp_path: Path, capsys: Any
) -> None:
    room.run()
    room.nodes["gamma"].close()
    capsys.readouterr()
    asked = ["audience", "--config", str(room.base / "gamma" / "node.toml"), "--out", str(tmp_path / "out")]
    assert cli.main([*asked, "--private-ranking"]) == 0
    room.nodes["gamma"] = room._node("gamma")
    assert "warning: no released lift applies: " in capsys.readouterr().err
    with (tmp_path / "out" / "private-audience.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    assert list(ranked[0]) == ["customer", "score", "rank", "signal", "also_customers"]
    assert {one["signal"] for one in ranked} == {"no released lift applies"}
    assert sum(audience.loyal(int(one["customer"].removeprefix("p-"))) for one in ranked[:200]) > 190
    assert not (tmp_path / "out" / "audience.csv").exists()


def test_a_party_that_does_not_rank_is_told_so(room: lab.Room, tmp_path: Path, capsys: Any) -> None:
    room.run()
    room.nodes["beta"].close()
    capsys.readouterr()
    status = cli.main(["audience", "--config", str(room.base / "beta" / "node.toml"), "--out", str(tmp_path / "out")])
    room.nodes["beta"] = room._node("beta")
    assert status == 2
    assert "this party ranks nobody in that plan" in capsys.readouterr().err


def test_a_peer_that_takes_from_the_seeds_size_ends_the_round(room: lab.Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else's noise is in it: what is missing somebody took, by however little."""
    from party_node import share

    real = share.draw

    def draw(total: Any, mechanism: Any, own: slice) -> Any:
        noised = real(total, mechanism, own)
        if mechanism.slots == 132 and own.start == 2:  # alpha's sum of look-scores; the seed's size comes first
            noised[0] -= 1
        return noised

    monkeypatch.setattr(share, "draw", draw)
    monkeypatch.setattr("party_node.node.check_own", lambda *_: None)  # which would have seen it before
    with pytest.raises(RoundEnded, match="beta refused: the released sizes of the lists of beta are smaller"):
        room.run()


@pytest.mark.parametrize(("slots", "step"), [(199, "look-seed"), (132, "look-scores")])
def test_a_peer_that_adds_to_numbers_of_another_alone_ends_the_round(
    room: lab.Room, monkeypatch: pytest.MonkeyPatch, slots: int, step: str
) -> None:
    """It would change whom the audience is like, or where a cut is, and no interval would tell."""
    from party_node import share

    real = share.draw

    def draw(total: Any, mechanism: Any, own: slice) -> Any:
        noised = real(total, mechanism, own)
        theirs = own.start == 0 and len(total[own]) > 0  # the seed's party's own, whose slots come first
        noised[0] += mechanism.slots == slots and not theirs
        return noised

    monkeypatch.setattr(share, "draw", draw)
    with pytest.raises(RoundEnded, match="forfeited"):
        room.run()
    told = [messages.read_reply(one.reply) for one in room.wire if one.party == "beta"]
    reasons = [one.reason for one in told if isinstance(one, messages.Refusal)]
    assert f"step {step}: numbers of beta alone were released as others than it sent" in reasons


def test_an_owner_does_not_take_what_another_party_made_of_its_numbers_in_the_last_step(
    room: lab.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then its round has ended, and what it drew is forgotten; what it sent alone it still knows by its digest."""
    from party_node import share

    real = share.draw

    def draw(total: Any, mechanism: Any, own: slice) -> Any:
        noised = real(total, mechanism, own)
        noised[0] += mechanism.slots == 14 and own.start > 0  # gamma's sum of look-audit; alpha's slots come first
        return noised

    monkeypatch.setattr(share, "draw", draw)
    (round_id,) = {release.body_.round for release in room.run()}
    for party in room.parties:
        taken = room.nodes[party].store.release(round_id, "look-audit") is not None
        assert taken == (party != "alpha")
        assert room.nodes[party].store.drawn_rounds() == []
    reasons = [one.reason for one in map(read_reply, room.wire) if isinstance(one, messages.Refusal)]
    assert reasons == ["step look-audit: numbers of alpha alone were released as others than it sent"]
    with closing(sqlite3.connect(room.nodes["alpha"].store.state / "node.db")) as file:
        for statement in ("UPDATE alone SET sha256 = ''", "DELETE FROM alone"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                file.execute(statement)
    again = [one for one in room.sent(messages.Deliver) if one.party == "alpha"][-1]
    room.restart("alpha")
    assert isinstance(room.say("alpha", messages.read_request(again.request)), messages.Refusal)


def read_reply(one: lab.Exchange) -> messages.Reply:
    return messages.read_reply(one.reply)


def test_what_the_coordinator_sees_of_the_seed_is_as_long_whoever_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its people, at a floor of five hundred, and the same with one person more, whom the advertiser would look for.

    All that came beside an answer is as long, if the noise makes of both the same sizes; and not otherwise: then caps
    are others, as the release says.
    """

    def same(total: Any, **_: int) -> Any:
        """Noise that leaves nothing of who is in the seed: its size is released as 640, whatever it is."""
        made = np.array(total, dtype=np.int64)
        if len(made) == 2:
            made[:] = (640, 0)
        return made

    monkeypatch.setattr("party_node.share.add_noise", same)
    seen = []
    for extra in (0, 1):
        base, plan = audience.make(tmp_path / f"room{extra}")
        lists = tmp_path / f"room{extra}-loyalists.csv"
        lists.write_text(lists.read_text() + ("p-601\n" if extra else ""))
        assert (
            cli.main(["register", "--config", str(base / "beta" / "node.toml"), "--plan", str(base / "plan.toml")]) == 0
        )
        with lab.Room(base, plan) as room:
            sizes = sizes_of_all(room)
        seen.append(sizes)
    assert seen[0] == seen[1]
    assert {kind for kind, _, length in seen[0] if length} == {"Contribute", "Fetch"}


def test_the_card_says_whom_the_audience_is_to_be_like_who_ranks_and_what_leaves(room: lab.Room) -> None:
    told = io.StringIO()
    card.show(room.plan, room.ledger.room, [], "waits", Console(file=told, width=2000))
    said = told.getvalue()
    assert "people like the customers of beta on its list loyalists, 500 or more; alpha, gamma rank" in said
    assert "up to the likest 20 %; audited by region (beside north)" in said
    assert "In look-seed, look-scores, look-audit each number is of one party alone (alpha, beta, gamma)" in said
    assert "for beta a point of 32 bytes for each customer of the seed that has a key, to each of alpha, gamma" in said
    by_rule = {**audience.QUESTION, "seed": {"party": "beta", "where": [{"feature": "baskets", "low": 8, "high": 99}]}}
    told = io.StringIO()
    card.show(lab.plan(**{**audience.CHANGES, "questions": [by_rule]}), room.ledger.room, [], "", Console(file=told))
    assert "with baskets from 8 up to 99" in " ".join(told.getvalue().split())


def sizes_of_all(room: lab.Room) -> list[tuple[str, str, int]]:
    """Kind of request, party, and how many bytes of words came with the answer."""
    room.run()
    return [(type(messages.read_request(one.request)).__name__, one.party, len(one.payload)) for one in room.wire]


@pytest.mark.usefixtures("exact")
def test_no_key_and_no_customer_is_in_anything_that_left_a_party(room: lab.Room) -> None:
    """Names of six bytes: a shorter one stands in half a million random bytes by chance now and then. Points and sealed
    lists are looked at by the overlap's own tests."""
    room.run()
    assert room.sent(words.Fetch)
    left = [bytes(part) for one in room.wire for part in (one.reply, one.payload)]
    assert sum(map(len, left)) > 10**5
    names = [b"p-%d" % i for i in members_of_all() if i >= 1000]
    assert name_in([*left, b"x" + names[0]], names)
    assert not name_in(left, names)


def members_of_all() -> list[int]:
    return sorted({i for first in audience.FIRST.values() for i in range(first, first + audience.PEOPLE)})


def name_in(left: list[bytes], names: list[bytes]) -> bool:
    return bool(set(re.findall(rb"p-[0-9]{4,}", b"\n".join(left))) & set(names))
