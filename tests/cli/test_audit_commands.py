"""The auditor's other commands: explain, recompute, diff, sign, fetch, and the report on paper."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols import bundle, cli
from protocols.auditor import recompute, statement
from protocols.errors import IntegrityError
from protocols.keys import Identity
from protocols.ledger import entries, trust
from protocols.ledger.statements import Audit
from tests.specs.readers import VECTORS
from tests.vectors import rooms


@pytest.fixture(scope="module")
def files(built, tmp_path_factory) -> SimpleNamespace:
    room, folder = built.Room(), tmp_path_factory.mktemp("commands")
    members = room.whole(folder / "log.db")
    raw = bundle.split_entries(members[bundle.ENTRIES])
    plan = {bundle.plan_name(room.plan.digest): room.plan.canonical}
    early = {**plan, **built.signed_members(room, raw[:5], {5: built.PARTIES})}
    changed = entries.encode(room.dataset(3, "gamma", people_cap=4000, version="ab" * 16))
    other = [*raw[:3], changed, raw[4]]
    name = next(name for name in members if name.endswith("-rfm-cuts.json"))
    for file, data in (
        ("room.tar", bundle.pack(members)),
        ("early.tar", bundle.pack(early)),
        ("other.tar", bundle.pack({**plan, **built.signed_members(room, other, {5: built.PARTIES})})),
        ("policy.txt", trust.render(room.policy()).encode()),
        ("release.json", members[name]),
        ("forged.json", members[name].replace(b'"noised":[4000,', b'"noised":[4001,')),
        ("auditor.pem", Identity.generate().pem()),
    ):
        (folder / file).write_bytes(data)
    found = SimpleNamespace(**{path.name.replace(".", "_"): str(path) for path in folder.iterdir()})
    found.name, found.folder = name, str(folder)
    return found


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(arguments)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, " ".join(out.split()), err


POINTER = "/recency/p20/below"


# --- explain ----------------------------------------------------------------------------------------------------------


def test_a_number_is_followed_back_to_those_who_cosigned_it(capsys, files) -> None:
    policy = ("--policy", files.policy_txt)
    status, out, err = run(capsys, "explain", files.room_tar, f"{files.name}#{POINTER}", *policy)
    assert (status, err) == (0, "")
    for words in (
        f"The number {POINTER} is 0.2000.",
        "lies between 0.1975 and 0.2025",
        "Entry 6 of the ledger",
        "ρ 0.006 for one person's records at one company, ρ 0.018 for one person at all of them",
        "know the shared cohorts",
        "Entry 4, on 2023-11-14 at 22:13 UTC: alpha, beta and gamma each approved it",
        "gamma cosigned that history on 2023-11-14",
    ):
        assert words in out
    _, out, _ = run(capsys, "explain", files.room_tar, f"{files.name}#{POINTER}", *policy, "--json")
    document = json.loads(out)
    assert [link["about"] for link in document["links"]] == [
        "number", "release", "mechanism", "charge", "plan", "proof",
    ]  # fmt: skip
    assert document["links"][3]["shown"]["entry"] == 5
    assert set(document["links"][5]["shown"]["cosigned"]) == {"alpha", "beta", "gamma"}


def test_a_number_of_an_overlap_is_explained_as_one_and_not_as_a_sum(capsys, files, tmp_path) -> None:
    room_tar, policy = tmp_path / "overlap.tar", tmp_path / "policy.txt"
    room_tar.write_bytes((VECTORS / "bundle" / "good-overlap.tar").read_bytes())
    policy.write_text(trust.render(rooms.room_of("good-overlap").policy()))
    (name,) = (one for one in bundle.unpack(room_tar.read_bytes()) if one.endswith("-overlap.json"))
    place = f"{name}#/pairs/alpha--beta/all/overlap"
    status, out, err = run(capsys, "explain", str(room_tar), place, "--policy", str(policy))
    assert (status, err) == (0, "")
    for words in (
        "The number /pairs/alpha--beta/all/overlap is 990.",
        "computed from 63 noised counts that the release shows in full, from the sizes of the lists",
        "The step counts 63 numbers between alpha, beta and gamma, pair by pair",
        "can move these numbers by no more than 1.41",
        "there is the noise of two companies",
        "Either company's noise alone is enough",
        "ρ 0.04 for one person's records at one company",
    ):
        assert words in out
    assert "adds up" not in out
    place = place.replace("-overlap.json", "-overlap-sizes.json").replace("/pairs/alpha--beta/all/overlap", "/unusable")
    _, out, _ = run(capsys, "explain", str(room_tar), place, "--policy", str(policy))
    assert "Step overlap-sizes adds up 16 numbers at each company" in out


@pytest.mark.parametrize(
    ("file", "pointer", "status", "says"),
    [
        ("release_json", POINTER, 0, ""),
        ("forged_json", POINTER, 1, "its digest is not that of entry 6"),
        ("release_json", "/recency", 2, "no number /recency"),
        ("release_json", "/nothing", 2, "no number /nothing"),
        ("gone", POINTER, 2, "cannot read"),
    ],
)
def test_a_release_from_elsewhere_is_explained_if_the_ledger_knows_it(capsys, files, file, pointer, status, says):
    place = f"{getattr(files, file, 'gone.json')}#{pointer}"
    found, _, err = run(capsys, "explain", files.room_tar, place, "--policy", files.policy_txt)
    assert found == status
    assert says in err


def test_nothing_is_explained_in_a_bundle_that_is_not_clean(capsys, files, tmp_path) -> None:
    data = Path(files.room_tar).read_bytes()
    (tmp_path / "bad.tar").write_bytes(data.replace(b"know the shared cohorts", b"know the shared customr"))
    place = f"{files.name}#{POINTER}"
    status, out, err = run(capsys, "explain", str(tmp_path / "bad.tar"), place, "--policy", files.policy_txt)
    assert (status, out) == (1, "")
    assert "plans: " in err


def test_a_place_that_names_no_number_is_refused(capsys, files) -> None:
    status, _, err = run(capsys, "explain", files.room_tar, "release.json", "--policy", files.policy_txt)
    assert status == 2
    assert "names no number" in err


# --- recompute --------------------------------------------------------------------------------------------------------


def test_both_accountants_count_the_same_noise_and_ours_is_the_larger(capsys, files) -> None:
    pytest.importorskip("dp_accounting")
    arguments = ("recompute", files.room_tar, "--policy", files.policy_txt, "--accountant", "pld", "--json")
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    lines = {(line["who"], line["block"]): line for line in json.loads(out)}
    assert lines["alpha", "q1"]["rho"] == 36_000_000
    assert lines["person", "lifetime"]["rho"] == 216_000_000
    for line in lines.values():
        assert line["rho_exact"] * 1e9 == pytest.approx(line["rho"], abs=line["mechanisms"] * 3)
        for delta, ours in line["zcdp"].items():
            assert line["pld"][delta] <= ours + 2e-4
            assert line["pld"][delta] >= 0.85 * ours - 2e-4
            assert line["rdp"][delta] == pytest.approx(ours, rel=0.01)


def test_our_accountant_needs_no_other(capsys, files, monkeypatch) -> None:
    monkeypatch.setattr(recompute, "PACKAGE", "no_such_package")
    arguments = ("recompute", files.room_tar, "--policy", files.policy_txt)
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert "by PLD" not in out
    status, _, err = run(capsys, *arguments, "--accountant", "pld")
    assert status == 2
    assert "pip install 'dp-accounting==0.6.0'" in err
    assert run(capsys, *arguments, "--accountant", "rdp")[0] == 2


# --- diff -------------------------------------------------------------------------------------------------------------


def test_what_is_new_since_the_last_audit_is_told(capsys, files) -> None:
    status, out, err = run(capsys, "diff", files.early_tar, files.room_tar, "--policy", files.policy_txt)
    assert (status, err) == (0, "")
    for words in ("the 5 entries of the last audit", "5 new entries", "2 new releases", "alpha q1 0.036", "forfeit"):
        assert words in out
    _, out, _ = run(capsys, "diff", files.early_tar, files.room_tar, "--policy", files.policy_txt, "--json")
    document = json.loads(out)
    assert document["types"] == {"commit@v1": 2, "forfeit@v1": 1, "reserve@v1": 2}
    assert len(document["releases"]) == 2


@pytest.mark.parametrize(
    ("old", "new"), [("other_tar", "room_tar"), ("room_tar", "early_tar"), ("other_tar", "early_tar")]
)
def test_a_history_that_was_rewritten_or_went_back_is_a_violation(capsys, files, old, new) -> None:
    arguments = ("diff", getattr(files, old), getattr(files, new), "--policy", files.policy_txt)
    status, out, _ = run(capsys, *arguments)
    assert status == 1
    assert "VIOLATION" in out
    assert json.loads(run(capsys, *arguments, "--json")[1])["verdict"] == "violation"


# --- sign -------------------------------------------------------------------------------------------------------------


def signed(capsys, files, room: str, out: Path, name: str = "ann-auditor") -> tuple[int, str]:
    keys = ("--policy", files.policy_txt, "--key", files.auditor_pem)
    status, _, err = run(capsys, "sign", room, *keys, "--name", name, "--out", str(out))
    return status, err


def test_a_signed_verdict_is_the_body_of_an_entry_and_its_signature_verifies(capsys, files, tmp_path) -> None:
    assert signed(capsys, files, files.room_tar, tmp_path / "verdict.json") == (0, "")
    document = statement.read((tmp_path / "verdict.json").read_bytes())
    room = document.pop("room")
    entry = entries.build({**document, "seq": 10, "time": 1_800_000_000})
    assert isinstance(entry, Audit)
    assert (room, entry.size, entry.verdict, entry.auditor) == ("demo-room", 10, "clean", "ann-auditor")
    with pytest.raises(IntegrityError, match="does not verify"):
        statement.read((tmp_path / "verdict.json").read_bytes().replace(b'"size":10', b'"size":11'))
    for other in (b"", b"[]", b"{}", b'{"room":1}'):
        with pytest.raises(IntegrityError):
            statement.read(other)


def test_a_violation_is_signed_as_one(capsys, files, tmp_path) -> None:
    data = Path(files.room_tar).read_bytes().replace(b"know the shared cohorts", b"know the shared customr")
    (tmp_path / "bad.tar").write_bytes(data)
    assert signed(capsys, files, str(tmp_path / "bad.tar"), tmp_path / "verdict.json")[0] == 1
    assert statement.read((tmp_path / "verdict.json").read_bytes())["verdict"] == "violation"


def test_a_name_that_no_entry_could_have_is_refused_and_nothing_is_written(capsys, files, tmp_path) -> None:
    status, err = signed(capsys, files, files.room_tar, tmp_path / "verdict.json", name="Ann Auditor")
    assert status != 0
    assert "auditor" in err
    assert not (tmp_path / "verdict.json").exists()


# --- fetch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["folder", "room_tar"])
def test_a_bundle_is_fetched_from_a_folder_or_a_file_and_what_comes_next_is_said(capsys, files, tmp_path, what) -> None:
    out = tmp_path / "fetched.tar"
    status, said, _ = run(capsys, "fetch", "--room", str(getattr(files, what)), "--out", str(out))
    assert status == 0
    assert "not checked yet" in said
    assert f"sumroom-audit verify {out}" in said
    assert out.read_bytes() == Path(files.room_tar).read_bytes()


@pytest.fixture
def served(files):
    """A web server on loopback that has the bundle, and a place that leads elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away/room.tar":
                self.send_response(302)
                self.send_header("Location", "ftp://127.0.0.1/room.tar")
            elif self.path == "/results/room.tar":
                self.send_response(200)
            else:
                self.send_response(404)
            self.end_headers()
            if self.path == "/results/room.tar":
                self.wfile.write(Path(files.room_tar).read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_bundle_is_fetched_from_the_web_and_nothing_else_is(capsys, files, served, tmp_path, monkeypatch) -> None:
    out = tmp_path / "fetched.tar"
    assert run(capsys, "fetch", "--room", f"{served}/results", "--out", str(out))[0] == 0
    assert out.read_bytes() == Path(files.room_tar).read_bytes()
    for address, says in (
        (f"{served}/nothing", "404"),
        (f"{served}/away", "not as safe"),
        ("ftp://127.0.0.1/x", "no address of the web"),
    ):
        status, _, err = run(capsys, "fetch", "--room", address, "--out", str(tmp_path / "no.tar"))
        assert status == 2
        assert says in err
    monkeypatch.setattr(bundle, "MAX_BYTES", 1000)
    status, _, err = run(capsys, "fetch", "--room", f"{served}/results", "--out", str(tmp_path / "no.tar"))
    assert status == 2
    assert "larger than 1000" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fetched.tar"]


def test_what_is_no_whole_archive_does_not_take_a_files_place(capsys, files, tmp_path) -> None:
    out = tmp_path / "room.tar"
    out.write_bytes(b"what was here")
    for room in (files.policy_txt, str(tmp_path / "gone.tar"), str(tmp_path)):
        assert run(capsys, "fetch", "--room", room, "--out", str(out))[0] == 2
    assert out.read_bytes() == b"what was here"


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_report_is_one_file_that_needs_no_other(capsys, files, tmp_path) -> None:
    out = tmp_path / "report.html"
    arguments = ("verify", files.room_tar, "--policy", files.policy_txt, "--no-pld", "--report", str(out))
    assert run(capsys, *arguments)[0] == 0
    page = out.read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)\s*=|url\(|@import|<script|<link|https?://""", page) == []
    for words in (
        "Clean: 13 checks, nothing wrong found",
        "What this cannot know",
        "Whether a company",
        files.name,
        POINTER,
        "entry 6",
        "sumroom-audit verify room.tar --policy policy.txt",
    ):
        assert words in page
    assert "$" not in page


def test_a_report_of_a_violation_begins_with_it_and_runs_nothing_that_a_bundle_says(capsys, files, tmp_path) -> None:
    data = Path(files.room_tar).read_bytes()
    (tmp_path / "bad.tar").write_bytes(data.replace(b"know the shared cohorts", b"<script>alert(1)</script>"[:23]))
    out = tmp_path / "report.html"
    arguments = ("verify", str(tmp_path / "bad.tar"), "--policy", files.policy_txt, "--report", str(out))
    assert run(capsys, *arguments)[0] == 1
    page = out.read_text(encoding="utf-8")
    assert "Violation: 1 problem found" in page
    assert "it has another digest than its name" in page
    assert "<script" not in page
