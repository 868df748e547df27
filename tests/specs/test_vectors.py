"""Golden bytes and the pages about them: what is committed is what the code writes, reads and refuses."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from coordinator.aggregate import check_share, noised_sum
from protocols import audit, bundle, keys, masking, messages, plan, release, schema
from protocols.carrier import codec, frames, rpc, seal
from protocols.carrier import room_pb2 as pb
from protocols.encoding import parse
from protocols.errors import CannotDecide, IntegrityError, UsageError
from protocols.ledger import entries, notes, proofs
from protocols.ledger.reducer import Accounts
from protocols.ledger.tree import Tree, leaf_hash
from protocols.questions import rfm
from protocols.questions.segments import plan as segments

ROOT = Path(__file__).resolve().parents[2]
VECTORS, PAGES = ROOT / "tests" / "vectors", ROOT / "protocols" / "specs"


def _regenerate() -> ModuleType:
    name = "sumroom_tests_vectors_regenerate"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, VECTORS / "regenerate.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def golden(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def files(start: str) -> list[str]:
    return sorted(f"{path.parent.name}/{path.name}" for path in VECTORS.glob(f"*/{start}-*"))


def identities() -> dict[str, Ed25519PublicKey]:
    genesis = entries.decode(golden("ledger-entry/good-00-genesis.json"))
    assert isinstance(genesis, entries.Genesis)
    return {party: keys.public_key(member.key) for party, member in genesis.parties.items()}


def coordinator() -> Ed25519PublicKey:
    genesis = entries.decode(golden("ledger-entry/good-00-genesis.json"))
    assert isinstance(genesis, entries.Genesis)
    return keys.public_key(genesis.coordinator.key)


# -- how the product reads each format ---------------------------------------------------------------------------------


def read_entry(_: str, data: bytes) -> None:
    """Decoded, encoded again, and taken in by the rules at its place."""
    entry = entries.decode(data)
    assert entries.encode(entry) == data
    accounts = Accounts()
    for name in [name for name in files("good") if name.startswith("ledger-entry/")][: entry.seq]:
        accounts.apply(entries.decode(golden(name)))
    accounts.apply(entry)


def read_checkpoint(name: str, data: bytes) -> None:
    text = data.decode()
    if "key-" in name and "of-another" not in name:
        assert notes.parse_key(text.removesuffix("\n")).text() + "\n" == text
        return
    stored = {path.stem: notes.parse_key(path.read_text().strip()) for path in VECTORS.glob("checkpoint/good-key-*")}
    log = stored.pop("good-key-log")
    checkpoint, _ = notes.open_note(text, log, stored.values())
    _, lines = notes.split(text)
    assert notes.assemble(checkpoint, lines[0], lines[1:]) == text


def read_bundle(_: str, data: bytes) -> None:
    assert bundle.pack(bundle.unpack(data)) == data


def read_release(_: str, data: bytes) -> None:
    made = release.read(data)
    assert made.to_bytes() == data
    release.check_signature(made, coordinator())
    agreed = plan.Plan.from_bytes(golden("plan/good-rfm.json"))
    cuts = parse(golden("release/good-rfm-cuts.json"))["body"]
    release.recompute(made.body_.body(), agreed, {} if made.body_.step == "rfm-cuts" else {"rfm-cuts": cuts})
    bodies = [golden(name) for name in files("good") if name.startswith("ledger-entry/")]
    tree = Tree()
    for body in bodies[: made.proof.size]:
        tree.append(leaf_hash(body))
    path = [keys.unbase64(part) for part in made.proof.path]
    proofs.verify_inclusion(leaf_hash(bodies[made.entry]), made.entry, made.proof.size, path, tree.root())


def read_plan(_: str, data: bytes) -> None:
    assert plan.Plan.from_bytes(data).canonical == data


def read_share(name: str, data: bytes) -> None:
    if "contribute" in name or "prepare" in name:
        request = messages.read_request(data)
        assert messages.encode(request) == data
        if isinstance(request, messages.Contribute):
            masking.check_roster(request.roster, identities(), request.occasion)
        return
    if "mask-offer" in name:
        assert messages.encode(messages.read_reply(data)) == data
        return
    party = next((party for party in identities() if party in name), "alpha")
    is_words = name.endswith(".bin")
    share = messages.read_reply(golden(f"share/good-share-{party}.json") if is_words else data)
    assert isinstance(share, messages.Share)
    prepare = messages.read_request(golden("share/good-prepare.json"))
    assert isinstance(prepare, messages.Prepare)
    words = data if is_words else golden(f"share/good-words-{party}.bin")
    room: Any = SimpleNamespace(identities=identities())
    check_share(room, party, prepare.occasion, share, words, 4)
    assert is_words or messages.encode(share) == data


def read_header(name: str, data: bytes) -> None:
    if "payload" in name:
        codec.decode(data, seal.ERROR if "error" in name else seal.INSTRUCTION)
        return
    sealed = pb.Sealed.FromString(data)
    if "good-error" in name:
        reply = seal.unseal(identities()["alpha"], sealed, room="demo-room", src="alpha", dst="coordinator")
        seal.check_reply(reply, instruction())
        return
    assert seal.unseal(coordinator(), sealed, room="demo-room", src="coordinator", dst="alpha") == instruction()


def instruction() -> seal.Header:
    return seal.read(pb.Sealed.FromString(golden("wire-header/good-instruction.bin")).header)


READ: dict[str, Callable[[str, bytes], None]] = {
    "ledger-entry": read_entry,
    "checkpoint": read_checkpoint,
    "bundle": read_bundle,
    "release": read_release,
    "plan": read_plan,
    "share": read_share,
    "wire-header": read_header,
}


def test_the_committed_vectors_are_byte_for_byte_what_the_code_writes(tmp_path: Path) -> None:
    _regenerate().write(tmp_path)
    made = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.glob("*/*")}
    found = {name: golden(name) for name in files("good") + files("bad")}
    assert sorted(made) == sorted(found)
    assert [name for name in made if made[name] != found[name]] == []


@pytest.mark.parametrize("name", files("good"))
def test_every_good_vector_is_read_by_the_product(name: str) -> None:
    READ[name.split("/")[0]](name, golden(name))


@pytest.mark.parametrize("name", files("bad"))
def test_every_bad_vector_is_refused(name: str) -> None:
    with pytest.raises((IntegrityError, UsageError, CannotDecide)):
        READ[name.split("/")[0]](name, golden(name))


def test_there_are_good_and_bad_vectors_of_every_format() -> None:
    for start in ("good", "bad"):
        assert {name.split("/")[0] for name in files(start)} == set(READ)


def test_the_auditor_finds_nothing_wrong_with_the_good_bundle() -> None:
    findings = audit.verify(golden("bundle/good-room.tar"), _regenerate().ROOM.policy())
    assert findings.violations == ()
    assert all(check.state == "ok" for check in findings.checks)
    assert (findings.entries, findings.releases, findings.forfeits) == (10, 2, 1)


def test_masks_of_the_good_shares_vanish_in_their_sum() -> None:
    prepare = messages.read_request(golden("share/good-prepare.json"))
    assert isinstance(prepare, messages.Prepare)
    room: Any = SimpleNamespace(identities=identities())
    words = {}
    for party in identities():
        share = messages.read_reply(golden(f"share/good-share-{party}.json"))
        assert isinstance(share, messages.Share)
        payload = golden(f"share/good-words-{party}.bin")
        words[party] = check_share(room, party, prepare.occasion, share, payload, 4)
    assert noised_sum(words).tolist() == [432, 12, 6, 12]


def test_the_payload_on_the_wire_carries_the_request() -> None:
    records: Any = codec.decode(golden("wire-header/good-payload.bin"), seal.INSTRUCTION)
    assert records["request"]["body"] == golden("share/good-prepare.json")
    assert codec.encode(SimpleNamespace(has_error=lambda: False, content=records)) == (  # type: ignore[arg-type]
        golden("wire-header/good-payload.bin"),
    )


# -- the pages ---------------------------------------------------------------------------------------------------------

MODELS: dict[str, dict[str, Any]] = {
    "ledger-entry": {
        **{kind.__name__: kind for kind in (entries.Genesis, entries.Dataset, entries.Plan, entries.Reserve)},
        **{kind.__name__: kind for kind in (entries.Commit, entries.Forfeit, entries.Step, entries.Mechanism)},
        **{kind.__name__: kind for kind in (entries.Caps, entries.Key, schema.Block)},
    },
    "checkpoint": {"Checkpoint": notes.Checkpoint},
    "bundle": {},
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
        **{kind.__name__: kind for kind in (messages.Contribute, masking.Occasion, masking.MaskKey)},
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
    for file in re.findall(r"`((?:good|bad)-[a-z0-9-]+\.(?:json|txt|tar|bin))`", page(name)):
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
