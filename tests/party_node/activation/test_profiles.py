"""Each platform's file is, byte for byte, what its pages ask for; a profile says what it was made after."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from party_node.activation import profile
from protocols.errors import UsageError
from tests.party_node.activation import regenerate
from tests.party_node.activation.party import Party


def test_the_golden_files_are_what_the_code_writes() -> None:
    assert regenerate.differences() == []


def test_every_profile_has_a_golden_file() -> None:
    assert {name for name, _ in regenerate.CASES.values()} == set(profile.names())


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def golden(name: str) -> list[list[str]]:
    with (regenerate.GOLDEN / name).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file))


def test_google_gets_hashed_contacts_with_country_and_postcode_in_the_clear() -> None:
    ada = [sha("cloudysanfrancisco@gmail.com"), sha("+4930901820"), sha("ada marie"), sha("lovelace"), "de", "10115"]
    assert ada in golden("google-customer-match.csv")
    assert [sha("cloudy.sanfrancisco+shopping@gmail.com"), *ada[1:]] in golden("google-customer-match-as-written.csv")
    only = [sha("user.name+nyc@example.com"), sha("+18005550199"), "", "", "", ""]
    assert only in golden("google-customer-match.csv")


def test_display_and_video_gets_names_without_blanks_and_all_in_lower_case() -> None:
    jane = [sha("jane.doe@example.org"), sha("+442083661177"), sha("jane"), sha("doe"), "gb", "wc2h 8lg"]
    assert jane in golden("display-video-360.csv")
    assert sha("adamarie") in [row[2] for row in golden("display-video-360.csv")]


def test_microsoft_gets_a_list_and_its_items_under_a_byte_order_mark() -> None:
    rows = golden("microsoft.csv")
    assert (regenerate.GOLDEN / "microsoft.csv").read_bytes().startswith(b"\xef\xbb\xbfType,Status,Id,")
    assert [row[0] for row in rows[1:3]] == ["Format Version", "Customer List"]
    assert rows[2][9:11] == ["Autumn, loyal", "Add"]
    # The digest that Microsoft's own page gives for test@contoso.com
    assert "f25ad364d33972379a7a4f4df33db142205f5c40eb19cfdb2fc5aaf117e10101" in [row[12] for row in rows[3:]]
    assert {(row[0], row[3], row[11]) for row in rows[3:]} == {("Customer List Item", "-10", "Email")}


def test_tiktok_gets_the_digests_of_its_own_page() -> None:
    rows = golden("tiktok.csv")
    # Those of janedoe@gmail.com and of an advertising id, as TikTok's page of September 2025 has them
    assert "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69" in [row[0] for row in rows]
    assert "83dc3f5f32b9472613b0f038d36f22585a609d018af6f6067f50da318bf354bd" in [row[2] for row in rows]
    assert sha("+4930901820") in [row[1] for row in rows]


def test_tiktoks_other_editions_are_a_setting() -> None:
    rows = golden("tiktok-digits-no-plus.csv")
    assert [sha("user.name@example.com"), sha("18005550199"), ""] in rows


@pytest.mark.parametrize("name", profile.names())
def test_a_profile_says_its_version_and_the_pages_it_was_made_after(name: str) -> None:
    one, digest = profile.read(name)
    assert (one.name, one.version, len(digest)) == (name, "1", 64)
    assert one.sources or name.startswith("plain-")
    assert all(option.default in option.values and option.why for option in one.options.values())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("tiktoc", {}, "there is no profile 'tiktoc'"),
        ("tiktok", {"fone": "plus"}, "no setting 'fone'"),
        ("tiktok", {"phone": "minus"}, "--set phone=minus"),
        ("microsoft", {}, "needs --set audience"),
        ("microsoft", {"audience": "=1+1"}, "--set audience"),
        ("microsoft", {"audience": "a\nb"}, "--set audience"),
        ("microsoft", {"audience": "a" * 129}, "--set audience"),
        ("microsoft", {"audience": "a", "action": "Replace"}, "--set action=Replace"),
        ("microsoft", {"audience": "a", "list": "1e3"}, "--set list=1e3"),
    ],
)
def test_a_setting_that_is_none_is_refused(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        profile.decide(name, settings)


def test_an_address_with_a_gap_is_left_out_whole(tmp_path: Path) -> None:
    people = ["customer,email,first_name,last_name,country,postcode", "a,a@x.org,Ada,,DE,10115", "b,,Bo,Ro,DE,1"]
    done = Party(tmp_path, ["customer", "a", "b"], people).activate("google-customer-match")
    rows = list(csv.reader((tmp_path / "out" / "file.csv").read_text().splitlines()))
    assert rows == [
        ["Email", "First Name", "Last Name", "Country", "Zip"],
        ["", sha("bo"), sha("ro"), "de", "1"],
        [sha("a@x.org"), "", "", "", ""],
    ]
    assert done.lines == 2


def test_columns_that_only_count_together_are_not_written_by_themselves(tmp_path: Path) -> None:
    people = ["customer,email,first_name,country", "a,a@x.org,Ada,DE"]
    done = Party(tmp_path, ["customer", "a"], people).activate("google-customer-match")
    assert (tmp_path / "out" / "file.csv").read_text() == f"Email\n{sha('a@x.org')}\n"
    assert "first_name" in done.warnings[0]


def test_a_list_over_the_limit_is_cut_into_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, digest = profile.read("microsoft")
    limits = profile.Limits(rows=5, bytes=10_000)
    monkeypatch.setattr(profile, "read", lambda _: (found.model_copy(update={"limits": limits}), digest))
    people = ["customer,email", *(f"c{i},c{i}@x.org" for i in range(5))]
    party = Party(tmp_path, ["customer", *(f"c{i}" for i in range(5))], people)
    done = party.activate("microsoft", {"audience": "a"})
    assert [file.name for file in done.files] == ["file-1.csv", "file-2.csv", "file-3.csv"]
    lines = [file.read_text("utf-8-sig").splitlines() for file in done.files]
    assert [len(one) for one in lines] == [5, 5, 4]
    assert len({tuple(one[:3]) for one in lines}) == 1
    assert sorted(line[-64:] for one in lines for line in one[3:]) == sorted(sha(f"c{i}@x.org") for i in range(5))


def test_no_file_is_over_the_limit_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, digest = profile.read("tiktok")
    limits = profile.Limits(bytes=200)
    monkeypatch.setattr(profile, "read", lambda _: (found.model_copy(update={"limits": limits}), digest))
    people = ["customer,email", *(f"c{i},c{i}@x.org" for i in range(5))]
    done = Party(tmp_path, ["customer", *(f"c{i}" for i in range(5))], people).activate("tiktok")
    sizes = [file.stat().st_size for file in done.files]
    assert len(sizes) == 3
    assert max(sizes) <= 200
