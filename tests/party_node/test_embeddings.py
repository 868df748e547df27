"""A party's own embeddings: the public map's very numbers, whole or not at all, and cosines to what was released."""

from __future__ import annotations

import resource
import stat
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from party_node import cli, embeddings
from protocols.feature import Feature
from protocols.questions.lookalike.space import SCALE, Space, bins_of, names, starts
from protocols.statistic import People
from tests.rounds import audience, lab

FEATURES = (
    Feature(name="days", transform="identity", low=0, high=365),
    Feature(name="spend", transform="log1p", low=0, high=10**6),
)


def space() -> Space:
    scores = tuple((np.linspace(-2, 2, len(starts(f))) * 4096).astype(np.int64) for f in FEATURES)
    return Space(FEATURES, scores, tuple(np.arange(bins_of(f)) * 25 for f in FEATURES))


def people(n: int) -> People:
    draw = np.random.default_rng(2)
    usable = np.ones(n, dtype=np.int64)
    usable[1] = 0
    return {"days": draw.integers(0, 365, n), "spend": draw.integers(0, 10**6, n), "usable": usable}


def read(path: Path) -> Any:
    with duckdb.connect() as con:
        return con.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchnumpy()


def who(n: int) -> list[str]:
    return [f"c-{i:07}" for i in range(n)]


def test_rows_are_those_of_the_shared_map_to_the_last_bit_and_of_norm_one(tmp_path: Path) -> None:
    own, n = people(40_000), 40_000  # more than one batch
    done = embeddings.write(tmp_path / "out", space(), who(n), own, None)
    found = read(done.parquet)
    assert list(found) == ["customer", "usable", *names(FEATURES)]
    assert found["customer"].tolist() == who(n)
    there = np.stack([np.ma.filled(found[name], np.nan) for name in names(FEATURES)], axis=1).astype(np.float64)
    usable = own["usable"] == 1
    np.testing.assert_array_equal(there[usable] * SCALE, space().rows(own)[usable])
    norms = np.linalg.norm(there[usable], axis=1)
    assert ((norms <= 1) & (norms > 0.999)).all()
    assert np.isnan(there[~usable]).all()
    assert (done.customers, done.length, done.compared) == (n, len(names(FEATURES)), False)


def test_a_cosine_is_to_the_prototype_that_was_released(tmp_path: Path) -> None:
    own = people(500)
    rows = space().rows(own)
    prototype = rows[:50].sum(axis=0) + np.random.default_rng(1).integers(-40_000, 40_000, rows.shape[1])
    found = read(embeddings.write(tmp_path, space(), who(500), own, prototype).parquet)
    by_hand = rows @ prototype.astype(float) / np.linalg.norm(rows, axis=1) / np.linalg.norm(prototype.astype(float))
    usable = own["usable"] == 1
    np.testing.assert_allclose(np.asarray(found["cosine"])[usable], by_hand[usable], rtol=1e-6)
    assert np.ma.getmaskarray(found["cosine"]).tolist() == (~usable).tolist()
    same = embeddings.cosines(rows[:1], 7 * rows[0])
    assert same[0] == pytest.approx(1)
    assert embeddings.cosines(rows[:1], np.zeros_like(rows[0]))[0] == 0


def test_one_persons_row_is_the_same_in_any_company(tmp_path: Path) -> None:
    own, n = people(60), 60
    all_of_them = read(embeddings.write(tmp_path / "all", space(), who(n), own, None).parquet)
    alone = {name: values[7:8] for name, values in own.items()}
    one = read(embeddings.write(tmp_path / "one", space(), who(n)[7:8], alone, None).parquet)
    assert [all_of_them[name][7] for name in names(FEATURES)] == [one[name][0] for name in names(FEATURES)]


def test_files_are_for_their_owner_alone_and_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    done = embeddings.write(out, space(), who(20), people(20), None)
    before = done.parquet.read_bytes()
    assert stat.S_IMODE(done.parquet.stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    monkeypatch.setattr(embeddings, "_AT_ONCE", 10)
    real, calls = Space.rows, []

    def fails(self: Space, some: People) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(self, some)

    monkeypatch.setattr(Space, "rows", fails)
    with pytest.raises(OSError, match="No space"):
        embeddings.write(out, space(), who(20), people(20), None)
    assert [path.name for path in out.iterdir()] == ["embeddings.parquet"]
    assert done.parquet.read_bytes() == before


def test_memory_holds_a_batch_however_many_people_there_are(tmp_path: Path) -> None:
    embeddings.write(tmp_path, space(), who(20_000), people(20_000), None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n = 100_000
    embeddings.write(tmp_path, space(), who(n), people(n), None)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < n * len(names(FEATURES)) * 4 * 2  # all rows as integers of 64 bits would be twice this


def test_a_node_writes_the_embeddings_of_its_last_lookalike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, plan = audience.make(tmp_path / "room")
    with lab.Room(base, plan) as room:
        released = {one.body_.step: one.body_ for one in room.run()}
        room.nodes["gamma"].close()
        asked = ["embeddings", "--config", str(base / "gamma" / "node.toml"), "--out", str(tmp_path / "out")]
        capsys.readouterr()
        assert cli.main([*asked, "--plan", "ffff"]) == 1
        assert "no shared spaces have been released to this party yet" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        assert cli.main([*asked, "--plan", plan.digest[:8]]) == 0
        room.nodes["gamma"] = room._node("gamma")
    said = capsys.readouterr().out
    assert "nothing of this may leave this party" in said
    assert f"{audience.PEOPLE:,} customers" in said
    found = read(tmp_path / "out" / "embeddings.parquet")
    kind = np.array([audience.loyal(int(one.removeprefix("p-"))) for one in found["customer"]])
    cosine = np.asarray(found["cosine"])
    assert cosine[kind].mean() > cosine[~kind].mean() + 0.1
    question = plan.questions[0]
    shared = Space.read(released["look-edges"].state, question.features)  # type: ignore[union-attr, arg-type]
    assert list(found)[3:] == names(shared.features)
    # The largest of what is true of the seed: the prototype leans to it, noise apart.
    assert np.argmax(cosine) in np.flatnonzero(kind)
