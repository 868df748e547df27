"""TEMPORARY"""

from __future__ import annotations

import hashlib
from typing import Any

import gmpy2
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey as K
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey as U

from ..errors import IntegrityError

P = 2**255 - 19
M = (1 << 255) - 1
Engine = Any
BASE = (9).to_bytes(32, "little")


def _on(u: int) -> bool:
    return gmpy2.jacobi(u * (u * (u + 486662) + 1) % P, P) == 1


def mask(scalar, points):
    k = K.from_private_bytes(scalar)
    try:
        return b"".join(k.exchange(U.from_public_bytes(points[i : i + 32])) for i in range(0, len(points), 32))
    except ValueError:
        raise IntegrityError("small") from None


def masked_base(scalar):
    return mask(scalar, BASE)


def powers(point, scalars):
    return b"".join(mask(scalars[i : i + 32], point) for i in range(0, len(scalars), 32))


def check(points):
    for i in range(0, len(points), 32):
        u = int.from_bytes(points[i : i + 32], "little")
        if u >= P or not _on(u):
            raise IntegrityError("no point")


class Plain:
    def points(self, domain, keys):
        out = []
        for x in keys:
            c = 0
            while True:
                h = int.from_bytes(hashlib.sha256(domain + bytes((c,)) + x).digest(), "little") & M
                if h < P and _on(h):
                    break
                c += 1
            out.append(h.to_bytes(32, "little"))
        return b"".join(out)

    mask = staticmethod(mask)
    check = staticmethod(check)

    def base(self, scalars):
        return powers(BASE, scalars)
