"""What is read quickly is exactly what is read in full; what is refused in full is refused quickly too.

And the bytes that a hold signs, cut from a reserve's own, are exactly those that are made from the reserve.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.encoding import canonical
from protocols.errors import IntegrityError
from protocols.ledger.decoding import Decoder
from protocols.ledger.entries import Reserve, build, decode, encode, hold_bytes, signed_body
from tests.ledger import builder

CHANGES = 3_000
# Names that a party, a block or a step may have, most of them those of members of an entry.
NAMES = st.sampled_from(
    ["blocks", "charge", "datasets", "digest", "expires", "holds", "nonce", "plan", "room", "round", "seq", "step",
     "steps", "time", "type", "a", "zz", "q-1_"]
)  # fmt: skip
COUNTS = st.sampled_from([0, 1, 9, 10, 2**53 - 1]) | st.integers(0, 2**53 - 1)


@pytest.fixture(scope="module")
def written(built) -> list[bytes]:
    """Two rounds, so that every reserve and commit has another that is like it."""
    room = built.Room()
    found = [*room.opening(), room.reserve(5), room.commit(6), room.commit(7, step="rfm-cohorts")]
    found += [room.reserve(8, "two"), room.commit(9, "two"), room.forfeit(10, "two")]
    return [encode(entry) for entry in found]


@pytest.fixture
def trained(written) -> Decoder:
    decoder = Decoder()
    for raw in written:
        decoder.decode(raw)
    return decoder


def both(decoder: Decoder, raw: bytes) -> tuple[object, object]:
    """What each makes of it; the words of a refusal count too."""
    found = []
    for read in (decoder.decode, decode):
        try:
            found.append(read(raw))
        except IntegrityError as exc:
            found.append(exc.message)
    return found[0], found[1]


def test_every_entry_is_the_same_read_once_or_again(trained, written) -> None:
    for raw in written:
        quick, full = both(trained, raw)
        assert quick == full
        assert type(quick) is type(full)
        assert quick.body() == full.body()


def changed(raw: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Another byte or two; or a stretch left out, said twice, or taken from another entry."""
    at, until = sorted(draw.sample(range(len(raw) + 1), 2))
    match draw.randrange(6):
        case 0:
            return raw[:at] + raw[min(until, at + 40) :]
        case 1:
            return raw[:until] + raw[at:]
        case 2:
            other = draw.choice(others)
            cut = draw.randrange(len(other))
            return raw[:at] + other[cut : cut + 40] + raw[at:]
    made = bytearray(raw)
    for _ in range(draw.choice((1, 1, 2))):
        made[draw.randrange(len(made))] = draw.choice(b'0123456789abcdef"\\,:{}[] -.eZ')
    return bytes(made)


def test_an_entry_with_anything_changed_is_read_or_refused_alike(trained, written) -> None:
    draw = random.Random(20_170_101)
    for _ in range(CHANGES):
        raw = changed(draw.choice(written), written, draw)
        quick, full = both(trained, raw)
        assert quick == full, raw
        if isinstance(quick, Reserve):
            assert hold_bytes(raw, "a-room") == canonical(signed_body(quick, "a-room")), raw


@st.composite
def reserves(draw: st.DrawFn) -> Reserve:
    """Well-formed ones: no rule of the ledger need allow them."""
    parties, blocks = (draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)) for _ in range(2))
    mechanisms = builder.Room().steps("one")
    steps = [
        {
            **draw(st.sampled_from(mechanisms)),
            "step": name,
            "nonce": draw(st.sampled_from("0af")) * 31 + f"{number:x}",
            "charge": draw(COUNTS) or 1,
        }
        for number, name in enumerate(draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)))
    ]
    made = build(
        {
            "type": "reserve@v1",
            "seq": draw(COUNTS),
            "time": draw(COUNTS),
            "round": builder.hex16(draw(st.sampled_from("abc"))),
            "plan": builder.digest(b"plan"),
            "steps": steps,
            "blocks": blocks,
            "charge": {party: {block: draw(COUNTS) for block in blocks} for party in parties},
            "datasets": {party: builder.hex16(party) for party in draw(st.sampled_from([parties, parties[:1]]))},
            "expires": draw(COUNTS),
            "holds": {party: draw(st.sampled_from(["AAAA", "AA==", "a+/="])) for party in parties},
        }
    )
    assert isinstance(made, Reserve)
    return made


@settings(max_examples=300, deadline=None)
@given(made=reserves(), room=NAMES)
def test_what_a_hold_signs_is_cut_from_the_reserves_bytes_as_it_is_made_from_the_reserve(
    made: Reserve, room: str
) -> None:
    assert hold_bytes(encode(made), room) == canonical(signed_body(made, room))


@settings(max_examples=200, deadline=None)
@given(found=st.lists(reserves(), min_size=1, max_size=4))
def test_reserves_whose_names_are_those_of_its_members_are_read_alike(found: list[Reserve]) -> None:
    decoder = Decoder()
    for made in [*found, *found]:
        assert decoder.decode(encode(made)) == made


def test_of_anything_but_a_reserve_no_hold_signs(written) -> None:
    reserve = written[5]
    cut = [reserve + b"}", reserve[:-1], reserve[reserve.index(b"plan") :], *written[:5], written[6]]
    for raw in cut:
        with pytest.raises(IntegrityError, match="not the canonical form of a reserve"):
            hold_bytes(raw, "a-room")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seq":8', b'"seq":9007199254740992'),
        (b'"seq":8', b'"seq":08'),
        (b'"seq":8', b'"seq":8.0'),
        (b'"seq":8', b'"seq":"8"'),
        (b'"time":1700000008', b'"time":-1'),
        (b'"holds":{"alpha":', b'"holds":{"alpha":"AAAA","alpha":'),
        (b'"holds":{"alpha":', b'"holds":{"beta":"AAAA","alpha":'),
        (b'"holds":{"alpha":"', b'"holds":{"alpha":"='),
        (b'"nonce":"', b'"nonce":"A'),
        (b'"nonce":"', b'"nonce":"","nonce":"'),
        (b'"type":"reserve@v1"', b'"type":"reserve@v2"'),
    ],
)
def test_a_reserve_that_is_no_reserve_is_refused_alike(trained, written, old, new) -> None:
    raw = written[8].replace(old, new)
    assert raw != written[8]
    quick, full = both(trained, raw)
    assert isinstance(quick, str)
    assert quick == full


@pytest.mark.parametrize("digit", [b"A", b"g", b'"', b"\xc3"])
def test_a_nonce_with_another_digit_is_refused(trained, written, digit) -> None:
    at = written[8].index(b'"nonce":"') + 9
    raw = written[8][:at] + digit + written[8][at + 1 :]
    quick, full = both(trained, raw)
    assert isinstance(quick, str)
    assert quick == full


def test_two_steps_with_one_nonce_are_refused(trained, written, built) -> None:
    one, other = (built.hex16(f"two/{step}").encode() for step in ("rfm-cuts", "rfm-cohorts"))
    with pytest.raises(IntegrityError, match="one nonce"):
        trained.decode(written[8].replace(other, one))
