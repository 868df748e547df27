"""The audit on paper: one HTML file that needs nothing else, prints on A4, and says what it cannot know.

Standard library only (`string.Template`, `html.escape`), since an auditor's installation has no template engine: the
page is a template with about a dozen holes, and every text that comes from a bundle is escaped where it is put in.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from string import Template

from ..audit.evidence import Evidence, Released
from ..budget import decimal
from ..verdict import Event, Findings, counted
from . import words
from .recompute import Recomputed

LONG_WORD = 24

_STATES = {
    "ok": "nothing wrong",
    "violation": "violation",
    "not reached": "not reached",
    "not asked": "not asked",
}
_CANNOT = (
    (
        "Whether a company's rows were real.",
        "Its node checks bounds on its own rows, and it has bound itself to them; nobody else has seen them.",
    ),
    (
        "Whether the noise was added.",
        "A company's own node adds it before anything leaves. The release shows a sum with noise in it, and a sum "
        "without would look alike.",
    ),
    (
        "What the parties told each other outside.",
        "Nothing here sees a file that was sent by another way, or a screen that was photographed.",
    ),
    (
        "Whether the keys in the policy are the right ones.",
        "Everything above rests on them. They must have come to the auditor from the companies, not with the bundle.",
    ),
    (
        "What the coordinator and all companies together might have agreed to write.",
        "One honest company is enough to stop a false history; if all of them and the operator agree, a history can be "
        "made up that keeps every rule. A bundle from an earlier audit limits that to what came after it.",
    ),
    (
        "Whether a noised sum is the sum of what the companies sent.",
        "The coordinator adds up. It could release a sum that it made up: nobody's data would be in it, and nobody's "
        "privacy would suffer, but it would be wrong.",
    ),
)


@dataclass(frozen=True)
class Facts:
    """What the page is made of. bundle: SHA-256 of the archive; the two names are of the files that were given;
    policy_digest: SHA-256 of the policy's file; made_at: when, in words."""

    findings: Findings
    evidence: Evidence
    counts: Sequence[Recomputed]
    bundle: str
    room_file: str
    policy_file: str
    policy_digest: str
    made_at: str


def page(facts: Facts) -> str:
    """The report as one HTML document."""
    findings = facts.findings
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        room=escape(findings.room or "unknown"),
        verdict=_verdict(findings),
        identity=_identity(facts),
        problems=_problems(findings),
        checks=_checks(findings),
        cosigners=_cosigners(findings),
        budgets=_budgets(facts),
        plans=_plans(facts.evidence),
        releases=_releases(facts),
        events=_events(findings.events),
        cannot="".join(f"<dt>{escape(what)}</dt><dd>{escape(why)}</dd>" for what, why in _CANNOT),
        again=_again(facts),
    )


def _verdict(findings: Findings) -> str:
    count = len(findings.violations)
    ok = sum(1 for check in findings.checks if check.state == "ok")
    unasked = [check.name for check in findings.checks if check.state == "not asked" and check.name != "since"]
    if count:
        kind, head = "violation", f"Violation: {counted(count, 'problem')} found"
        text = "What is said below is not borne out as a whole. The problems are listed first."
    else:
        kind, head = "clean", f"Clean: {counted(ok, 'check')}, nothing wrong found"
        text = "The history is whole, signed by the companies, and every use of data in it was agreed and paid for."
        if unasked:
            text = f"As far as it was asked: {', '.join(unasked)} were not looked at. {text}"
    return (
        f'<section class="verdict {kind}" aria-label="Verdict"><strong>{escape(head)}</strong><p>{escape(text)}</p>'
        f"<p>{escape(words.tally(findings))}</p></section>"
    )


def _identity(facts: Facts) -> str:
    findings = facts.findings
    rows = [
        ("Room", findings.room or "unknown"),
        ("Bundle", f"{facts.room_file}, SHA-256 {facts.bundle}"),
        ("Trust policy", f"{facts.policy_file}, SHA-256 {facts.policy_digest}"),
        ("History", f"{counted(findings.entries, 'entry', 'entries')}, root {findings.root or 'none'}"),
        ("Last entry", words.when(findings.time) if findings.time else "none"),
        ("Audited", f"{facts.made_at}, by sumroom-audit {_version()}, Python {platform.python_version()}"),
    ]
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)


def _problems(findings: Findings) -> str:
    lines = [words.said(check, problem) for check in findings.checks for problem in check.problems]
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h2 id="problems">What is wrong</h2><ol class="problems">{items}</ol>'


def _checks(findings: Findings) -> str:
    rows = [
        (check.name, _STATES[check.state], check.looked_at or "–", check.promise[:1].upper() + check.promise[1:] + ".")
        for check in findings.checks
    ]
    marks = [check.state.replace(" ", "-") for check in findings.checks]
    return _table("Checks, in the order in which they build upon each other",
                  ("Check", "Result", "Looked at", "What it means for a person in the data"), rows, marks)  # fmt: skip


def _cosigners(findings: Findings) -> str:
    if not findings.cosigners:
        return "<p>Not shown: the cosignatures were not reached.</p>"
    rows = [
        (each.party, str(each.checkpoints), counted(each.size, "entry", "entries"), words.when(each.time))
        for each in findings.cosigners
    ]
    return _table("Companies and the histories that they signed",
                  ("Company", "Signed checkpoints in the bundle", "The last is over", "Signed at (its own clock)"),
                  rows)  # fmt: skip


