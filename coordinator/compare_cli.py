"""`sumroom-coordinator compare`: what became of the segments of an earlier round, by two folders of results."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from protocols import audit, bundle
from protocols import release as releases
from protocols.errors import IntegrityError, UsageError
from protocols.ledger import trust
from protocols.plan import Plan

from .comparing import NOMINAL, Comparison, Segmentation, compare
from .plan_cli import JsonOption

BORDERS = (
    "each round drew its own borders: where groups run into one another, borders alone make shares differ so in one of "
    "three comparisons in which nobody moved; where there are gaps between them, hardly ever"
)
_PARTS = ("room.tar", "policy.txt")


def compare_results(
    earlier: Annotated[Path, typer.Argument(metavar="EARLIER", help="A folder that `plan launch` or `export` wrote.")],
    later: Annotated[Path, typer.Argument(metavar="LATER", help="Such a folder of a later round.")],
    as_json: JsonOption = False,
) -> None:
    """Match the segments of the last round in LATER with those of EARLIER, and say whether anything has moved.

    Names stay with the segments that they were given to; each claim of a persona is held, contradicted or undecided by
    the later figures; drift is whether shares differ by more than noise and sampling. That may be because borders were
    drawn elsewhere: only where segments have gaps between them does it tell that customers moved. It costs no budget.
    """
    found = compare(_segmentation(earlier), _segmentation(later))
    if as_json:
        print(json.dumps(asdict(found) | {"moved": found.drift.moved if found.drift else None}, indent=2))
        return
    for line in _lines(found):
        print(line)


def _segmentation(folder: Path) -> Segmentation:
    """The last round with segments in a folder of results that audits clean."""
    try:
        packed, policy = ((folder / name).read_bytes() for name in _PARTS)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise UsageError(
            f"cannot read {' and '.join(_PARTS)} in {folder}: {reason}", "name an exported folder"
        ) from None
    if audit.verify(packed, trust.parse(policy)).violations:
        hint = f"sumroom-audit verify {folder / _PARTS[0]} --policy {folder / _PARTS[1]} names where"
        raise IntegrityError(f"the results in {folder} do not audit clean", hint)
    members = bundle.unpack(packed)
    signed = [
        releases.read(data)
        for name, data in members.items()
        if name.startswith(bundle.RELEASES) and name.endswith(".json")
    ]
    with_segments = [release for release in signed if release.body_.step == "seg-profile"]
    if not with_segments:
        raise UsageError(f"no round in {folder} has found segments", "name the results of one that did")
    last = max(with_segments, key=lambda release: release.entry).body_
    plan = Plan.from_bytes(members[bundle.plan_name(last.plan)])
    return Segmentation.of(plan, [r.body_ for r in signed if r.body_.round == last.round])


def _lines(found: Comparison) -> list[str]:
    said = []
    for one in found.tracked:
        verdicts = "; ".join(f"{feature}: {verdict}" for feature, verdict in one.verdicts.items()) or "no claims"
        said.append(f"{one.earlier} {one.name!r} is now {one.later}, {one.distance:.3f} away ({verdicts})")
    said += [f"{name} is gone: no later segment is left for it" for name in found.gone]
    said += [f"{name} is new" for name in found.new]
    if found.accuracy is not None:
        said.append(f"of the claims that were decided, {found.accuracy:.0%} held")
    if found.drift is None:
        return [*said, "drift: cannot tell, for the rounds found other numbers of segments or one is too noisy"]
    how = "shares differ by more" if found.drift.moved else "no share has moved by more"
    how += " than noise and sampling explain"
    said.append(f"drift: {how} (χ² {found.drift.statistic:.1f}, {found.drift.freedom} degrees, p {found.drift.p:.4f})")
    if found.drift.moved:
        said.append(
            f"by chance it is so in {NOMINAL:.0%} of comparisons where nothing moved and borders stayed where they were"
        )
    return [*said, BORDERS]
