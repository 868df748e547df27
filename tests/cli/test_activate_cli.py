"""`sumroom-party activate | profiles | receipt`, as a party types them; nothing enters the log of what was sent."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from party_node import cli
from tests.party_node.activation.regenerate import LIST, OPTED_OUT, PEOPLE

CANARY = "canary-value"


@pytest.fixture
def home(lab: ModuleType, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Alpha's folder, with a list, a table of its own and who opted out; commands run in it."""
    found = Path(lab.copy(template, tmp_path / "copied")) / "alpha"
    for name, text in (("list.csv", LIST), ("people.csv", PEOPLE), ("outs.csv", OPTED_OUT)):
        (found / name).write_text(text, "utf-8")
    monkeypatch.chdir(found)
    return found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def words(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "internal fault" not in err
        return status, out, err

    return words


@pytest.fixture
def activate(home: Path, run: Any) -> Any:
    """`sumroom-party activate list.csv …` to out.csv for plain-csv, unless said otherwise."""

    def words(*more: object, profile: str = "plain-csv", out: str = "out.csv") -> tuple[int, str, str]:
        result: tuple[int, str, str] = run(
            "activate", "list.csv", "--config", "node.toml", "--profile", profile, "--out", out, "--purpose", "a test",
            *more,
        )  # fmt: skip
        return result

    return words


OWN = ("--people", "people.csv", "--country", "DE")


def test_a_list_becomes_a_platforms_file_and_a_receipt_that_checks(home: Path, run: Any, activate: Any) -> None:
    status, out, err = activate(*OWN, "--opt-out", "outs.csv", profile="google-customer-match")
    assert status == 0
    assert "opted out" in out
    assert "5 lines in out.csv" in out
    assert "column email: not an e-mail address, 1 row (people.csv line 6)" in err
    status, out, err = run("receipt", "out.csv.receipt.json", "--config", "node.toml")
    assert (status, err) == (0, "")
    assert "google-customer-match 1" in out
    assert "alpha's key" in out


def test_whoever_says_nothing_of_opt_outs_is_asked(home: Path, activate: Any) -> None:
    for words in ((), ("--opt-out", "outs.csv", "--no-opt-outs")):
        status, _, err = activate(*OWN, *words)
        assert status == 2
        assert "say who opted out" in err
    assert not (home / "out.csv").exists()


def test_the_table_of_ones_own_may_be_in_the_settings(home: Path, activate: Any) -> None:
    text = PEOPLE.replace("customer,email,phone", "CARD_NO,E-Mail,phone")
    (home / "people.csv").write_text(text, "utf-8")
    with (home / "node.toml").open("a") as file:
        file.write('[activation]\nfiles = ["people.csv"]\ncountry = "DE"\n')
        file.write('[activation.columns]\ncustomer = "CARD_NO"\nemail = "E-Mail"\n')
    status, _, err = activate("--no-opt-outs", "--column", "phone=phone", "--json")
    assert status == 0, err
    assert (home / "out.csv").read_text("utf-8").splitlines()[0] == "customer,email_sha256,phone_sha256"


def test_without_a_table_of_ones_own_a_plain_file_has_the_customers(home: Path, activate: Any) -> None:
    status, out, _ = activate("--no-opt-outs", "--segment", "s2", "--json")
    assert status == 0
    assert json.loads(out)["fates"]["written"] == 2
    assert (home / "out.csv").read_text() == "customer\nc3\nc8\n"
    status, _, err = activate("--no-opt-outs", profile="tiktok", out="t.csv")
    assert status == 2
    assert "takes email, phone, maid" in err


def test_only_the_fields_that_are_named(home: Path, activate: Any) -> None:
    assert activate(*OWN, "--no-opt-outs", "--fields", "email", profile="tiktok")[0] == 0
    assert (home / "out.csv").read_text().splitlines()[0] == "Email_SHA256"
    for fields, message in (("postcode", "takes no postcode"), ("mail", "there is no field 'mail'")):
        status, _, err = activate(*OWN, "--no-opt-outs", "--fields", fields, profile="tiktok", out="2.csv")
        assert status == 2
        assert message in err


def test_a_holdout_by_lot_takes_a_key_that_only_its_owner_reads(home: Path, activate: Any) -> None:
    key = home / "holdout.key"
    key.write_text("ab" * 32)
    words = (*OWN, "--no-opt-outs", "--holdout-percent", "50", "--holdout-by", "email")
    key.chmod(0o640)
    status, _, err = activate(*words, "--holdout-key", "holdout.key")
    assert status == 2
    assert "others can read holdout.key" in err
    key.chmod(0o600)
    status, out, err = activate(*words, "--holdout-key", "holdout.key", "--json")
    assert status == 0, err
    assert json.loads(out)["fates"]["no_holdout_token"] == 3
    key.write_text("short")
    status, _, err = activate(*words, "--holdout-key", "holdout.key", out="2.csv")
    assert (status, "has 5 bytes" in err) == (2, True)
    assert "by which key" in activate(*words, out="2.csv")[2]
    with (home / "node.toml").open("a") as file:
        file.write('[activation]\nfiles = ["people.csv"]\nholdout_key = "holdout.key"\n')
    key.write_text("ab" * 32)
    assert activate(*words, out="2.csv")[0] == 0
    assert (home / "2.csv").read_bytes() == (home / "out.csv").read_bytes()


def test_the_log_of_what_was_sent_knows_nothing_of_it(home: Path, run: Any, activate: Any) -> None:
    before = run("egress", "--config", "node.toml"), sorted((home / "state").iterdir())
    assert activate(*OWN, "--opt-out", "outs.csv")[0] == 0
    assert (run("egress", "--config", "node.toml"), sorted((home / "state").iterdir())) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--holdout", "a.csv", "--holdout-percent", "5"), "one holdout arm, not two"),
        (("--holdout-key", "a.key"), "go with --holdout-percent"),
        (("--holdout-by", "email"), "go with --holdout-percent"),
        (("--holdout", "missing.csv"), "missing.csv does not exist"),
        (("--holdout-percent", "x", "--holdout-key", "people.csv"), "--holdout-percent x%"),
        (("--people", "missing.csv"), "missing.csv does not exist"),
        (("--column", "email"), "not NAME=VALUE"),
        (("--column", "mail=email", "--people", "people.csv"), "there is no field 'mail'"),
        (("--column", "email=E-Post", "--people", "people.csv"), "no column 'E-Post'"),
        (("--set", "phone=plus"), "no setting 'phone'"),
        (("--country", "XX", "--people", "people.csv"), "no telephone numbers of 'XX'"),
        (("--purpose", "a\nb"), "--purpose"),
        (("--top", "many"), "--top many"),
        (("--by", "score"), "--by goes with --top"),
        (("--segment-column", "segment"), "--segment-column goes with --segment"),
        (("--country", "Germany", "--people", "outs.csv", "--column", "customer=email"), "numbers of 'Germany'"),
    ],
)
def test_words_that_do_not_fit_get_two_lines(home: Path, activate: Any, words: tuple[str, ...], message: str) -> None:
    status, _, err = activate("--no-opt-outs", *words)
    assert status == 2
    assert message in err
    assert not (home / "out.csv").exists()