def _budgets(facts: Facts) -> str:
    budgets = facts.findings.budgets
    if not budgets:
        return "<p>Not shown: the budgets were not reached.</p>"
    deltas = list(budgets[0].epsilon)
    by_pld = {(each.who, each.block): each.pld or {} for each in facts.counts}
    heads = ["One person's records at", "Block", "ρ spent", "of cap", "Used"]
    heads += [f"ε at δ = {delta}" for delta in deltas]
    heads += [f"by PLD, δ = {delta}" for delta in deltas] if by_pld else []
    rows = []
    for line in budgets:
        cells = [words.who(line.who), line.block, decimal(line.spent), decimal(line.cap), _meter(line.spent, line.cap)]
        cells += [words.rounded_up(line.epsilon[delta]) for delta in deltas]
        cells += [words.rounded_up(by_pld[line.who, line.block][delta]) for delta in deltas] if by_pld else []
        rows.append(tuple(cells))
    return _table("Budgets: what all releases together can tell about one person", heads, rows, raw=4)


def _meter(spent: int, cap: int) -> str:
    """A bar and the share in words; nothing rests on its colour."""
    share = min(100.0, 100 * spent / cap) if cap else 0.0
    used = f'<rect class="rest" width="100" height="8"/><rect class="used" width="{share:.1f}" height="8"/>'
    bar = f'<svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{used}</svg>'
    return f"{bar}{100 * spent / cap if cap else 0:.0f} %"


def _plans(evidence: Evidence) -> str:
    rows = [
        (read.plan.name, read.plan.purpose, ", ".join(read.plan.parties), ", ".join(read.plan.recipients), name)
        for name, read in evidence.plans.items()
        if read is not None
    ]
    if not rows:
        return "<p>No plan was approved.</p>"
    heads = ("Plan", "What for", "Companies", "Who gets the answers", "Fingerprint")
    return _table("Questions that were asked", heads, rows)


def _releases(facts: Facts) -> str:
    if words.state(facts.findings, "releases") == "not asked":
        return "<p>Not asked: this audit was made without the releases.</p>"
    if not facts.evidence.releases:
        return "<p>Nothing was released.</p>"
    rows = [
        (str(each.entry), words.when(each.time), each.step, str(each.numbers), ", ".join(each.survivors), each.file)
        for each in facts.evidence.releases
    ]
    heads = ("Entry", "Written", "Step", "Figures", "Whose data are in it", "File")
    whole = _table("Releases, each with the entry that it was paid for by", heads, rows)
    shown = "".join(_figures(each) for each in facts.evidence.releases if each.figures)
    return whole + (f"<h3>Every published figure</h3>{shown}" if shown else "")


def _figures(released: Released) -> str:
    rows = [
        (pointer, figure["value"], f"{figure['low']} to {figure['high']}" if "low" in figure else "–")
        for pointer, figure in released.figures.items()
    ]
    caption = f"Step {released.step}, entry {released.entry}"
    return _table(caption, ("Path in the release", "Value", "95 % interval"), rows)


def _events(events: Sequence[Event]) -> str:
    parts = []
    for kind, meaning in words.MEANS.items():
        rows = [(str(event.entry), words.when(event.time), event.what) for event in events if event.kind == kind]
        if rows:
            caption = f"{kind.capitalize()}: {meaning}"
            parts.append(_table(caption, ("Entry", "Written", "What"), rows))
    return "".join(parts) or "<p>Nothing: no key, company or cap changed, and every round came to its end.</p>"


def _again(facts: Facts) -> str:
    flags = " --without-releases" if words.state(facts.findings, "releases") == "not asked" else ""
    lines = (
        f"sha256sum {facts.room_file} {facts.policy_file}",
        f"sumroom-audit verify {facts.room_file} --policy {facts.policy_file}{flags}",
        f"python verify.py {facts.room_file} --policy {facts.policy_file}    # another program, of one file",
    )
    return "\n".join(escape(line) for line in lines)


def _table(caption: str, heads: Iterable[str], rows: Sequence[Sequence[str]], marks: Sequence[str] = (),
           raw: int | None = None) -> str:  # fmt: skip
    """raw: the column that is markup of this file's own making already."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = []
    for at, row in enumerate(rows):
        cells = [_cell(text, raw == column) for column, text in enumerate(row)]
        mark = f' class="{marks[at]}"' if marks else ""
        rest = "".join(f"<td{kind}>{cell}</td>" for kind, cell in cells[1:])
        body.append(f'<tr{mark}><th scope="row"{cells[0][0]}>{cells[0][1]}</th>{rest}</tr>')
    rows_ = "".join(body)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows_}</tbody></table>"


def _cell(text: str, raw: bool) -> tuple[str, str]:
    """(its class, its content): one with a meter is not broken at all, one with a long word wherever it must be."""
    if raw:
        return ' class="meter"', text
    return ' class="long"' if any(len(word) > LONG_WORD for word in text.split()) else "", escape(text)


def _version() -> str:
    try:
        return version("sumroom")
    except PackageNotFoundError:  # pragma: no cover - run from a folder that was not installed
        return "of an unknown version"
