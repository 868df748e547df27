"""How far an overlap has come at this party, on the terminal of whoever started the node.

What is told are entries and parts of lists, of as many as the plan and released sizes make them: the same whoever is in
them. Where nobody looks (a pipe, a log file) nothing is shown; `--verbose` writes lines there.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Self

from rich.progress import MofNCompleteColumn, Progress, TaskID

from protocols import terminal

log = logging.getLogger("sumroom.progress")


def tell(what: str, done: int, whole: int) -> None:
    """So many of so many entries, or parts: public numbers, both."""
    log.info("%s %d of %d", what, done, whole, extra={"what": what, "done": done, "whole": whole})


def over() -> None:
    """Nothing is under way any more, however far it came: the round has ended."""
    log.debug("over")


class Counted:
    """Tells of entries at every `step`-th and at the last: which numbers are told does not say in what portions they
    came, and so nothing of how many of them are people."""

    def __init__(self, what: str, whole: int, step: int) -> None:
        self._what, self._whole, self._step = what, whole, step
        self._done = self._told = 0

    def add(self, count: int) -> None:
        self._done += count
        while self._told < min(self._done // self._step * self._step, self._whole - 1):
            self._told = min(self._told + self._step, self._whole)
            tell(self._what, self._told, self._whole)
        if self._done == self._whole and self._told < self._whole:
            self._told = self._whole
            tell(self._what, self._told, self._whole)


class shown(logging.Handler):  # noqa: N801 - used as a function
    """Shows what is told as a bar on stderr, while the block runs and something is under way; on a terminal only."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def emit(self, record: logging.LogRecord) -> None:
        said = record.__dict__
        if "what" not in said:
            self._end()
            return
        with suppress(OSError):  # the terminal may be gone: the work goes on
            if self._bar is None:
                self._bar = terminal.bar(MofNCompleteColumn(), transient=True)
                self._task = self._bar.add_task("", total=None)
                self._bar.start()
            if self._bar.tasks[0].description != said["what"]:
                self._bar.reset(self._task)
            self._bar.update(self._task, description=said["what"], completed=said["done"], total=said["whole"])
            if said["done"] >= said["whole"]:  # and no thread draws while the node waits for days
                self._end()

    def _end(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(OSError):
                bar.stop()

    def __enter__(self) -> Self:
        self._on = terminal.console(error=True).is_terminal
        if self._on:
            log.addHandler(self)
            log.setLevel(logging.DEBUG)
            log.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            log.removeHandler(self)
            log.setLevel(logging.NOTSET)
            log.propagate = True
            self._end()
