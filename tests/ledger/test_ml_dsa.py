"""What signs the golden files is ML-DSA-44: the product's library agrees on keys and signatures."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.ledger.ml_dsa import Deterministic


@pytest.mark.parametrize("number", range(5))
def test_keys_and_signatures_are_those_of_fips_204(number: int) -> None:
    seed, message = bytes([number]) * 32, b"m" * (100 * number)
    own, library = Deterministic(seed), MLDSA44PrivateKey.from_seed_bytes(seed)
    assert own.public_bytes == library.public_key().public_bytes_raw()
    signature = own.sign(message)
    assert signature == own.sign(message)
    assert len(signature) == 2420
    library.public_key().verify(signature, message)
    with pytest.raises(InvalidSignature):
        library.public_key().verify(signature, message + b"x")
    own.public_key().verify(library.sign(message), message)
