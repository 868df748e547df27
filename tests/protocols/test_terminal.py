"""How a tool ends when its result cannot be written: two lines, its own exit status, nothing left to complain later."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import typer

from protocols import terminal
from protocols.errors import SumroomError


def tool(exc: BaseException | None) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def work() -> None:
        if exc is not None:
            raise exc

    return app


def decided(_: SumroomError) -> int:
    return 2


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own streams stay as they are: what is dropped in a test is none of pytest's."""
    monkeypatch.setattr("sys.__stdout__", None)
    monkeypatch.setattr("sys.__stderr__", None)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EPIPE])
def test_a_result_that_cannot_be_written_is_said_in_two_words_and_has_the_status_of_an_error(
    streams: None, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    assert terminal.run(tool(OSError(code, os.strerror(code))), "tool", [], decided) == 2
    assert capsys.readouterr().err == f"error: the result could not be written: {os.strerror(code)}\n"


def test_a_reader_that_has_gone_is_no_verdict(streams: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.run(tool(SystemExit(1)), "tool", [], decided) == 2
    assert "could not be written" in capsys.readouterr().err


def test_any_other_fault_is_named_by_its_class_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.run(tool(OSError(errno.ENOENT, "canary")), "tool", []) == 2
    err = capsys.readouterr().err
    assert "internal fault: FileNotFoundError" in err
    assert "canary" not in err


def test_without_any_stdout_a_tool_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert terminal.run(tool(None), "tool", []) == 0


def test_an_interrupt_inside_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.run(tool(KeyboardInterrupt()), "tool", []) == 2
    assert capsys.readouterr().err == "error: interrupted\n"


def test_progress_that_cannot_be_written_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", full)
        terminal.say("connected")
        terminal._drop_the_rest(full)
    terminal.say("conn\x1b[2Jected")
    assert capsys.readouterr().err == "conn\ufffd[2Jected\n"


def test_what_a_full_stream_has_not_written_is_dropped_and_what_a_good_one_has_is_kept(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        full.write("lost")
        terminal._drop_the_rest(full)
        full.write("lost too")
        full.flush()
    with (tmp_path / "good").open("w", encoding="utf-8") as good:
        good.write("kept")
        terminal._drop_the_rest(good)
        assert (tmp_path / "good").read_text("utf-8") == "kept"
