"""The golden files of every profile: `regenerate.py` writes them, with `--check` compares.

The list, the party's own table and who opted out are made up, in this file; keys and dates are fixed. Of Parquet, whose
bytes are the business of its writer, rows are kept as JSON. `versions.json`: every profile's version and SHA-256; what
another document says is another version.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[2]))

from party_node.activation import Signer, activate, receipt_of
from party_node.activation.choosing import Choice
from party_node.activation.profile import decide, names, read
from party_node.activation.tables import FIELDS, Known

GOLDEN = HERE / "golden"
LIST = """customer,segment,score
c1,s1,0.9
c2,s1,0.8
c3,s2,0.7
c4,s1,0.6
c5,s1,0.5
c6,s1,0.4
=c7,s1,0.3
c8,s2,0.2
c9,unusable,
"""
# c1: a name of two words, an address with dots and +; c2: opted out; c4 shares c2's address; c5: nothing that can be
# spelled; c6 is not there; =c7: formulas; c8: two rows; c9: an incomplete address.
PEOPLE = """customer,email,phone,maid,first_name,last_name,postcode,country
c1, Cloudy.SanFrancisco+Shopping@Gmail.com ,030 901820,5F3A2B18-9C4D-4E7F-B8E2-17D3A1E69B25,Ada  Marie,Lovelace,10115,de
c2,bob@example.org,,,Bob,Ross,10117,DE
c3,User.Name+NYC@Example.com,+1 (800) 555-0199,,,,,
c4,BOB@example.org,,,Bo,Ross,10115,DE
c5,nobody,12,zero,,,,ZZ
=c7,test@contoso.com,,,@Zoë,Pérez,=10115,DE
c8,janedoe@gmail.com,,,Jane,Doe,WC2H 8LG,gb
c8,jane.doe@example.org,+442083661177,,Jane,Doe,WC2H 8LG,gb
c9,,,aece52e7-03ee-455a-b3c4-e57283966239,Cy,,10115,DE
"""
OPTED_OUT = "customer,email\nc2,\n"
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "google-customer-match.csv": ("google-customer-match", {}),
    "google-customer-match-as-written.csv": ("google-customer-match", {"gmail": "as-written"}),
    "display-video-360.csv": ("display-video-360", {}),
    "microsoft.csv": ("microsoft", {"audience": "Autumn, loyal"}),
    "microsoft-remove.csv": ("microsoft", {"audience": "Autumn, loyal", "action": "Remove", "list": "8100"}),
    "tiktok.csv": ("tiktok", {}),
    "tiktok-digits-no-plus.csv": ("tiktok", {"phone": "digits", "email": "no-plus"}),
    "plain.csv": ("plain-csv", {}),
    "plain-ids.csv": ("plain-csv", {"ids": "plain"}),
    "plain.parquet": ("plain-parquet", {}),
}
SIGNER = Signer("grocer", "demo", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
DAY = dt.date(2026, 11, 27)


def inputs(folder: Path) -> tuple[Choice, Known]:
    """The made-up party's files, written below `folder`."""
    for name, text in (("list.csv", LIST), ("people.csv", PEOPLE), ("opted-out.csv", OPTED_OUT)):
        (folder / name).write_text(text, "utf-8")
    choice = Choice(folder / "list.csv", opt_outs=folder / "opted-out.csv")
    return choice, Known((folder / "people.csv",), {name: name for name in FIELDS}, "DE")


def golden() -> dict[str, bytes]:
    """File → bytes."""
    made = {}
    with TemporaryDirectory() as where:
        folder = Path(where)
        choice, known = inputs(folder)
        for name, (profile, settings) in CASES.items():
            activate(choice, known, decide(profile, settings), folder / name, "golden", SIGNER, DAY)
            made[name] = rows_of(folder / name) if name.endswith(".parquet") else (folder / name).read_bytes()
        versions = {name: [found.version, digest] for name in names() for found, digest in [read(name)]}
        made["versions.json"] = (json.dumps(versions, indent=1) + "\n").encode()
        made["microsoft.csv.receipt.json"] = receipt_of(folder / "microsoft.csv").read_bytes()
    return {f"{name}.json" if name.endswith(".parquet") else name: data for name, data in made.items()}


def rows_of(file: Path) -> bytes:
    """What a Parquet file holds: its columns, with their types, and its rows."""
    with duckdb.connect() as con:
        found = con.execute("SELECT * FROM read_parquet(?)", [str(file)])
        columns = {name: str(kind) for name, kind, *_ in found.description or ()}
        document = {"columns": columns, "rows": found.fetchall()}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def differences() -> list[str]:
    """The golden files that are missing, changed or too many."""
    made, found = golden(), {path.name: path.read_bytes() for path in GOLDEN.iterdir()}
    return sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))


if __name__ == "__main__":
    if "--check" in sys.argv:
        wrong = differences()
        print("\n".join(f"{name} is not what the code writes" for name in wrong), file=sys.stderr)
        sys.exit(1 if wrong else 0)
    for name, data in golden().items():
        (GOLDEN / name).write_bytes(data)
