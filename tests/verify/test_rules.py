"""Each rule of the second auditor: on the vectors of the pages, on histories that hypothesis makes, and beside the
product's own readers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from protocols import budget, bundle, encoding, keys, verify
from protocols.errors import CannotDecide, IntegrityError, SumroomError
from protocols.ledger import notes, proofs, trust
from protocols.ledger.tree import Tree, leaf_hash
from tests.fuzz.mutations import near
from tests.fuzz.targets import policies
from tests.ledger import builder, naive
from tests.ledger.changes import CHANGES, STATEMENTS, KeyRing
from tests.ledger.drafts import KINDS, Drafts
from tests.specs.readers import VECTORS, files, golden
from tests.vectors import rooms
from tests.verify import judges

MODEST = settings(
    deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def verdict(check: Callable[[], Any]) -> str:
    """`taken`, `violation` or `undecided`."""
    try:
        check()
    except (verify.Violation, IntegrityError, naive.No):
        return "violation"
    except (verify.Undecided, CannotDecide):
        return "undecided"
    except (SumroomError, ValueError):
        return "violation"
    return "taken"


def of_format(*folders: str) -> list[str]:
    return [name for name in files("good") + files("bad") if name.split("/")[0] in folders]


# -- entries -----------------------------------------------------------------------------------------------------------


def taken_in(ledger: verify.Ledger, data: bytes) -> None:
    ledger.take(verify.read_entry(data), data)


@pytest.mark.parametrize("name", of_format("ledger-entry", "ledger-changes"))
def test_every_entry_of_the_vectors(name: str) -> None:
    folder, file = name.split("/")
    kinds = ("plain",) if folder == "ledger-changes" else ("five", "both")
    kind = next((f"{kind}-" for kind in kinds if f"-{kind}" in file), "[0-9]")
    good = [path.read_bytes() for path in sorted(VECTORS.glob(f"{folder}/good-{kind}*"))]
    data, ledger = golden(name), verify.Ledger()
    place = good.index(data) if data in good else None
    if place is None:
        try:
            entry = verify.read_entry(data)
        except verify.Violation:
            return
        place = len(good) - 1 if entry["type"] == "forfeit@v1" else entry["seq"]
    for before in good[:place]:
        taken_in(ledger, before)
    assert verdict(lambda: taken_in(ledger, data)) == ("taken" if "/good-" in name else "violation")


@settings(MODEST, max_examples=160)
@given(st.data())
def test_every_history_is_judged_as_by_the_naive_rules(data: st.DataObject) -> None:
    room, ring, now = builder.Room(), KeyRing(), builder.START + 3 * 86_400
    ledger, history = verify.Ledger(), [entry.body() for entry in room.opening()]
    for body in history:
        taken_in(ledger, naive.spelled(body))
    for kind in data.draw(st.lists(st.sampled_from([*CHANGES, *STATEMENTS, *KINDS, "key", "reserve"]), max_size=18)):
        now += data.draw(st.sampled_from([1, 30, 86_400]))
        line = naive.spelled(Drafts(room, history, now, data.draw, ring).make(kind))
        attempt = copy.deepcopy(ledger)
        found = verdict(lambda attempt=attempt, line=line: taken_in(attempt, line))
        expected = verdict(lambda line=line, history=history: naive.check(history, naive.read(line)))
        assert found == expected, line
        if found == "taken":
            ledger, history = attempt, [*history, encoding.parse(line)]
    spent = {at: (cap, ledger.spent.get(at, 0)) for at, cap in ledger.caps.items()}
    assert spent == naive.spent(history)
    assert ledger.roots[-1] == naive.root(naive.spelled(entry) for entry in history)
    for size in range(1, len(history) + 1):
        expected, members = naive.members(history[:size]), ledger.members_at(size)
        assert (members.coordinator, members.parties) == (expected["coordinator"], expected["parties"])
        assert members.quorum == expected["quorum"]


# -- checkpoints and proofs --------------------------------------------------------------------------------------------


def known(both: bool) -> verify.Members:
    """The members whose keys the vectors of checkpoints are by."""
    members: dict[str, dict[str, str]] = {}
    for path in sorted(VECTORS.glob("checkpoint/good-key-*.txt")):
        key = notes.parse_key(path.read_text().strip())
        if both or key.kind != 6:
            second = {"ml_dsa_44" if key.kind == 6 else "key": keys.base64_text(key.public)}
            members[key.name] = {**members.get(key.name, {}), **second}
    return verify.Members(builder.ORIGIN, members.pop(builder.ORIGIN), members, 2)


@pytest.mark.parametrize("name", [name for name in of_format("checkpoint") if "-key-" not in name or "another" in name])
def test_every_checkpoint_of_the_vectors(name: str) -> None:
    members = known(both="-both" in name)
    expected = "taken" if "/good-" in name else "violation"
    assert verdict(lambda: verify.Note(golden(name), lambda _: members)) == expected


@pytest.mark.parametrize("name", of_format("tlog-proof"))
def test_every_proof_of_the_vectors(name: str) -> None:
    lines = bundle.split_entries(bundle.unpack(golden("bundle/good-both.tar"))[bundle.ENTRIES])
    ledger = verify.Ledger()
    for line in lines:
        taken_in(ledger, line)
    expected = "taken" if "/good-" in name else "violation"
    found = verdict(lambda: verify.check_proof(golden(name), ledger.entries[6], lines[6], ledger))
    assert found == expected


def test_every_inclusion_proof_of_every_small_tree_and_none_that_was_changed() -> None:
    entries, tree = [bytes([number]) for number in range(18)], Tree()
    for entry in entries:
        tree.append(leaf_hash(entry))
    for size in range(1, 19):
        for at in range(size):
            path, root = tree.inclusion(at, size), tree.root(size)
            assert verify.leads_to(entries[at], at, size, path, root)
            spoiled = [path[:-1], [*path, bytes(32)], path[::-1], [bytes(32), *path[1:]], [*path[:1], *path]]
            for other in [one for one in spoiled if one != path]:
                wrong = verdict(lambda at=at, size=size, other=other, root=root: proofs.verify_inclusion(
                    leaf_hash(entries[at]), at, size, other, root))  # fmt: skip
                assert verify.leads_to(entries[at], at, size, other, root) == (wrong == "taken")
            assert not verify.leads_to(b"?", at, size, path, root)
            assert not verify.leads_to(entries[at], at, size, path, bytes(32))
            assert not verify.leads_to(entries[at], at + size, size, path, root)


# -- bytes, archive, policy --------------------------------------------------------------------------------------------


@settings(MODEST, max_examples=400)
@given(st.data())
def test_a_value_has_one_spelling(data: st.DataObject) -> None:
    line = near(data.draw, [golden(name) for name in of_format("ledger-entry")])
    assert verdict(lambda: verify.parse(line)) == verdict(lambda: encoding.parse(line))


def test_integers_end_where_the_page_says() -> None:
    for number in (2**53 - 1, -(2**53) + 1):
        assert verify.parse(f'{{"a":{number}}}'.encode()) == {"a": number}
    for text in ("9007199254740992", "-9007199254740992", "1.0", "1e3", "NaN", "Infinity", "-0", "01"):
        assert verdict(lambda text=text: verify.parse(f'{{"a":{text}}}'.encode())) == "violation"
    assert verify.parse('{"￿":1,"\U0001f600":2}'.encode()[:1] + '"\U0001f600":2,"￿":1}'.encode())
    assert verdict(lambda: verify.parse('{"￿":1,"\U0001f600":2}'.encode())) == "violation"


def unpacked(archive: bytes) -> None:
    """With the names of its members, which the second auditor asks about apart from the bytes."""
    for name in verify.unpack(archive):
        verify.need(bool(verify.KNOWN.fullmatch(name)), name)


@settings(MODEST, max_examples=300)
@given(st.data())
def test_an_archive_has_one_spelling(data: st.DataObject) -> None:
    archive = near(data.draw, [golden("bundle/good-genesis.tar")])
    assert verdict(lambda: unpacked(archive)) == verdict(lambda: bundle.unpack(archive))


@pytest.mark.parametrize("name", [name for name in files("good") if name.startswith("bundle/")])
def test_an_archive_that_is_cut_anywhere_cannot_be_decided(name: str) -> None:
    archive = golden(name)
    for length in [*range(0, 3000, 37), *range(0, len(archive), 5119), len(archive) - 10_240]:
        assert verdict(lambda length=length: verify.unpack(archive[:length])) != "taken"
        assert verdict(lambda length=length: verify.unpack(archive[:length])) == verdict(
            lambda length=length: bundle.unpack(archive[:length])
        )


@settings(MODEST, max_examples=400)
@given(st.data())
def test_a_policy_is_read_as_the_product_reads_it(data: st.DataObject) -> None:
    words = near(data.draw, policies())
    try:
        read = trust.parse(words)
    except SumroomError:
        return  # the product is stricter: it also asks which keys belong to whom
    second = verify.Policy(words)
    own = {key.text() for key in (*read.log, *read.witnesses.values())}
    assert set(second.keys) == own


def test_a_policy_is_satisfied_by_the_parties_that_the_product_says() -> None:
    policy = builder.Room().policy()
    second = verify.Policy(trust.render(policy).encode())
    for size in range(4):
        for names in combinations(builder.PARTIES, size):
            assert second.satisfied(names, second.quorum) == (size >= 2)


KEY = (VECTORS / "checkpoint" / "good-key-alpha.txt").read_text().strip()
LOG = (VECTORS / "checkpoint" / "good-key-log.txt").read_text().strip()
BETA = (VECTORS / "checkpoint" / "good-key-beta.txt").read_text().strip()


@pytest.mark.parametrize(
    "lines",
    [
        "",
        f"log {LOG}",
        f"witness a {KEY}\nquorum a",
        f"log {LOG}\nwitness a {KEY}\nquorum b",
        f"log {LOG}\nlog {LOG}\nquorum none",
        f"log {LOG}\nwitness a {KEY}\nwitness b {KEY}\nquorum a",
        f"log {LOG}\nwitness a {KEY}\nwitness a {BETA}\nquorum a",
        f"log {LOG}\nwitness none {KEY}\nquorum none",
        f"log {LOG}\nwitness a {KEY}\nquorum a\nquorum a",
        f"log {LOG}\nwitness a {KEY}\ngroup g 2 a\nquorum g",
        f"log {LOG}\nwitness a {KEY}\ngroup g 0 a\nquorum g",
        f"log {LOG}\nwitness a {KEY}\ngroup g any a a\nquorum g",
        f"log {LOG}\nwitness a {KEY}\ngroup g any a\ngroup h any a\nquorum g",
        f"log {LOG}\nwitness a {KEY}\ngroup g any b\nquorum g",
        f"log {LOG}\nwitness a {KEY}\ngroup g any none\nquorum g",
        f"log {LOG}\nwitness a {KEY}\ngroup g\nquorum a",
        f"log {LOG}\nwitness a {KEY[:-4]}AAA=\nquorum a",
        f"log {LOG}\nwitness a {KEY} url more\nquorum a",
        f"log {LOG}\r\nquorum none",
        f"log {LOG}\nsomething else\nquorum none",
    ],
)
def test_what_is_no_policy_cannot_be_decided(lines: str) -> None:
    expected = "taken" if lines.startswith("witness") else "undecided"  # a policy without a log names no key of it
    assert verdict(lambda: verify.Policy(lines.encode())) == expected


def test_a_policy_may_have_comments_tabs_addresses_and_groups_of_groups() -> None:
    words = f"# mine\n\n log\t{LOG} https://x\nwitness a {KEY} https://y\nwitness b {BETA}\ngroup g any a\n"
    policy = verify.Policy(f"{words}group h all g b\nquorum h\n".encode())
    assert [policy.satisfied(names, policy.quorum) for names in ((), ("alpha",), ("alpha", "beta"))] == [
        False,
        False,
        True,
    ]
    assert verify.Policy(f"log {LOG}\nquorum none".encode()).satisfied((), "none")


# -- releases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in of_format("release") if "five" not in name and "seg" not in name])
def test_every_release_of_the_vectors_in_its_place(name: str) -> None:
    data = golden(name)
    body = encoding.parse(golden("release/good-rfm-cuts.json"))["body"]
    step = "rfm-cohorts" if b'"step":"rfm-cohorts"' in data and b'"step":"rfm-cuts"' not in data else "rfm-cuts"
    kind = "lookalike" if "/good-look-" in name or "/bad-lookalike-" in name else None
    kind = kind or next((kind for kind in ("overlap", "classes") if kind in name), "room")
    step = step if kind == "room" else encoding.parse(data)["body"]["step"]
    members = bundle.unpack(golden(f"bundle/good-{kind}.tar"))
    members[bundle.release_name(body["round"], step)] = data
    archive, policy = bundle.pack(members), rooms.room_of(name).policy()
    expected = int("/bad-" in name)
    assert judges.second(archive, policy)[0] == expected


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_threshold_and_cost_are_the_products() -> None:
    for n in range(1, 65):
        for c in range(n):
            assert verify.threshold(n, c) == budget.recovery_threshold(n, c)
    for variance in ("9", "9.000001", "208.333334", "1000.5", "123456789.1"):
        noise = {"variance": variance, "sensitivity_sq": 5}
        assert verify.cost(noise, 2) == budget.charge_for(5, budget.micro(variance), 2)


@pytest.mark.parametrize(
    ("adders", "collusion", "quorum", "variance", "good"),
    [
        (3, 2, 3, "9", True),
        (3, 2, 3, "8.999999", False),
        (3, 0, 3, "9", False),
        (3, 3, 3, "9", False),
        (1, 0, 1, "9", True),
        (1, 1, 1, "9", False),
        (3, 1, 4, "9", False),
        (5, 1, 4, "9", True),
        (5, 1, 3, "9", False),
    ],
)
def test_noise_that_may_be(adders: int, collusion: int, quorum: int, variance: str, good: bool) -> None:
    noise = {"adders": list("abcde"[:adders]), "collusion": collusion, "quorum": quorum}
    noise |= {"variance": variance, "sensitivity_sq": 3}
    charged = verify.cost(noise, max(1, quorum - collusion))
    assert verdict(lambda: verify.check_noise(noise, charged)) == ("taken" if good else "violation")
    assert verdict(lambda: verify.check_noise(noise, charged + 1)) == "violation"


def test_a_refund_gives_everything_back() -> None:
    """The series of the vectors has a round that was forfeited and refunded."""
    good = [path.read_bytes() for path in sorted(VECTORS.glob("ledger-changes/good-[0-9]*"))]
    ledger, before = verify.Ledger(), {}
    for line in good:
        kind = encoding.parse(line)["type"]
        taken_in(ledger, line)
        if kind == "grant@v1":
            before = {at: ledger.spent.get(at, 0) for at in ledger.caps}
        if kind == "refund@v1":
            assert {at: ledger.spent.get(at, 0) for at in ledger.caps} == before
            break
    else:
        raise AssertionError("no refund among the vectors")


def test_the_first_entry_and_no_other_is_a_genesis() -> None:
    room, ledger = builder.Room(), verify.Ledger()
    for entry in (room.dataset(0, "alpha"), room.plan_entry(0), room.forfeit(0)):
        with pytest.raises(verify.Violation, match="is a genesis"):
            taken_in(verify.Ledger(), naive.spelled(entry.body()))
    taken_in(ledger, naive.spelled(room.genesis().body()))
    with pytest.raises(verify.Violation, match="is a genesis"):
        taken_in(ledger, naive.spelled({**room.genesis().body(), "seq": 1}))


def test_how_long_an_entry_may_be() -> None:
    body = builder.Room().commit(0).body()
    pointer = "/" + "a" * 300
    short = naive.spelled({**body, "numbers": [f"{pointer}{number:06d}" for number in range(3000)]})
    long = naive.spelled({**body, "numbers": [f"{pointer}{number:06d}" for number in range(4000)]})
    assert len(short) < 1 << 20 < len(long)
    assert verify.read_entry(short)["type"] == "commit@v1"
    assert verdict(lambda: verify.read_entry(long)) == "violation"


def test_a_list_of_parties_has_64_at_most_and_one_at_least() -> None:
    body = builder.Room().commit(0).body()
    for number, expected in ((0, "violation"), (1, "taken"), (64, "taken"), (65, "violation")):
        line = naive.spelled({**body, "survivors": [f"p{at:02d}" for at in range(number)]})
        assert verdict(lambda line=line: verify.read_entry(line)) == expected
    denied = {"type": "deny@v1", "seq": 0, "time": 1, "plan": "0" * 64, "reason": "not-held", "parties": []}
    assert verify.read_entry(naive.spelled(denied)) == denied


def opened(parties: tuple[str, ...], **changes: Any) -> str:
    """What becomes of a first entry with these parties; the product would not even make some."""
    body = builder.Room().genesis().body()
    (row, *_), ever = body["caps"]["record"].values(), 150_000_000
    caps = body["caps"] | {"record": dict.fromkeys(parties, row), "lifetime_record": dict.fromkeys(parties, ever)}
    public = {party: {"key": keys.public_text(builder.key(party))} for party in parties}
    quorum = len(parties) // 2 + 1
    whole = {**body, "type": "genesis@v1", "coordinator": {"key": body["coordinator"]["key"]}, "parties": public}
    line = naive.spelled({**whole, "caps": caps, "cosign_quorum": quorum, **changes})
    return verdict(lambda: taken_in(verify.Ledger(), line))


def test_a_room_has_64_parties_at_most() -> None:
    names = tuple(f"p{at:02d}" for at in range(65))
    assert opened(names[:64]) == "taken"
    assert opened(names) == "violation"


def test_a_party_has_neither_the_name_of_a_person_nor_that_of_the_ledger() -> None:
    assert opened(("alpha", "beta", "gamma")) == "taken"
    assert opened(("alpha", "beta", "person")) == "violation"
    assert opened(("alpha", "beta", "gamma"), origin="gamma") == "violation"


def test_who_was_in_force_is_asked_of_no_size_that_the_ledger_never_had() -> None:
    room, ledger = builder.Room(), verify.Ledger()
    taken_in(ledger, naive.spelled(room.genesis().body()))
    assert set(ledger.members_at(1).parties) == set(builder.PARTIES)
    with pytest.raises(verify.Violation, match="never had"):
        ledger.members_at(2)


def test_a_plan_is_of_the_room_and_of_the_parties_that_approved_it() -> None:
    room, ledger = builder.Room(), verify.Ledger()
    taken_in(ledger, naive.spelled(room.genesis().body()))
    for seq, party in enumerate(builder.PARTIES, 1):
        taken_in(ledger, naive.spelled(room.dataset(seq, party).body()))
    entry = room.plan_entry(len(builder.PARTIES) + 1)
    taken_in(ledger, naive.spelled(entry.body()))
    data = room.plan.canonical
    assert verdict(lambda: verify.check_plan(data, room.plan.digest, ledger)) == "taken"
    ledger.room = "another-room"
    assert verdict(lambda: verify.check_plan(data, room.plan.digest, ledger)) == "violation"
