"""`sumroom-party health`: connected since when, or why not; a node that died looks dead after ten seconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from party_node import cli, health
from party_node.health import STALE_S, Pulse, check_pulse
from protocols.errors import Refused

NOW = 1_800_000_000.0
SOUND = {"at": int(NOW), "connected": True, "coordinator": "localhost:1", "since": int(NOW) - 30}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "EVERY_S", 0.005)


def write(state: Path, **changes: object) -> Path:
    (state / "health.json").write_text(json.dumps({**SOUND, **changes}))
    return state


def beats(state: Path, then: Callable[[], bool], connected: Callable[[], bool] = lambda: True) -> None:
    """A pulse that beats until `then` is true, for at most five seconds."""

    async def until() -> None:
        stop = asyncio.Event()
        pulse = asyncio.create_task(Pulse(state, "localhost:1", connected).beat(stop))
        async with asyncio.timeout(5):
            while not then():
                assert not pulse.done(), pulse
                await asyncio.sleep(0.002)
        stop.set()
        await pulse

    asyncio.run(until())


def said(state: Path) -> dict[str, object]:
    try:
        return dict(json.loads((state / "health.json").read_text()))
    except FileNotFoundError:
        return {}


def test_a_running_node_says_whether_it_is_connected_and_since_when(tmp_path: Path) -> None:
    up, seen = [True], []

    def then() -> bool:
        now = said(tmp_path)
        seen.append((now.get("connected"), now.get("since")))
        if now.get("connected") is True and up[0]:
            check_pulse(tmp_path, float(str(now["at"])))
            up[0] = False
        return now.get("connected") is False

    beats(tmp_path, then, lambda: up[0])
    assert seen[-1] == (False, 0)
    assert any(is_up is True and since for is_up, since in seen)


def test_the_time_of_the_connection_stays_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(int(NOW), int(NOW) + 10**6))
    monkeypatch.setattr(health.time, "time", lambda: float(next(clock)))
    found: list[dict[str, object]] = []

    def then() -> bool:
        found.append(said(tmp_path))
        return found[-1].get("at", 0) != int(NOW) and bool(found[-1])

    beats(tmp_path, then)
    assert found[-1]["since"] == int(NOW)
    assert found[-1]["at"] != found[-1]["since"]


def test_a_node_that_stopped_leaves_no_file_and_one_that_was_killed_a_stale_one(tmp_path: Path) -> None:
    beats(tmp_path, lambda: bool(said(tmp_path)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Refused, match="the node is not running"):
        check_pulse(tmp_path, NOW)
    write(tmp_path)
    assert check_pulse(tmp_path, NOW + STALE_S) == "connected to localhost:1 for 40 s"
    with pytest.raises(Refused, match="does not run any more, or is stuck"):
        check_pulse(tmp_path, NOW + STALE_S + 1)


def test_a_clock_that_was_set_back_does_not_make_an_old_file_fresh(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not run any more"):
        check_pulse(write(tmp_path), NOW - 3600)


def test_a_node_without_its_stream_is_not_healthy_and_the_address_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="runs and is not connected to localhost:1") as caught:
        check_pulse(write(tmp_path, connected=False), NOW)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "\x00",
        json.dumps({**SOUND, "at": None}),
        json.dumps({**SOUND, "at": []}),
        json.dumps({**SOUND, "since": "x"}),
        '{"at":1e999,"connected":true,"coordinator":"","since":0}',
    ],
)
def test_a_file_that_says_nothing_clear_is_a_node_that_does_not_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "health.json").write_text(text)
    with pytest.raises(Refused, match="the node is not running"):
        check_pulse(tmp_path, NOW)


@pytest.mark.parametrize("connected", [1, "true", None])
def test_only_true_is_connected(tmp_path: Path, connected: object) -> None:
    with pytest.raises(Refused, match="not connected"):
        check_pulse(write(tmp_path, connected=connected), NOW)


def test_a_state_that_cannot_be_written_to_does_not_end_the_node(tmp_path: Path) -> None:
    count = [0]

    def connected() -> bool:
        count[0] += 1
        return True

    beats(tmp_path / "missing", lambda: count[0] > 3, connected)
    (tmp_path / "health.part").mkdir()  # neither written to nor taken away
    beats(tmp_path, lambda: count[0] > 6, connected)
    assert not (tmp_path / "health.json").exists()


def test_the_command_ends_with_0_or_with_1_and_the_reason(
    template: Path, tmp_path: Path, lab: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = lab.copy(template, tmp_path / "trial") / "alpha"  # type: ignore[attr-defined]
    before = {path.name for path in (home / "state").iterdir()}
    words = ["health", "--config", str(home / "node.toml")]
    assert cli.main(words) == 1
    assert capsys.readouterr().err.splitlines()[0] == "error: the node is not running"
    assert {path.name for path in (home / "state").iterdir()} == before
    monkeypatch.setattr(cli.time, "time", lambda: NOW)
    write(home / "state")
    assert cli.main(words) == 0
    assert capsys.readouterr().out == "connected to localhost:1 for 30 s\n"
