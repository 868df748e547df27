"""The files of an overlap: every entry once, of everybody who belongs there, in an order that tells nothing."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.membership import edge_of
from party_node.overlap_lists import Between, Stream
from protocols.errors import IntegrityError
from protocols.masking import Occasion, Secrets
from protocols.overlap import counting, points
from protocols.overlap.agreement import Halves
from protocols.overlap.layout import CANARIES, Layout

SHIFT = 3
LAYOUT = Layout({"alpha": (20, 5), "beta": (12, 30, 4)}, SHIFT)
KEYS = {
    "alpha": [[b"a%d" % i for i in range(14)], [b"b%d" % i for i in range(5)]],
    "beta": [[b"a%d" % i for i in range(9)], [b"b%d" % i for i in range(3)] + [b"c%d" % i for i in range(27)], []],
}
TRUTH = np.array([[9, 0, 0], [0, 3, 0]])


def occasion() -> Occasion:
    return Occasion(
        room="r", plan="0" * 64, round=secrets.token_hex(16), step="overlap", nonce="2" * 32, state="0" * 64, attempt=1
    )


class Pair:
    """Both sides of one pair in one process, with what each drew."""

    def __init__(self, drawn: dict[str, Any] | None = None) -> None:
        o = occasion()
        self.halves = {party: Halves(Secrets.fresh(o, recoverable=False)) for party in ("alpha", "beta")}
        rng = np.random.default_rng(1)
        self.drawn = drawn or {
            "alpha": rng.integers(0, 2 * SHIFT + 1, (2, 3)),
            "beta": rng.integers(0, 2 * SHIFT + 1, (3, 2)),
        }

    def side(self, me: str) -> Between:
        peer = "beta" if me == "alpha" else "alpha"
        return Between(
            me=me,
            peer=peer,
            halves=self.halves[me],
            half=points.masked_base(self.halves[peer].scalar(me)),
            drawn=self.drawn[me],
            layout=LAYOUT,
            engine=points.Plain(),
            domain=b"domain",
        )

    def write(self, me: str, to: Path) -> Path:
        batches = [(np.full(len(own), s, dtype=np.int64), own) for s, own in enumerate(KEYS[me])]
        self.side(me).write_lists(iter(batches), to)
        return to

    def count(self, folder: Path) -> Any:
        """What the coordinator makes of both sides' finished lists."""
        finals = []
        for owner, peer in (("alpha", "beta"), ("beta", "alpha")):
            sent = self.write(owner, folder / f"{owner}.list")
            self.side(peer).finish(sent, folder / f"{owner}.final")
            finals.append(counting.values_of((folder / f"{owner}.final").read_bytes()))
        canaries = (self.side("alpha").canaries(), self.side("beta").canaries())
        return counting.matrix(LAYOUT, "alpha", "beta", (finals[0], finals[1]), canaries)


def test_the_matrix_is_the_truth_and_what_both_drew(tmp_path: Path) -> None:
    pair = Pair()
    assert (pair.count(tmp_path) - pair.drawn["alpha"] - pair.drawn["beta"].T + 2 * SHIFT == TRUTH).all()


@pytest.mark.parametrize("number", [0, 2 * SHIFT])
def test_the_ends_of_what_can_be_drawn_fit_into_the_lists(tmp_path: Path, number: int) -> None:
    drawn = {"alpha": np.full((2, 3), number), "beta": np.full((3, 2), number)}
    assert (Pair(drawn).count(tmp_path) - 2 * number + 2 * SHIFT == TRUTH).all()


def test_the_same_secrets_write_the_same_bytes(tmp_path: Path) -> None:
    pair = Pair()
    assert pair.write("alpha", tmp_path / "one").read_bytes() == pair.write("alpha", tmp_path / "two").read_bytes()


def test_a_file_has_the_same_size_whoever_is_in_it(tmp_path: Path) -> None:
    pair = Pair()
    pair.side("alpha").write_lists(iter(()), tmp_path / "nobody")
    size = (tmp_path / "nobody").stat().st_size
    assert size == pair.write("alpha", tmp_path / "people").stat().st_size == 32 * sum(LAYOUT.sent("alpha", "beta"))


