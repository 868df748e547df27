"""The auditor's tool: what a room has released and spent, checked offline and without any private key but to sign.

    sumroom-audit fetch     --room R --out room.tar
    sumroom-audit verify    room.tar --policy policy.txt
    sumroom-audit explain   room.tar releases/<file>.json#/segments/3/size --policy policy.txt
    sumroom-audit recompute room.tar --policy policy.txt --accountant pld
    sumroom-audit diff      old.tar new.tar --policy policy.txt
    sumroom-audit sign      room.tar --policy policy.txt --key auditor.pem --name NAME --out verdict.json

Exit status: 0 clean, 1 a violation (each named with its entry or file), 2 cannot decide (no whole archive, no readable
policy, wrong usage). Only `fetch` goes to a network.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from . import audit, bundle, terminal
from .audit import evidence as evidences
from .auditor import explain as explaining
from .auditor import fetch as fetching
from .auditor import growth, recompute, report, statement, words
from .bundle import Archive, Buffer
from .encoding import canonical
from .errors import CannotDecide, IntegrityError, UsageError
from .keys import Identity
from .ledger import trust
from .verdict import Findings

CLEAN, VIOLATION, CANNOT_DECIDE = 0, 1, 2

MOST_LOOKS = 1_000  # counted unasked: up to ten seconds
_POLICY_BYTES = 1 << 20
_KEY_BYTES = 1 << 16

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Room = Annotated[str, typer.Argument(metavar="ROOM.TAR", help="The bundle to check; - reads it from stdin.")]
Policy = Annotated[str, typer.Option(metavar="POLICY.TXT", help="Whose keys you trust (C2SP tlog-policy).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
WithoutReleases = Annotated[
    bool, typer.Option("--without-releases", help="For an auditor who may not see releases: do not ask for them.")
]


@app.callback()
def _sumroom_audit() -> None:
    """Check, offline, what a room has released and what it spent."""


@app.command()
def fetch(
    room: Annotated[str, typer.Option(help="A folder of results, a room.tar, or the http(s) address of one.")],
    out: Annotated[Path, typer.Option(help="Where to write the bundle.")] = Path("room.tar"),
    as_json: AsJson = False,
) -> None:
    """Get a bundle from where it lies. It is not trusted: what it is worth, `verify` says."""
    size = fetching.fetch(room, out)
    if as_json:
        print(json.dumps({"out": str(out), "bytes": size, "verified": False}, indent=2))
    else:
        print(f"{out}: {size} bytes, not checked yet")
        print(f"next: sumroom-audit verify {out} --policy policy.txt, with a policy that came by another way")


@app.command()
def verify(
    room: Room,
    policy: Policy,
    since: Annotated[str | None, typer.Option(metavar="OLD.TAR", help="The bundle of the last audit.")] = None,
    without_releases: WithoutReleases = False,
    pld: Annotated[
        bool | None,
        typer.Option(help="Show ε by dp-accounting. [default: where it is there, and quick]", show_default=False),
    ] = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="REPORT.HTML", help="Write a printable report.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every entry, signature, proof, budget and figure of a bundle against your own trust policy.

    Exit status: 0 clean, 1 a violation, 2 cannot decide.
    """
    if room == policy == "-":
        raise UsageError("bundle and policy cannot both come from stdin", "keep the policy in a file of your own")
    trusted = _trusted(policy)
    with _buffer(room) as data, _older(since) as old:
        findings, evidence = audit.audit(data, trusted, releases=not without_releases, since=old)
        counts = _counts(findings, evidence, pld)
        if report_file is not None:
            facts = report.Facts(
                findings,
                evidence,
                counts,
                _sha256(data),
                Path(room).name,
                Path(policy).name,
                _sha256(_read(policy, _POLICY_BYTES)),
                dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            )
            _write(report_file, report.page(facts).encode())
    if as_json:
        print(json.dumps(_document(findings, counts), indent=2))
    else:
        words.show_verdict(findings, counts, terminal.console())
    raise typer.Exit(VIOLATION if findings.violations else CLEAN)


