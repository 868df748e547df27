"""What the auditor reads quickly is exactly what is read in full; what is refused in full is refused quickly too."""

from __future__ import annotations

import random

import pytest

from protocols.audit.decoding import Decoder
from protocols.errors import IntegrityError
from protocols.ledger.entries import decode, encode

CHANGES = 1_500


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


def test_an_entry_with_anything_changed_is_read_or_refused_alike(trained, written) -> None:
    draw = random.Random(20_170_101)
    for _ in range(CHANGES):
        raw = bytearray(draw.choice(written))
        for _ in range(draw.choice((1, 1, 2))):
            raw[draw.randrange(len(raw))] = draw.choice(b'0123456789abcdef"\\,:{}[] -.eZ')
        quick, full = both(trained, bytes(raw))
        assert quick == full, bytes(raw)


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
        (b'"type":"reserve@v1"', b'"type":"reserve@v2"'),
    ],
)
def test_a_reserve_that_is_no_reserve_is_refused_alike(trained, written, old, new) -> None:
    raw = written[8].replace(old, new)
    assert raw != written[8]
    quick, full = both(trained, raw)
    assert isinstance(quick, str)
    assert quick == full


def test_two_steps_with_one_nonce_are_refused(trained, written, built) -> None:
    one, other = (built.hex16(f"two/{step}").encode() for step in ("rfm-cuts", "rfm-cohorts"))
    with pytest.raises(IntegrityError, match="one nonce"):
        trained.decode(written[8].replace(other, one))
