"""How our three tools end: a result on stdout, `error:` and `hint:` on stderr, an exit status, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

import click
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from .errors import Refused, SumroomError, UsageError

WIDE = 120
INTERRUPTED = 130  # what typer makes of Ctrl-C
# What writing fails with, once a file is open: to stdout, or to a result of another name.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE}


def run(
    app: typer.Typer,
    name: str,
    arguments: Sequence[str] | None,
    status_of: Callable[[SumroomError], int] = lambda exc: exc.exit_code,
) -> int:
    """Run a tool; returns the exit status. `status_of` maps an error to it.

    A result that cannot be written is an error like any other: whoever asked has not got it.
    """
    try:
        status = _run(app, name, arguments, status_of)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as exc:
        return _unwritten(exc, status_of)
    except SystemExit:  # this is how rich and click end where the reader of stdout has gone
        return _unwritten(OSError(errno.EPIPE, os.strerror(errno.EPIPE)), status_of)
    return status


def _run(app: typer.Typer, name: str, arguments: Sequence[str] | None, status_of: Callable[[SumroomError], int]) -> int:
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name=name, standalone_mode=False)
    except SumroomError as exc:
        return _complain(exc, status_of)
    except click.ClickException as exc:
        return _complain(UsageError(exc.format_message(), f"see: {name} --help"), status_of)
    except Exception as exc:  # a person gets two lines, whatever happened; the text could hold data
        if isinstance(exc, OSError) and exc.errno in _UNWRITABLE:
            raise
        fault = UsageError(f"internal fault: {type(exc).__name__}", "this is a fault of the tool: please report it")
        return _complain(fault, status_of)
    if status == INTERRUPTED:
        return _complain(UsageError("interrupted"), status_of)
    return int(status or 0)


def console(*, error: bool = False) -> Console:
    """Where tables go: as wide as the terminal, and as wide as they are where nobody looks (a pipe, a file)."""
    stream = sys.stderr if error else sys.stdout
    return Console(stderr=error, width=None if stream.isatty() else WIDE, highlight=False)


def bar(*more: ProgressColumn, quiet: bool = False, transient: bool = False) -> Progress:
    """A line on stderr: what is done, a bar, how long it has taken. transient: nothing of it stays."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), *more, TimeElapsedColumn())
    return Progress(*columns, console=console(error=True), disable=quiet, transient=transient)


def plain(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def say(text: str) -> None:
    """A line of progress on stderr. Where it cannot be written, to a log on a full disk say, the work goes on."""
    with suppress(OSError):
        print(plain(text), file=sys.stderr, flush=True)


def sure(yes: bool, question: str, otherwise: str = "nothing was decided") -> None:
    """Ask whoever sits there, unless `yes`. Raises UsageError where nobody does, Refused(`otherwise`) for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes", "add --yes")
    if not _says_yes(question):
        raise Refused(otherwise)


def _says_yes(question: str) -> bool:
    """What was typed: yes or no. Ctrl-C, an empty line and the end of what is typed are a no."""
    while True:
        print(f"{question} [y/N]: ", end="", flush=True)
        try:
            typed = sys.stdin.readline().strip().lower()
        except KeyboardInterrupt:
            print()
            return False
        if typed in ("y", "yes"):
            return True
        if typed in ("", "n", "no"):
            return False
        print("type y for yes or n for no")


def _complain(exc: SumroomError, status_of: Callable[[SumroomError], int]) -> int:
    with suppress(OSError):  # the status says it all the same
        print(plain(exc.diagnostics()), file=sys.stderr)
    return status_of(exc)


def _unwritten(exc: OSError, status_of: Callable[[SumroomError], int]) -> int:
    status = _complain(
        SumroomError(f"the result could not be written: {exc.strerror or type(exc).__name__}"), status_of
    )
    for stream in (sys.__stdout__, sys.__stderr__):
        _drop_the_rest(stream)
    return status


def _drop_the_rest(stream: TextIO | None) -> None:
    """What a stream has not written goes nowhere: the interpreter would try once more at its end, and complain."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
