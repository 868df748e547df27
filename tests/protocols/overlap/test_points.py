"""Keys become points of the curve, masks hide and commute, and what is no point of the curve is refused."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import IntegrityError
from protocols.overlap.points import SMALL_ORDER, Plain, on_curve
from tests.protocols.overlap import curve
from tests.protocols.overlap.curve import P, as_bytes, number

MODEST = settings(deadline=None, derandomize=True, max_examples=50)
PLAIN = Plain()
SCALARS = st.binary(min_size=32, max_size=32)
KEYS = st.binary(max_size=80)
ANN = PLAIN.points(b"a test", [b"ann@example.com"])
MANY = [b"%d" % i for i in range(1000)]
G = as_bytes(9)


def split(points: bytes) -> list[bytes]:
    return [points[at : at + 32] for at in range(0, len(points), 32)]


# -- known answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scalar", "u", "masked"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_a_mask_is_x25519_of_rfc_7748_section_5_2(scalar: str, u: str, masked: str) -> None:
    assert PLAIN.mask(bytes.fromhex(scalar), bytes.fromhex(u)).hex() == masked


def test_a_thousand_masks_of_masks_are_those_of_rfc_7748_section_5_2() -> None:
    scalar = u = G
    for times in range(1, 1001):
        scalar, u = PLAIN.mask(scalar, u), scalar
        if times == 1:
            assert scalar.hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert scalar.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_bases_and_masks_of_them_are_those_of_rfc_7748_section_6_1() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    of_alice, of_bob = split(PLAIN.base(alice + bob))
    assert of_alice.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert of_bob.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    both = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert PLAIN.mask(alice, of_bob).hex() == PLAIN.mask(bob, of_alice).hex() == both


@MODEST
@given(domain=st.binary(max_size=100), key=KEYS)
def test_a_point_is_the_first_hash_on_the_curve_as_the_module_writes_it(domain: bytes, key: bytes) -> None:
    for counter in range(300):
        head = len(domain).to_bytes(4, "big") + domain + counter.to_bytes(4, "big")
        u = number(hashlib.sha256(head + len(key).to_bytes(4, "big") + key).digest()) % 2**255
        if pow(u * (u * u + curve.A * u + 1), (P - 1) // 2, P) == 1:  # Euler's criterion
            break
    assert PLAIN.points(domain, [key]) == as_bytes(u)


def test_a_point_of_a_key_never_changes() -> None:
    assert ANN.hex() == "9fab7869d6e4b060c606d67acf407d446a366c5ed6a6c7de2cbf86db892bf34a"


# -- every point is on the curve ---------------------------------------------------------------------------------------


@MODEST
@given(keys=st.lists(KEYS, max_size=20), scalar=SCALARS)
def test_every_point_of_a_key_and_every_masked_one_is_on_the_curve(keys: list[bytes], scalar: bytes) -> None:
    points = PLAIN.points(b"a test", keys)
    for listed in (points, PLAIN.mask(scalar, points), PLAIN.base(points)):
        assert len(listed) == 32 * len(keys)
        PLAIN.check(listed)
        for point in split(listed):
            curve.lift(number(point))


def test_half_of_all_raw_hashes_are_on_the_twist_and_no_mask_hides_it() -> None:
    """The reason why keys are hashed until they hit the curve: raw, one bit of each person survives every mask."""
    raw = [as_bytes(number(hashlib.sha256(key).digest()) % 2**255) for key in MANY]
    sides = [on_curve(number(point)) for point in raw]
    assert 400 < sum(sides) < 600
    twice = PLAIN.mask(os.urandom(32), PLAIN.mask(os.urandom(32), b"".join(raw)))
    assert [on_curve(number(point)) for point in split(twice)] == sides
    assert all(on_curve(number(point)) for point in split(PLAIN.points(b"a test", MANY)))


@pytest.mark.parametrize("u", [0, 2, P - 1])
def test_what_is_not_on_the_curve_alone_is_not_on_it(u: int) -> None:
    assert not on_curve(u)


def test_points_of_many_keys_look_uniform() -> None:
    bits = np.unpackbits(np.frombuffer(PLAIN.points(b"a test", MANY), np.uint8).reshape(-1, 32), axis=1)
    ones = np.delete(bits.mean(axis=0), 8 * 31)  # the top bit of little-endian numbers
    assert ones.min() > 0.4
    assert ones.max() < 0.6
    assert not bits[:, 8 * 31].any()


# -- which key, which domain -------------------------------------------------------------------------------------------


@MODEST
@given(one=st.tuples(KEYS, KEYS), other=st.tuples(KEYS, KEYS))
def test_another_domain_or_key_is_another_point(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    first, second = (PLAIN.points(domain, [key]) for domain, key in (one, other))
    assert (first == second) == (one == other)


@pytest.mark.parametrize(("one", "other"), [((b"a", b"bc"), (b"ab", b"c")), ((b"", b"ab"), (b"ab", b""))])
def test_where_the_domain_ends_and_the_key_begins_matters(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    assert PLAIN.points(one[0], [one[1]]) != PLAIN.points(other[0], [other[1]])


def test_points_are_in_the_order_of_the_keys_and_equal_keys_are_equal_points() -> None:
    keys = [b"ann", b"bob", b"ann", b""]
    assert split(PLAIN.points(b"a test", keys)) == [PLAIN.points(b"a test", [key]) for key in keys]
    assert PLAIN.points(b"a test", []) == b""


# -- masks -------------------------------------------------------------------------------------------------------------


@MODEST
@given(a=SCALARS, b=SCALARS, r=SCALARS, key=KEYS)
def test_masks_commute_over_people_and_over_dummies(a: bytes, b: bytes, r: bytes, key: bytes) -> None:
    point = PLAIN.points(b"a test", [key])
    assert PLAIN.mask(b, PLAIN.mask(a, point)) == PLAIN.mask(a, PLAIN.mask(b, point))
    # A dummy: its owner sends [a][r]G, of which b makes [b][a][r]G, and appends [a][r]([b]G) to the other's list.
    assert PLAIN.mask(b, PLAIN.mask(a, PLAIN.base(r))) == PLAIN.mask(a, PLAIN.mask(r, PLAIN.base(b)))


@MODEST
@given(scalar=SCALARS)
def test_a_base_is_the_masked_generator(scalar: bytes) -> None:
    assert PLAIN.base(scalar) == PLAIN.mask(scalar, G)


def test_masks_by_plain_arithmetic_are_the_same() -> None:
    scalar = os.urandom(32)
    clamped = number(scalar) & ~7 & (2**254 - 1) | 2**254
    found = curve.times(clamped, curve.lift(number(ANN)))
    assert found is not None
    assert PLAIN.mask(scalar, ANN) == as_bytes(found[0])


def test_what_comes_out_of_a_mask_is_in_the_group_of_prime_order() -> None:
    raw = [curve.lift(number(point)) for point in split(PLAIN.points(b"a test", MANY[:20]))]
    assert any(curve.times(curve.Q, point) is not None for point in raw)  # points of keys are not, 7 of 8
    for key in range(8):
        masked = PLAIN.mask(os.urandom(32), PLAIN.points(b"a test", [b"%d" % key]))
        assert curve.times(curve.Q, curve.lift(number(masked))) is None


def test_other_spellings_of_a_point_are_one_value_after_the_mask_and_only_there() -> None:
    """So duplicates are looked for by whoever masks, in what comes out; `check` refuses the spelling of the top bit."""
    u, scalar = number(ANN), os.urandom(32)
    shifted = [curve.add(curve.lift(u), small) for small in curve.of_small_order()]
    spelled = [as_bytes(point[0]) for point in shifted if point is not None]
    assert len(set(spelled)) == 8
    assert as_bytes(pow(u, -1, P)) in spelled  # u → 1/u is P → P + (0, 0)
    PLAIN.check(b"".join(spelled))  # each is a point like others
    top = as_bytes(u + 2**255)
    with pytest.raises(IntegrityError, match="not canonical"):
        PLAIN.check(top)
    assert len(set(split(PLAIN.mask(scalar, b"".join([*spelled, top]))))) == 1


# -- what is refused ---------------------------------------------------------------------------------------------------

SMALL = [point[0] for point in curve.of_small_order() if point is not None]


def test_the_list_of_small_orders_is_what_the_curve_has() -> None:
    assert set(SMALL) == SMALL_ORDER
    assert len(SMALL_ORDER) == 4


@pytest.mark.parametrize("u", sorted(set(SMALL)))
def test_a_point_of_small_order_is_refused(u: int) -> None:
    with pytest.raises(IntegrityError, match="point 2 of a list is of small order"):
        PLAIN.check(ANN + as_bytes(u))


@pytest.mark.parametrize("u", sorted({*SMALL, P - 1, P, P + 1, *(u + 2**255 for u in SMALL)}))
def test_a_mask_that_would_be_zero_is_refused(u: int) -> None:
    with pytest.raises(IntegrityError, match="point 3 of a list is of small order"):
        PLAIN.mask(os.urandom(32), ANN + ANN + as_bytes(u) + ANN)


@pytest.mark.parametrize(
    "u",
    [P, P + 1, *range(P + 2, 2**255), 2**255, 2**255 + 9, 2**256 - 1, 2 * P - 1, 2 * P, 2 * P + 1, number(ANN) + 2**255]
    + [u + P for u in SMALL if u + P < 2**256],
)  # fmt: skip
def test_what_is_not_canonical_is_refused(u: int) -> None:
    with pytest.raises(IntegrityError, match="point 1 of a list is not canonical"):
        PLAIN.check(as_bytes(u))


@pytest.mark.parametrize("u", [2, P - 1, P - 9])
def test_a_point_of_the_twist_is_refused(u: int) -> None:
    with pytest.raises(ValueError, match="not on the curve"):
        curve.lift(u)
    with pytest.raises(IntegrityError, match="point 2 of a list is not on the curve"):
        PLAIN.check(ANN + as_bytes(u))


@MODEST
@given(u=st.integers(0, 2**256 - 1))
def test_a_number_is_taken_if_and_only_if_it_is_a_point_of_the_curve(u: int) -> None:
    try:
        curve.lift(u)
        right = u < P and u not in SMALL
    except ValueError:
        right = False
    if right:
        PLAIN.check(as_bytes(u))
    else:
        with pytest.raises(IntegrityError):
            PLAIN.check(as_bytes(u))


@pytest.mark.parametrize("size", [1, 31, 33, 63])
def test_a_list_that_ends_within_a_point_is_refused(size: int) -> None:
    short = (ANN + ANN)[:size]
    for refused in (PLAIN.check, PLAIN.base, lambda points: PLAIN.mask(bytes(32), points)):
        with pytest.raises(IntegrityError, match=f"{size} bytes, which is not a multiple of 32"):
            refused(short)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_scalar_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match=f"a scalar has {size} bytes, not 32"):
        PLAIN.mask(bytes(size), ANN)


def test_no_points_are_a_list_too() -> None:
    PLAIN.check(b"")
    assert PLAIN.mask(bytes(32), b"") == PLAIN.base(b"") == b""


def test_a_view_of_an_array_is_taken_as_its_bytes() -> None:
    points = PLAIN.points(b"a test", MANY[:10])
    array = np.frombuffer(points, np.uint8).reshape(-1, 32)
    scalar = os.urandom(32)
    PLAIN.check(array)  # type: ignore[arg-type]
    for view, listed in ((array, points), (array[::2], b"".join(split(points)[::2])), (memoryview(points), points)):
        assert PLAIN.mask(scalar, view) == PLAIN.mask(scalar, listed)  # type: ignore[arg-type]


def test_no_error_shows_a_point() -> None:
    with pytest.raises(IntegrityError) as refused:
        PLAIN.check(as_bytes(2**255 + 12345))
    assert "12345" not in str(refused.value)
