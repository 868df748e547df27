"""The golden bytes of every format: `python tests/vectors/regenerate.py [FOLDER]` writes them, the same each time.

With `--check` nothing is written: it ends with 1 and names the files that are not what the code writes. Keys come from
fixed seeds, salts and times are fixed, and no noise is drawn: the numbers are made up. `good-*` is what the product
writes; each `bad-*` is wrong in the one way that its name says. One module a format: `ledgers.py` (entry, bundle),
`changes.py` (ledger changes), `checkpoints.py` (checkpoint, tlog-proof), `releases.py`, `plans.py` (plan, people),
`questions.py` and `misread.py`, `classes.py`, `overlaps.py`, `lookalikes.py`, `shares.py`, `recoveries.py`,
`headers.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))

from protocols import bundle
from tests.vectors import (
    changes,
    checkpoints,
    classes,
    headers,
    ledgers,
    lookalikes,
    misread,
    overlaps,
    plans,
    questions,
    recoveries,
    releases,
    shares,
)
from tests.vectors.rooms import BOTH, ROOM, asked, of_five, whole
from tests.vectors.spoiled import Files


def vectors() -> Files:
    """`<format>/<file>` → bytes."""
    members, both, asked_questions = whole(), whole(BOTH), questions.question_vectors()
    segments = asked(questions.plan_of("segments"), asked_questions["good-segments.json"])
    shared = asked(overlaps.plan_of("three"), overlaps.overlap_vectors()["good-three.json"])
    kinds = asked(classes.plan_of(), classes.classes_vectors()["good-classes.json"])
    alike = lookalikes.whole()
    bodies, five = bundle.split_entries(members[bundle.ENTRIES]), of_five()
    formats = {
        "ledger-entry": {
            **ledgers.entry_vectors(bodies),
            **ledgers.entry_vectors_of_five(five),
            **checkpoints.genesis_vectors(both),
        },
        "ledger-changes": changes.change_vectors(),
        "checkpoint": checkpoints.checkpoint_vectors(members, both),
        "tlog-proof": checkpoints.proof_vectors(both),
        "bundle": {
            **ledgers.bundle_vectors(members, segments, five),
            "good-both.tar": bundle.pack(both),
            "good-overlap.tar": bundle.pack(shared),
            "good-classes.tar": bundle.pack(kinds),
            **lookalikes.bundle_vectors_of_lookalikes(alike),
        },
        "release": {
            **releases.release_vectors(members, segments, shared),
            **releases.release_vectors_of_five(five),
            **releases.release_vectors_of_classes(kinds),
            **lookalikes.release_vectors_of_lookalikes(alike),
        },
        "plan": plans.plan_vectors(),
        "people": plans.people_vectors(),
        "question": {**asked_questions, **misread.misread_vectors()},
        "overlap-question": overlaps.overlap_vectors(),
        "classes-question": classes.classes_vectors(),
        "lookalike-question": lookalikes.lookalike_vectors(),
        "share": shares.share_vectors(ROOM.plan, members[bundle.checkpoint_name(6)].decode()),
        "recovery": recoveries.recovery_vectors(),
    }
    asked_and_told = ("good-prepare.json", "good-share-alpha.json", "good-words-alpha.bin")
    formats["wire-header"] = headers.header_vectors(*(formats["share"][name] for name in asked_and_told))
    return {f"{folder}/{name}": data for folder, files in formats.items() for name, data in files.items()}


def write(folder: Path) -> None:
    """Write every vector below `folder`."""
    for name, data in vectors().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def differences(folder: Path) -> list[str]:
    """The vectors below `folder` that are missing, changed or too many."""
    made = vectors()
    found = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in folder.glob("*/*-*")}
    return sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description="write the golden bytes of every format, or check them")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    parser.add_argument("--check", action="store_true", help="write nothing; name the files that differ")
    chosen = parser.parse_args()
    if not chosen.check:
        write(chosen.folder)
        return 0
    wrong = differences(chosen.folder)
    for name in wrong:
        print(f"{name} is not what the code writes", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
