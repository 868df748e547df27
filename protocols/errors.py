"""Everything that can go wrong, in words that help.

    SumroomError
    ├── UsageError       a setting, plan or command line is wrong              exit 2
    ├── Refused          a rule says no (budget, consent, roster)              exit 1
    ├── RoundEnded       the round could not finish; its budget is spent       exit 1
    │   └── PartyUnavailable   because a party did not answer or cosign
    ├── IntegrityError   a signature, a proof or a byte is not what it must be exit 3
    │   └── Stale        a copy is older than what others hold
    └── CannotDecide     the auditor lacks what is needed to say yes or no     exit 2

A message says what happened, the value and the limit; the hint names the command to try. Lower case, no full stop.
Never a customer's data: a column and a row number, not the value.
"""

from __future__ import annotations


class SumroomError(Exception):
    """The root: a message for people and, where there is one, a hint."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def diagnostics(self) -> str:
        """The two lines a terminal shows."""
        return f"error: {self.message}" + (f"\nhint: {self.hint}" if self.hint else "")


class UsageError(SumroomError):
    """A setting, a plan or a command line is wrong."""

    exit_code = 2


class Refused(SumroomError):
    """A rule says no; nothing was changed."""


class RoundEnded(SumroomError):
    """A round ended without all its releases; what it had reserved is spent."""


class PartyUnavailable(RoundEnded):
    """A party that the round needs did not answer or cosign in time."""


class IntegrityError(SumroomError):
    """A signature, a proof or a byte is not what it must be."""

    exit_code = 3


class Stale(IntegrityError):
    """A copy is older than what others hold: nothing may be written to it."""


class CannotDecide(SumroomError):
    """Something the auditor needs is missing or unreadable."""

    exit_code = 2