@app.command()
def explain(
    room: Room,
    number: Annotated[str, typer.Argument(metavar="FILE#/PATH", help="releases/<file>.json#/path/of/the/number")],
    policy: Policy,
    as_json: AsJson = False,
) -> None:
    """Follow one published number back: release, entry, noise, price, plan, data, proof, cosigners.

    The file may be one of the bundle or one beside it; the bundle is checked first.
    """
    explaining.split(number)
    with _audited(room, policy) as (_, evidence):
        explained = explaining.explain(evidence.files, evidence, number, lambda file: _read(file, bundle.MAX_BYTES))
    if as_json:
        print(json.dumps(dataclasses.asdict(explained), indent=2))
    else:
        words.show_explanation(explained, terminal.console())


@app.command("recompute")
def recompute_(
    room: Room,
    policy: Policy,
    accountant: Annotated[str, typer.Option(help="zcdp: ours; pld: dp-accounting beside it.")] = "zcdp",
    without_releases: WithoutReleases = False,
    as_json: AsJson = False,
) -> None:
    """Count every budget again, from the noise that the entries state."""
    if accountant not in ("zcdp", "pld"):
        raise UsageError(f"there is no accountant {accountant[:40]!r}", "the accountants are: zcdp, pld")
    with _audited(room, policy, releases=not without_releases) as (_, evidence):
        counts = recompute.recompute(evidence, pld=accountant == "pld")
    if as_json:
        print(json.dumps([dataclasses.asdict(each) for each in counts], indent=2))
    else:
        words.show_recomputed(counts, terminal.console())


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD.TAR", help="The bundle of the last audit.")],
    new: Annotated[str, typer.Argument(metavar="NEW.TAR", help="The bundle of today.")],
    policy: Policy,
    without_releases: WithoutReleases = False,
    as_json: AsJson = False,
) -> None:
    """What is new since the last audit, and whether history only grew. Both bundles are checked.

    Exit status: 0 it only grew, 1 it was rewritten or a bundle is not clean, 2 cannot decide.
    """
    with _buffer(old) as before, _buffer(new) as after:
        grown = growth.growth(before, after, _trusted(policy), releases=not without_releases)
    if as_json:
        print(json.dumps(_grown(grown), indent=2))
    else:
        words.show_growth(grown, terminal.console())
    raise typer.Exit(CLEAN if grown.clean else VIOLATION)


