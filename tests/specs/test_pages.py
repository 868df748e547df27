"""The pages about formats: their tables are the models of the code, their examples the golden bytes."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from protocols import bundle, masking, messages, people, plan, release, schema
from protocols.carrier import frames, rpc, seal
from protocols.carrier import room_pb2 as pb
from protocols.ledger import changes, entries, notes, statements, tlog_proof
from protocols.questions import rfm
from protocols.questions.classes import plan as classes
from protocols.questions.lookalike import plan as lookalike
from protocols.questions.overlap import plan as overlap
from protocols.questions.segments import plan as segments
from tests.specs.readers import VECTORS, golden

PAGES = VECTORS.parents[1] / "protocols" / "specs"

MODELS: dict[str, dict[str, Any]] = {
    "ledger-entry": {
        **{kind.__name__: kind for kind in (entries.Genesis, entries.Dataset, entries.Plan, entries.Reserve)},
        **{kind.__name__: kind for kind in (entries.Commit, entries.Forfeit, entries.Step, entries.Mechanism)},
        **{kind.__name__: kind for kind in (entries.Caps, entries.Key, schema.Block)},
    },
    "ledger-changes": {
        **{kind.__name__: kind for kind in (changes.KeyChange, changes.PartyChange, changes.Grant)},
        **{kind.__name__: kind for kind in (statements.Refund, statements.Reuse, statements.Deny)},
        **{kind.__name__: kind for kind in (statements.Egress, statements.Audit)},
    },
    "checkpoint": {"Checkpoint": notes.Checkpoint},
    "tlog-proof": {"Proof": tlog_proof.Proof},
    "bundle": {},
    "people": {"PeopleRules": people.PeopleRules},
    "question": {},
    "classes-question": {
        "classes": classes.Plan,
        "classes.rho": classes.Shares,
        "classes.item": classes.Item,
        "classes.range": schema.Range,
    },
    "lookalike-question": {
        "lookalike": lookalike.Plan,
        "lookalike.rho": lookalike.Shares,
        "lookalike.seed": lookalike.Seed,
        "lookalike.bound": lookalike.Bound,
        "lookalike.clean": lookalike.Cleaned,
        "lookalike.attribute": lookalike.Audited,
    },
    "overlap-question": {
        "overlap": overlap.Plan,
        "overlap.rho": overlap.Shares,
        "overlap.lists": overlap.Lists,
        "overlap.value": overlap.Value,
    },
    "release": {
        "Release": release.Release,
        "Body": release.Body,
        "Proof": release.Proof,
        "Mechanism": plan.Mechanism,
    },
    "plan": {
        **{kind.__name__: kind for kind in (plan.Plan, plan.FeatureRules, plan.BgNbd, plan.GammaGamma)},
        **{kind.__name__: kind for kind in (schema.Block, schema.Schema, schema.Column, segments.Feature)},
        "rfm": rfm.Plan,
        "rfm.rho": rfm.Shares,
        "segments": segments.Plan,
        "segments.rho": segments.Shares,
    },
    "share": {
        **{kind.__name__: kind for kind in (messages.Share, messages.Prepare, messages.MaskOffer)},
        **{kind.__name__: kind for kind in (messages.Agree, messages.Agreed, messages.Contribute)},
        **{kind.__name__: kind for kind in (masking.Occasion, masking.MaskKey)},
    },
    "recovery": {
        kind.__name__: kind for kind in (messages.Settle, messages.Settled, messages.Unmask, messages.Unmasked)
    },
    "wire-header": {"Header": seal.Header, "Sealed": pb.Sealed, "Frame": pb.Frame},
}


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text("utf-8")


def fields_of(model: Any) -> set[str]:
    """The names as they are in the bytes."""
    if hasattr(model, "DESCRIPTOR"):
        return {field.name for field in model.DESCRIPTOR.fields}
    if dataclasses.is_dataclass(model):
        return {field.name for field in dataclasses.fields(model)}
    return {info.alias or name for name, info in model.model_fields.items()}


def tables(text: str) -> dict[str, set[str]]:
    """Each table headed `| `Model` | …`, and the names in its first column."""
    found: dict[str, set[str]] = {}
    model = ""
    for line in text.splitlines():
        first = re.match(r"\| (`[^|]+`) \|", line)
        if first is None:
            model = model if line.startswith("|") else ""
            continue
        names = re.findall(r"`([^`]+)`", first[1])
        if not model:
            (model,) = names
            found[model] = set()
        else:
            assert not found[model] & set(names), line
            found[model].update(names)
    return found


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_tables_of_a_page_name_exactly_the_fields_of_the_models(name: str) -> None:
    assert tables(page(name)) == {model: fields_of(kind) for model, kind in MODELS[name].items()}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_rules_of_a_page_are_numbered_from_1_and_its_lines_are_few_and_short(name: str) -> None:
    lines = page(name).splitlines()
    numbers = [int(found[1]) for line in lines if (found := re.match(r"([0-9]+)\. ", line))]
    assert len(numbers) >= 8
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_example_of_a_page_is_its_golden_file(name: str) -> None:
    """Lines are joined; a line `…` stands for what is left out."""
    found = re.search(r"`tests/vectors/([^`]+)`[^\n]*\n\n```(\w+)\n(.*?)\n```\n", page(name), re.DOTALL)
    assert found is not None
    file, kind, shown = found[1], found[2], found[3]
    data = golden(file)
    true = data.hex() if kind == "hex" else data.decode("utf-8").removesuffix("\n")
    parts = [part if kind == "text" else part.replace("\n", "") for part in re.split(r"\n…\n", shown)]
    pattern = ".*".join(map(re.escape, parts))
    assert re.fullmatch(pattern + ("0*" if kind == "hex" else ""), true, re.DOTALL)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_vector_that_a_page_names_is_there(name: str) -> None:
    for file in re.findall(r"`((?:good|bad)-[a-z0-9-]+\.(?:json|txt|tar|bin|tlog-proof))`", page(name)):
        assert (VECTORS / name / file).exists(), file


def test_the_bundle_page_names_the_members_and_limits_of_the_code() -> None:
    text = page("bundle")
    for word in (bundle.ENTRIES, bundle.CHECKPOINTS, bundle.PLANS, bundle.RELEASES):
        assert f"`{word}" in text
    assert f"{bundle.MAX_BYTES:,}" in text
    assert f"{bundle.MAX_MEMBERS:,}" in text


def test_the_wire_page_names_the_kinds_the_version_and_the_error_codes_of_the_code() -> None:
    text = page("wire-header")
    for kind in (seal.INSTRUCTION, seal.REPLY, seal.ERROR, seal.DOMAIN[:-1].decode()):
        assert f"`{kind}`" in text
    for code in (frames.FAILED, frames.UNAVAILABLE, frames.EXPIRED, frames.SEQUENCE_USED, frames.TOO_LARGE):
        assert f"`{code}`" in text
    assert f"`version` is {rpc.VERSION}" in text
