"""How our three tools end: a result on stdout, `error:` and `hint:` on stderr, an exit status, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click
import typer
from rich.console import Console

from .errors import SumroomError, UsageError

WIDE = 120
INTERRUPTED = 130  # what typer makes of Ctrl-C


def run(
    app: typer.Typer,
    name: str,
    arguments: Sequence[str] | None,
    status_of: Callable[[SumroomError], int] = lambda exc: exc.exit_code,
) -> int:
    """Run a tool; returns the exit status. `status_of` maps an error to it."""
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name=name, standalone_mode=False)
    except SumroomError as exc:
        return _complain(exc, status_of)
    except click.ClickException as exc:
        return _complain(UsageError(exc.format_message(), f"see: {name} --help"), status_of)
    except Exception as exc:  # noqa: BLE001 - a person gets two lines, whatever happened; the text could hold data
        fault = UsageError(f"internal fault: {type(exc).__name__}", "this is a fault of the tool: please report it")
        return _complain(fault, status_of)
    if status == INTERRUPTED:
        return _complain(UsageError("interrupted"), status_of)
    return int(status or 0)


def console(*, error: bool = False) -> Console:
    """Where tables go: as wide as the terminal, and as wide as they are where nobody looks (a pipe, a file)."""
    stream = sys.stderr if error else sys.stdout
    return Console(stderr=error, width=None if stream.isatty() else WIDE, highlight=False)


def plain(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _complain(exc: SumroomError, status_of: Callable[[SumroomError], int]) -> int:
    print(plain(exc.diagnostics()), file=sys.stderr)
    return status_of(exc)