def test_every_entry_is_another_point_of_the_curve(tmp_path: Path) -> None:
    data = Pair().write("beta", tmp_path / "list").read_bytes()
    points.check(data)
    assert len({data[i : i + 32] for i in range(0, len(data), 32)}) == len(data) // 32


def test_more_people_than_a_list_holds_are_left_out_and_nobody_else(tmp_path: Path) -> None:
    pair, many = Pair(), [b"m%d" % i for i in range(50)]
    batches = [(np.ones(len(many), dtype=np.int64), many), (np.zeros(1, dtype=np.int64), [b"a0"])]
    pair.side("alpha").write_lists(iter(batches), tmp_path / "list")
    data = (tmp_path / "list").read_bytes()
    whole = points.Plain().mask(pair.halves["alpha"].scalar("beta"), points.Plain().points(b"domain", [*many, b"a0"]))
    there = [whole[i : i + 32] in {data[j : j + 32] for j in range(0, len(data), 32)} for i in range(0, len(whole), 32)]
    assert there == [True] * 5 + [False] * 45 + [True]


def test_a_place_in_a_list_says_nothing_of_who_is_there(tmp_path: Path) -> None:
    """400 lists: where the first person stands is uniform (χ², 11 cells, far tail)."""
    first, sizes = [], LAYOUT.sent("alpha", "beta")
    for i in range(400):
        pair = Pair()
        data = pair.write("alpha", tmp_path / f"{i}").read_bytes()
        (tmp_path / f"{i}").unlink()
        masked = points.Plain().mask(pair.halves["alpha"].scalar("beta"), points.Plain().points(b"domain", [b"a0"]))
        first.append(data.index(masked) // 32)
    observed = np.histogram(first, bins=11, range=(0, sizes[0]))[0]
    expected = np.histogram(range(sizes[0]), bins=11, range=(0, sizes[0]))[0] * 400 / sizes[0]
    assert float(((observed - expected) ** 2 / expected).sum()) < 40


def test_a_list_that_was_cut_is_refused(tmp_path: Path) -> None:
    pair = Pair()
    sent = pair.write("alpha", tmp_path / "list")
    sent.write_bytes(sent.read_bytes()[:-32])
    with pytest.raises(IntegrityError, match="other sizes"):
        pair.side("beta").finish(sent, tmp_path / "final")
    assert not (tmp_path / "final").exists()


def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    pair = Pair()
    sent = pair.write("alpha", tmp_path / "list")
    data = sent.read_bytes()
    sent.write_bytes(data[:32] + data[:32] + data[64:])
    with pytest.raises(IntegrityError, match="twice"):
        pair.side("beta").finish(sent, tmp_path / "final")


def test_canaries_are_all_different_and_as_many_as_they_must_be() -> None:
    found = Pair().side("beta").canaries()
    assert found.shape == (3, CANARIES)
    assert len(np.unique(found)) == found.size


def test_an_order_is_a_permutation_and_no_two_streams_give_the_same() -> None:
    one, other = Stream(b"1" * 32).order(1000), Stream(b"2" * 32).order(1000)
    assert sorted(one.tolist()) == list(range(1000))
    assert (one != other).any()


@settings(max_examples=200)
@given(st.integers(-(2**41), 2**41), st.binary(min_size=1, max_size=40))
def test_a_value_is_rounded_to_one_of_its_two_neighbours(value: int, key: bytes) -> None:
    edges = [-(2**40), -7, 0, 1, 5000, 2**40]
    at, held = edge_of(value, edges, b"s" * 32, key), max(edges[0], min(value, edges[-1]))
    below = max(i for i in range(len(edges)) if edges[i] <= held)
    assert at == below or (at == below + 1 and edges[below] < held)


def test_rounding_to_edges_has_no_bias() -> None:
    edges, value = [0, 100, 1000], 340
    found = [edges[edge_of(value, edges, b"s" * 32, b"%d" % i)] for i in range(20_000)]
    # One draw's deviation is √(240 · 660) ≈ 398; of the mean 2.8.
    assert abs(sum(found) / len(found) - value) < 5 * 2.8