@app.command()
def sign(
    room: Room,
    policy: Policy,
    key: Annotated[str, typer.Option(metavar="AUDITOR.PEM", help="Your private Ed25519 key.")],
    name: Annotated[str, typer.Option(help="Your name, as it will stand in the ledger: a-z, 0-9, _ and -.")],
    out: Annotated[Path, typer.Option(metavar="VERDICT.JSON", help="Where to write the signed statement.")],
    without_releases: WithoutReleases = False,
    as_json: AsJson = False,
) -> None:
    """Check a bundle and sign what was found, clean or not: a statement that the ledger can take in."""
    identity = Identity.from_pem(_read(key, _KEY_BYTES), where=key)
    trusted, text = _trusted(policy), _read(policy, _POLICY_BYTES)
    with _buffer(room) as data:
        digest = _sha256(data)
        findings, _ = audit.audit(data, trusted, releases=not without_releases)
        signed = statement.statement(findings, digest, _sha256(text), identity, name)
        if _sha256(data) != digest:
            raise CannotDecide(f"{room} was changed while it was looked at")
    _write(out, canonical(signed))
    if as_json:
        print(json.dumps(signed, indent=2))
    else:
        print(f"{out}: {name} says {signed['verdict']} of the first {signed['size']} entries, root {signed['root']}")
        print("next: hand it to the coordinator, who writes it into the ledger")
    raise typer.Exit(VIOLATION if findings.violations else CLEAN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status. Whatever keeps it from a verdict is `cannot decide`."""
    return terminal.run(app, "sumroom-audit", arguments, _status)


def _status(exc: Exception) -> int:
    return VIOLATION if isinstance(exc, IntegrityError) else CANNOT_DECIDE


# --- what the commands share -----------------------------------------------------------------------------------------


@contextmanager
def _audited(room: str, policy: str, *, releases: bool = True) -> Iterator[tuple[Findings, evidences.Evidence]]:
    """A bundle in which nothing was found. Raises IntegrityError for the first violation."""
    with _buffer(room) as data:
        findings, evidence = audit.audit(data, _trusted(policy), releases=releases)
        for check in findings.checks:
            for problem in check.problems:
                raise IntegrityError(words.said(check, problem), "sumroom-audit verify names everything that was found")
        yield findings, evidence


@contextmanager
def _buffer(name: str) -> Iterator[Buffer]:
    """The bytes of a bundle: a file is mapped, stdin is read."""
    collecting = gc.isenabled()
    gc.disable()  # an audit makes many values and no cycles of them: looking for those takes a tenth of its time
    try:
        if name == "-":
            yield _read(name, bundle.MAX_BYTES)
        else:
            with bundle.mapped(name) as buffer:
                yield buffer
    finally:
        if collecting:
            gc.enable()


@contextmanager
def _older(name: str | None) -> Iterator[Archive | None]:
    if name is None:
        yield None
        return
    with _buffer(name) as buffer:
        try:
            yield Archive(buffer)
        except IntegrityError as exc:
            raise CannotDecide(f"{name} is no sound bundle: {exc.message}", "take the one that you verified") from None


def _trusted(policy: str) -> trust.TrustPolicy:
    return trust.parse(_read(policy, _POLICY_BYTES))


def _sha256(data: Buffer) -> str:
    return bundle.digest(data)


def _counts(findings: Findings, evidence: evidences.Evidence, pld: bool | None) -> list[recompute.Recomputed]:
    """Every budget by dp-accounting too, if wanted; nothing where the budgets were not reached."""
    wanted = recompute.is_there() if pld is None else pld
    if not wanted or not findings.budgets:
        return []
    if pld is None and (looks := recompute.looks(evidence)) > MOST_LOOKS:
        terminal.say(f"ε by dp-accounting is left out: {looks:,} looks at noise take minutes; --pld counts them")
        return []
    return recompute.recompute(evidence, pld=True)


def _read(name: str, limit: int) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(limit + 1)
    except OSError as exc:
        raise CannotDecide(f"cannot read {name}: {exc.strerror or type(exc).__name__}") from None
    if len(data) > limit:
        raise CannotDecide(f"{name} is larger than {limit} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    """The whole file or none of it."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise CannotDecide(f"cannot write {path}: {exc.strerror or type(exc).__name__}") from None


def _document(findings: Findings, counts: Sequence[recompute.Recomputed]) -> dict[str, Any]:
    verdict = "violation" if findings.violations else "clean"
    document = {"verdict": verdict, **dataclasses.asdict(findings)}
    if counts:
        document["accountants"] = [dataclasses.asdict(each) for each in counts]
    return document


def _grown(grown: growth.Growth) -> dict[str, Any]:
    return {
        "verdict": "clean" if grown.clean else "violation",
        "old": {"entries": grown.old.entries, "root": grown.old.root},
        "new": {"entries": grown.new.entries, "root": grown.new.root},
        "problems": [dataclasses.asdict(problem) for problem in grown.problems],
        "types": grown.types,
        "spent": [{"who": who, "block": block, "rho_nano": n} for (who, block), n in grown.spent.items() if n],
        "releases": list(grown.releases),
        "events": [dataclasses.asdict(event) for event in grown.events],
    }
