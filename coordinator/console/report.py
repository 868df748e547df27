"""The page that marketers and operators look at: one file, no script, no address, the same bytes for the same round.

A release becomes sections through `_STEPS`: a new question adds a file of sections and one line there. A step that is
not in it is shown as a plain table of its figures, so that no number released is ever left out; a step without figures
is named where the plan's cost and the digests are. Numbers appear with their intervals only; the text of a plan is
escaped wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.resources import files
from operator import getitem
from typing import Any

from jinja2 import Environment, StrictUndefined

from protocols.errors import IntegrityError, UsageError
from protocols.figures import pointers
from protocols.plan import Plan
from protocols.release import Body
from protocols.verdict import Findings

from . import (
    budget_tables,
    classes_sections,
    lookalike_sections,
    overlap_sections,
    rfm_sections,
    segments_sections,
    stability_sections,
)
from .sections import Column, Make, Section, Table, cells

# In the order in which they are read.
_STEPS: Mapping[str, tuple[str, Make]] = {
    **rfm_sections.STEPS,
    **segments_sections.STEPS,
    **stability_sections.STEPS,
    **classes_sections.STEPS,
    **overlap_sections.STEPS,
    **lookalike_sections.STEPS,
}
_SEARCHES = {
    "seg-": "Finding the segments",
    "look-": "Lookalike: finding the score",
}  # steps for a later one's sake, by how their names begin


@dataclass(frozen=True)
class Verdict:
    """What the audit found. state: clean, violation, or undecided where checks are missing though none complains."""

    state: str
    headline: str
    sentence: str


def page(plan: Plan, bodies: Sequence[Body], findings: Findings, *, made_at: str) -> str:
    """The report of one round as a self-contained HTML document.

    bodies    the released steps of that round, in the order in which they ran
    findings  what the audit of the room's bundle found; the page repeats it, and proves nothing by itself
    made_at   when, in words; it is shown as it is

    Raises UsageError without a release, IntegrityError where plan, releases and findings do not belong together or a
    release has not the shape of its question. Still the caller's to do: `audit.verify`, which recomputes the figures.
    """
    _check_belong_together(plan, bodies, findings)
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("coordinator.console").joinpath("report.html").read_text(encoding="utf-8")
    return template.from_string(text).render(
        plan=plan,
        releases=[(body.step, body.digest, _remark(body)) for body in bodies],
        round_id=bodies[0].round,
        findings=findings,
        made_at=made_at,
        verdict=_verdict(findings),
        sections=_sections(plan, bodies),
        budget=budget_tables.spent(plan, findings),
        cost=budget_tables.cost(plan, _label),
        reach=budget_tables.reach(plan),
        between=any(step.made == "overlap" for step, _ in plan.steps()),
        alone=any(step.statistic.owners for step, _ in plan.steps()),
        likeness=any(question.kind == "lookalike" for question in plan.questions),
    )


def _check_belong_together(plan: Plan, bodies: Sequence[Body], findings: Findings) -> None:
    if not bodies:
        raise UsageError("there is no release to report on", "run a round first, or look at the ledger alone")
    for body in bodies:
        if (body.plan, body.room, body.round) != (plan.digest, plan.room, bodies[0].round):
            raise IntegrityError(f"the release of {body.step} is of another plan, room or round than the report")
    if len({body.step for body in bodies}) != len(bodies):
        raise IntegrityError("one step is released twice in a round")
    if findings.room not in (None, plan.room):
        raise IntegrityError(f"the audit is of the room {findings.room}, the plan of {plan.room}")


def _verdict(findings: Findings) -> Verdict:
    asked = [check for check in findings.checks if check.state != "not asked"]  # such as of an earlier audit
    total, problems = len(asked), len(findings.violations)
    if problems:
        bad = sum(1 for check in asked if check.problems)
        return Verdict(
            "violation",
            f"Violation: {_count(problems, 'problem')} in {bad} of {_count(total, 'check')}",
            "Do not use the numbers below until the companies have found out why.",
        )
    if not total or any(check.state != "ok" for check in asked):
        done = sum(1 for check in asked if check.state == "ok")
        return Verdict(
            "undecided",
            f"Not decided: {done} of {_count(total, 'check')} passed, the others were not reached",
            "Nothing wrong was found, but not everything was looked at: do not rely on the numbers below yet.",
        )
    return Verdict(
        "clean",
        f"The ledger is clean: all {_count(total, 'check')} passed",
        f"{_count(findings.numbers, 'published number')} in {_count(findings.releases, 'release')} match the "
        "record: agreed beforehand, paid for from the privacy budget, countersigned by the companies."
        + _unfinished(findings),
    )


def _unfinished(findings: Findings) -> str:
    """What the record says of rounds that did not come to their end, in any plan of the room."""
    said = ""
    if findings.forfeits:
        ended = "ended early and is" if findings.forfeits == 1 else "ended early and are"
        said += f" {_count(findings.forfeits, 'round')} of the room {ended} forfeited: what was set aside is spent."
    if findings.open_rounds:
        them = "is" if findings.open_rounds == 1 else "are"
        said += f" {_count(findings.open_rounds, 'round')} {them} still open."
    return said


# --- released steps ---------------------------------------------------------------------------------------------------


def _sections(plan: Plan, bodies: Sequence[Body]) -> list[Section]:
    """In the order of `_STEPS`, then those it does not know. A step without figures has no section."""
    released = {body.step: body for body in bodies}
    for body in bodies:
        list(pointers(body.answer) if body.answer else ())
    unknown = [name for name, body in released.items() if name not in _STEPS and body.answer]
    found: list[Section] = []
    for step in [*(name for name in _STEPS if name in released), *unknown]:
        try:
            found += _STEPS[step][1](plan, released) if step in _STEPS else [_generic(step, released[step].answer)]
        except (KeyError, TypeError, ValueError):
            raise IntegrityError(f"the release of {step} has not the shape of its question") from None
    return found


def _label(step: str) -> str:
    """What a step is for, in words; several steps may share one."""
    if step in _STEPS:
        return _STEPS[step][0]
    return next((words for start, words in _SEARCHES.items() if step.startswith(start)), f"Step {step}")


def _remark(body: Body) -> str:
    """What the footer says of a release that the page shows nothing of."""
    return "" if body.answer else f" {_label(body.step).lower()}, no numbers of its own"


def _generic(step: str, answer: Any) -> Section:
    paths = [_path(pointer) for pointer in pointers(answer)]
    leaves: list[Any] = [reduce(getitem, path, answer) for path in paths]
    rows = [[" / ".join(path) or "the answer", *cells(leaf, None)] for path, leaf in zip(paths, leaves, strict=True)]
    columns = [Column("Number"), Column("Estimate", "number"), Column("95 % interval", "number")]
    return Section(
        f"Step {step}",
        "Every number that this step released, by its name in the release.",
        [Table("All numbers", [*columns, Column("Adds up", "number")], rows)],
    )


def _path(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