@pytest.mark.parametrize("out", ["/", "."])
def test_a_folder_is_no_name_of_a_file(activate: Any, out: str) -> None:
    status, _, err = activate("--no-opt-outs", out=out)
    assert status == 2
    assert "a folder, and no name of a file" in err


def test_column_without_a_table_is_refused(home: Path, activate: Any) -> None:
    assert "there is no table of your own" in activate("--no-opt-outs", "--column", "email=email")[2]


def test_a_name_that_is_a_column_and_a_file_is_neither(home: Path, activate: Any) -> None:
    (home / "segment").write_text("customer\nc1\n")
    status, _, err = activate(*OWN, "--no-opt-outs", "--holdout", "segment")
    assert status == 2
    assert "./segment is the file" in err


def test_profiles_are_listed_and_shown(run: Any) -> None:
    status, out, _ = run("profiles")
    assert status == 0
    assert all(name in out for name in ("google-customer-match", "display-video-360", "microsoft", "tiktok", "plain"))
    status, out, _ = run("profiles", "tiktok")
    assert status == 0
    assert "--set phone=…: plus (default), digits" in out
    assert "https://ads.tiktok.com/" in out
    assert json.loads(run("profiles", "tiktok", "--json")[1])["version"] == "1"
    assert run("profiles", "tiktoc")[0] == 2


def test_a_receipt_of_another_key_is_not_this_partys(home: Path, run: Any, activate: Any) -> None:
    assert activate(*OWN, "--no-opt-outs")[0] == 0
    other = home.parent / "beta" / "node.toml"
    status, _, err = run("receipt", "out.csv.receipt.json", "--config", other)
    assert status == 3
    assert "another key than beta's" in err
    assert run("receipt", "missing.json")[0] == 2
