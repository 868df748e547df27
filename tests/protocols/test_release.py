"""A release's figures follow from its noised sum, and who changes a figure, a slot or the mechanism is found out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import release
from protocols.encoding import canonical, digest, parse
from protocols.errors import IntegrityError, SumroomError
from protocols.plan import Plan
from protocols.release import Body, Proof, Release
from protocols.statistic import Integers

DEMO = Path(__file__).resolve().parents[1] / "plans" / "rfm.toml"
PLAN = Plan.from_toml(DEMO.read_bytes())
STEPS = ("rfm-cuts", "rfm-cohorts")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PROOF = Proof(size=9, path=["AAAA"])
Path_ = tuple[str | int, ...]


def noised(step: str) -> Integers:
    """Sums in which some cells are clear and some are below the gate."""
    slots = len(PLAN.step(step)[0].statistic.slots)
    sums = 400 + 37 * np.arange(slots, dtype=np.int64) % 311
    if step == "rfm-cohorts":
        sums[[3, 17, 30]] = [40, -12, 90]
    return sums


def made(step: str, earlier: Mapping[str, Any] | None = None, **changes: Any) -> Body:
    given = {
        "round_id": "a" * 32,
        "step": step,
        "nonce": "b" * 32,
        "noised": noised(step),
        "survivors": PLAN.parties,
        "earlier": earlier or {},
        "salt": bytes(range(32)),
    }
    return release.compose(PLAN, **{**given, **changes})


def bodies() -> dict[str, dict[str, Any]]:
    """Both releases of one round, as plain values."""
    first = made("rfm-cuts").body()
    return {"rfm-cuts": first, "rfm-cohorts": made("rfm-cohorts", {"rfm-cuts": first["answer"]}).body()}


def recomputed(document: dict[str, Any]) -> None:
    first = bodies()["rfm-cuts"]
    release.recompute(document, PLAN, {} if document["step"] == "rfm-cuts" else {"rfm-cuts": first})


def leaves(tree: Any, at: Path_ = ()) -> Iterator[Path_]:
    if isinstance(tree, dict | list):
        for name, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(inner, (*at, name))
    else:
        yield at


def changed(document: dict[str, Any], at: Path_, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    inner: Any = result
    for name in at[:-1]:
        inner = inner[name]
    inner[at[-1]] = value
    return result


def value_at(document: Any, at: Path_) -> Any:
    for name in at:
        document = document[name]
    return document


# -- figures follow from the noised sum --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_an_honest_release_is_what_recomputing_it_gives(step: str) -> None:
    recomputed(bodies()[step])


@pytest.mark.parametrize("step", STEPS)
def test_every_changed_figure_is_caught(step: str) -> None:
    document = bodies()[step]
    paths = list(leaves(document["answer"]))
    assert len(paths) > 60
    for at in paths:
        old = value_at(document["answer"], at)
        other = "too noisy" if at[-1] == "value" and old != "too noisy" else "7"
        with pytest.raises(IntegrityError):
            recomputed(changed(document, ("answer", *at), other))


@pytest.mark.parametrize("step", STEPS)
def test_a_figure_that_is_added_removed_or_renamed_is_caught(step: str) -> None:
    document = bodies()[step]
    table = next(iter(document["answer"]))
    inner = document["answer"][table]
    name = next(iter(inner))
    for tables in ({**inner, "more": inner[name]}, {k: v for k, v in inner.items() if k != name}):
        with pytest.raises(IntegrityError):
            recomputed(changed(document, ("answer", table), tables))


@pytest.mark.parametrize("step", STEPS)
def test_every_changed_slot_that_a_figure_rests_on_is_caught(step: str) -> None:
    document = bodies()[step]
    slots = PLAN.step(step)[0].statistic.slots
    for i in range(len(slots)):
        if (step, slots[i]) == ("rfm-cuts", "unusable"):
            continue  # no figure of this step rests on it; its digest in the ledger does
        with pytest.raises(IntegrityError, match="does not follow"):
            recomputed(changed(document, ("noised", i), document["noised"][i] + 1000))


@pytest.mark.parametrize("step", STEPS)
def test_every_changed_field_of_the_mechanism_is_caught(step: str) -> None:
    document = bodies()[step]
    for at in leaves(document["mechanism"]):
        old = value_at(document["mechanism"], at)
        other = f"{old}x" if isinstance(old, str) else old + 1
        with pytest.raises(IntegrityError):
            recomputed(changed(document, ("mechanism", *at), other))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "release@v2"),
        ("room", "another"),
        ("plan", "0" * 64),
        ("recipients", ["grocer"]),
        ("survivors", ["drugstore", "grocer"]),
        ("charge_record", 1),
        ("charge_person", 1),
        ("noised", []),
        ("noised", [1] * 10),
        ("noised", [1.0] * 43),
        ("noised", [2**53] * 43),
        ("answer", {}),
        ("answer", {"recency": 3}),
        ("salt", "short"),
        ("surprise", 1),
    ],
)
def test_every_other_changed_field_that_bears_on_figures_is_caught(field: str, value: Any) -> None:
    with pytest.raises(IntegrityError):
        recomputed({**bodies()["rfm-cuts"], field: value})


@pytest.mark.parametrize("step", ["no-such-step", "rfm-cohorts"])
def test_a_release_of_one_step_does_not_pass_for_anothers(step: str) -> None:
    with pytest.raises(SumroomError):
        recomputed({**bodies()["rfm-cuts"], "step": step})


def test_a_release_of_a_step_that_its_plan_has_not_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        recomputed({**bodies()["rfm-cuts"], "step": "no-such-step"})


def test_a_sum_that_is_no_sum_of_people_is_an_integrity_error() -> None:
    """What comes out when masks did not cancel: words that are uniform in 64 bits."""
    sums = noised("rfm-cuts")
    sums[7] = 2**60
    with pytest.raises(IntegrityError):
        made("rfm-cuts", noised=sums)


def test_a_missing_share_makes_less_noise_and_so_other_intervals() -> None:
    whole, fewer = made("rfm-cohorts").answer, made("rfm-cohorts", survivors=PLAN.parties[:2]).answer
    width = [int(float(a["cohorts"]["other"]["high"]) - float(a["cohorts"]["other"]["low"])) for a in (whole, fewer)]
    assert width[1] < width[0]


# -- what the ledger and the signature bind ----------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_the_digest_that_goes_into_the_ledger_changes_with_every_leaf_of_the_body(step: str) -> None:
    document = bodies()[step]
    body = release.read_body(document)
    assert body.digest == digest(canonical(document))
    for at in leaves(document):
        old = value_at(document, at)
        other = canonical(changed(document, at, old + 1 if isinstance(old, int) else f"{old}0"))
        assert digest(other) != body.digest


def test_the_numbers_of_a_release_are_the_paths_of_all_its_figures() -> None:
    assert len(made("rfm-cuts").numbers) == 24
    assert len(made("rfm-cohorts").numbers) == 34
    assert "/frequency/p40/edge" in made("rfm-cuts").numbers


def test_the_charges_of_a_release_are_those_of_its_plan() -> None:
    for step, mechanism in PLAN.steps():
        body = made(step.name)
        assert (body.charge_record, body.charge_person) == (mechanism.charge, 3 * mechanism.charge)
    assert sum(made(step).charge_person for step in STEPS) == PLAN.charge_person


def signed() -> Release:
    return release.sign(made("rfm-cuts"), KEY, 8, PROOF)


def test_a_signed_release_survives_the_way_through_bytes() -> None:
    original = signed()
    again = release.read(original.to_bytes())
    assert again == original
    assert again.to_bytes() == original.to_bytes()
    assert again.name == "a" * 32 + "-rfm-cuts"
    release.check_signature(again, KEY.public_key())


def test_a_signature_by_anybody_else_is_refused() -> None:
    with pytest.raises(IntegrityError, match="release signature of the coordinator does not verify"):
        release.check_signature(signed(), Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32).public_key())


@pytest.mark.parametrize("at", [("noised", 0), ("answer", "recency", "p20", "edge", "value"), ("round",), ("salt",)])
def test_a_signature_over_another_body_is_refused(at: Path_) -> None:
    document = parse(signed().to_bytes())
    old = value_at(document["body"], at)
    other = old + 1 if isinstance(old, int) else {"value": "999"}.get(str(at[-1]), old[:-1] + "0")
    forged = release.read(canonical(changed(document, ("body", *at), other)))
    with pytest.raises(IntegrityError, match="does not verify"):
        release.check_signature(forged, KEY.public_key())


@pytest.mark.parametrize("field", ["body", "signature", "entry", "proof"])
def test_a_release_without_one_of_its_parts_is_refused(field: str) -> None:
    document = parse(signed().to_bytes())
    del document[field]
    with pytest.raises(IntegrityError, match="release"):
        release.read(canonical(document))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"not json", signed().to_bytes() + b"\n", signed().to_bytes()[:-1]]
)
def test_bytes_that_are_no_release_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="release"):
        release.read(data)
