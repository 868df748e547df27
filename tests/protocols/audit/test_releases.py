"""A release is in the bundle once, says what the ledger says, is signed, proved, and follows from its noised sum."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocols import bundle, keys, release
from protocols.encoding import canonical, digest
from tests.protocols.audit.members import bodies_of, first


def file_of(members: dict[str, bytes], step: str) -> str:
    return next(name for name in members if name.endswith(f"-{step}.json"))


def test_a_release_that_is_kept_back_is_named_by_its_entry(verdict, clean) -> None:
    file = file_of(clean, "rfm-cohorts")
    found = first(verdict({name: data for name, data in clean.items() if name != file}))
    assert found == ("releases", "entry 7", "its release is not in the bundle")


def test_a_planted_orphan_is_found(verdict, clean, room) -> None:
    orphan = bundle.release_name("ab" * 16, "rfm-cuts")
    found = first(verdict({**clean, orphan: clean[file_of(clean, "rfm-cuts")]}))
    assert found == ("releases", orphan, "no commit in the ledger is of this release")
    assert verdict(clean).numbers > verdict({**clean, orphan: b"{}"}).numbers == 0


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("digest", lambda d: d["body"].update(salt="ab" * 32)),
        ("digest", lambda d: d["body"]["noised"].reverse() or d["body"]["noised"].append(1)),
        ("entry", lambda d: d.update(entry=5)),
        ("signature of the coordinator", lambda d: d.update(signature="A" * 86 + "==")),
        ("base64", lambda d: d.update(signature="A" * 85 + "B==")),
        ("release", lambda d: d.update(more=1)),
    ],
)
def test_a_changed_release_is_found(verdict, clean, what, change) -> None:
    file = file_of(clean, "rfm-cuts")
    document = json.loads(clean[file])
    change(document)
    name, where, found = first(verdict({**clean, file: canonical(document)}))
    assert (name, where) == ("releases", file)
    assert what in found


@pytest.fixture
def released(room, built, clean, colluding):
    """A room whose coordinator commits to and signs whatever body and entry the test makes of the true ones."""

    def _released(body: dict[str, Any] | None = None, commit: dict[str, Any] | None = None, **proof: Any):
        true = room.bodies()[0]
        document = {**true.body(), **(body or {})}
        numbers = list(release.pointers(document["answer"]))
        fields = {"digest": digest(canonical(document)), "numbers": numbers, **(commit or {})}
        entry = room.commit(6, "one", "rfm-cuts", **fields)
        members = colluding(room.reserve(5), entry)
        tree = built.Tree()
        for raw in bodies_of(members):
            tree.append(built.leaf_hash(raw))
        path = [keys.base64_text(part) for part in tree.inclusion(6, 7)]
        signed = {
            "body": document,
            "signature": keys.sign(room.coordinator, "release", document),
            "entry": 6,
            "proof": {"size": 7, "path": path, **proof},
        }
        return built.proved({**members, bundle.release_name(true.round, true.step): canonical(signed)})

    return _released


def test_a_true_release_of_one_step_of_an_open_round_is_clean(verdict, released) -> None:
    assert verdict(released()).violations == ()


@pytest.mark.parametrize(
    ("field", "body", "commit"),
    [
        ("room", {"room": "other-room"}, {}),
        ("plan", {"plan": "ab" * 32}, {}),
        ("round", {"round": "ab" * 16}, {}),
        ("step", {"step": "rfm-cohorts"}, {}),
        ("nonce", {"nonce": "ab" * 16}, {}),
        ("survivors", {"survivors": ["alpha", "beta"]}, {}),
        ("recipients", {}, {"recipients": ["alpha"]}),
        ("list of numbers", {}, {"numbers": ["/size"]}),
    ],
)
def test_a_release_says_in_every_field_what_the_ledger_says(verdict, released, field, body, commit) -> None:
    name, _, what = first(verdict(released(body, commit)))
    assert (name, what) == ("releases", f"its {field} is not what the ledger says")


def test_a_release_states_the_mechanism_it_was_made_with(verdict, released, room) -> None:
    noise = {**room.bodies()[0].body()["mechanism"], "collusion": 1}
    assert first(verdict(released({"mechanism": noise})))[2] == "its mechanism is not what the ledger says"


@pytest.mark.parametrize(
    ("proof", "what"),
    [
        ({"size": 9}, "which the bundle has not"),
        ({"path": []}, "inclusion proof"),
        ({"path": ["AAAA"]}, "32 bytes"),
        ({"size": 6}, "cannot be in a tree of 6"),
    ],
)
def test_a_release_without_its_own_sound_proof_is_a_violation(verdict, released, proof, what) -> None:
    name, where, found = first(verdict(released(**proof)))
    assert (name, where.startswith("releases/")) == ("proofs", True)
    assert what in found


def test_a_figure_that_does_not_follow_from_the_noised_sum_is_found_though_all_is_signed(
    verdict, released, room
) -> None:
    answer = json.loads(json.dumps(room.bodies()[0].body()["answer"]))

    def some_figure(tree):
        return tree if "low" in tree else some_figure(next(v for v in tree.values() if v.get("value") != "too noisy"))

    figure = some_figure(answer)
    figure["value"] = figure["value"] + "1"
    name, _, what = first(verdict(released({"answer": answer})))
    assert name == "figures"
    assert "does not follow" in what


def test_a_release_that_cannot_be_computed_again_at_all_is_a_violation_not_a_crash(verdict, clean, monkeypatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(release, "recompute", broken)
    name, _, what = first(verdict(clean))
    assert name == "figures"
    assert "cannot be computed" in what


def test_later_steps_are_computed_from_earlier_ones_of_their_own_round(verdict, clean, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(release, "recompute", lambda body, plan, earlier: seen.append((body["step"], sorted(earlier))))
    assert verdict(clean).violations == ()
    assert seen == [("rfm-cuts", []), ("rfm-cohorts", ["rfm-cuts"])]
