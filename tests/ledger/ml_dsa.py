"""ML-DSA-44 by FIPS 204 in its deterministic variant, for keys whose signatures are the same in every run.

The product signs by `cryptography`, whose signatures are hedged: other bytes each time. Golden files need the same
bytes, so they are signed here, algorithm by algorithm, and read by the product. Slow, and no place for a secret key.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

Q, N, D = 8380417, 256, 13
K = L = 4
ETA, TAU, BETA, OMEGA = 2, 39, 78, 80
GAMMA1, GAMMA2 = 1 << 17, (Q - 1) // 88


def _brv(number: int) -> int:
    return int(f"{number:08b}"[::-1], 2)


ZETAS = [pow(1753, _brv(k), Q) for k in range(N)]


def h(data: bytes, length: int) -> bytes:
    return hashlib.shake_256(data).digest(length)


def ntt(w: np.ndarray) -> np.ndarray:
    """Algorithm 41, over the last axis."""
    w, k = w % Q, 0
    for length in (128, 64, 32, 16, 8, 4, 2, 1):
        for start in range(0, N, 2 * length):
            k += 1
            t = ZETAS[k] * w[..., start + length : start + 2 * length] % Q
            u = w[..., start : start + length].copy()
            w[..., start + length : start + 2 * length] = (u - t) % Q
            w[..., start : start + length] = (u + t) % Q
    return w


def inverse_ntt(w: np.ndarray) -> np.ndarray:
    """Algorithm 42, over the last axis."""
    w, k = w % Q, N
    for length in (1, 2, 4, 8, 16, 32, 64, 128):
        for start in range(0, N, 2 * length):
            k -= 1
            t = w[..., start : start + length].copy()
            u = w[..., start + length : start + 2 * length].copy()
            w[..., start : start + length] = (t + u) % Q
            w[..., start + length : start + 2 * length] = -ZETAS[k] * (t - u) % Q
    return w * 8347681 % Q


def centred(w: np.ndarray, modulus: int = Q) -> np.ndarray:
    """mod±: in (−modulus/2, modulus/2]."""
    w = w % modulus
    return np.where(w > modulus // 2, w - modulus, w)


def decompose(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 36: high and low parts."""
    r = r % Q
    low = centred(r, 2 * GAMMA2)
    top = r - low == Q - 1
    return np.where(top, 0, (r - low) // (2 * GAMMA2)), np.where(top, low - 1, low)


def bits(values: np.ndarray, width: int) -> bytes:
    """Algorithm 16: little-endian, each value in `width` bits."""
    spread = (values.reshape(-1, 1) >> np.arange(width)) & 1
    return np.packbits(spread.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def _expand_a(rho: bytes) -> np.ndarray:
    """Algorithms 32 and 30: the matrix, in the domain of the NTT."""
    a = np.zeros((K, L, N), dtype=np.int64)
    for r in range(K):
        for s in range(L):
            raw = np.frombuffer(hashlib.shake_128(rho + bytes([s, r])).digest(3 * 400), dtype=np.uint8)
            parts = raw.reshape(-1, 3).astype(np.int64)
            found = parts[:, 0] + (parts[:, 1] << 8) + ((parts[:, 2] & 127) << 16)
            a[r, s] = found[found < Q][:N]
    return a


def _expand_s(rho: bytes) -> np.ndarray:
    """Algorithms 33 and 31: K + L polynomials with coefficients of at most ETA."""
    s = np.zeros((K + L, N), dtype=np.int64)
    for r in range(K + L):
        raw = np.frombuffer(h(rho + r.to_bytes(2, "little"), 400), dtype=np.uint8)
        halves = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1).astype(np.int64)
        s[r] = 2 - halves[halves < 15][:N] % 5
    return s


def _expand_mask(rho: bytes, mu: int) -> np.ndarray:
    """Algorithm 34."""
    y = np.zeros((L, N), dtype=np.int64)
    for r in range(L):
        raw = np.frombuffer(h(rho + (mu + r).to_bytes(2, "little"), 32 * 18), dtype=np.uint8)
        spread = np.unpackbits(raw, bitorder="little").reshape(N, 18).astype(np.int64)
        y[r] = GAMMA1 - spread @ (1 << np.arange(18))
    return y


def _in_ball(seed: bytes) -> np.ndarray:
    """Algorithm 29: TAU coefficients of ±1."""
    raw = h(seed, 8 + 1024)
    signs, c, at = int.from_bytes(raw[:8], "little"), np.zeros(N, dtype=np.int64), 8
    for i in range(N - TAU, N):
        while raw[at] > i:
            at += 1
        j = raw[at]
        at += 1
        c[i] = c[j]
        c[j] = -1 if signs >> (i + TAU - N) & 1 else 1
    return c


def _hint(marked: np.ndarray) -> bytes:
    """Algorithm 20."""
    packed, index = bytearray(OMEGA + K), 0
    for i in range(K):
        for j in np.flatnonzero(marked[i]):
            packed[index] = int(j)
            index += 1
        packed[OMEGA + i] = index
    return bytes(packed)


class Deterministic:
    """A private key from its seed of 32 bytes: `public_key` and `sign` as those of `MLDSA44PrivateKey`."""

    def __init__(self, seed: bytes) -> None:
        # Algorithm 6
        expanded = h(seed + bytes([K, L]), 128)
        self._rho, self._key = expanded[:32], expanded[96:]
        s = _expand_s(expanded[32:96])
        self._s1, self._s2 = ntt(s[:L]), ntt(s[L:])
        t = (inverse_ntt(self._times_a(self._s1)) + s[L:]) % Q
        t0 = centred(t, 1 << D)
        self._t0 = ntt(t0)
        self.public_bytes = self._rho + bits((t - t0) >> D, 10)
        self._tr = h(self.public_bytes, 64)

    @cached_property
    def _a(self) -> np.ndarray:
        return _expand_a(self._rho)

    def _times_a(self, v: np.ndarray) -> np.ndarray:
        return (self._a * v[None, :, :] % Q).sum(axis=1) % Q

    def public_key(self) -> MLDSA44PublicKey:
        return MLDSA44PublicKey.from_public_bytes(self.public_bytes)

    def sign(self, message: bytes) -> bytes:
        """Algorithms 2 and 7 with an empty context and 32 zero bytes for randomness."""
        mu = h(self._tr + b"\0\0" + message, 64)
        seed, kappa = h(self._key + bytes(32) + mu, 64), 0
        while True:
            y = _expand_mask(seed, kappa)
            kappa += L
            w = inverse_ntt(self._times_a(ntt(y)))
            challenge = h(mu + bits(decompose(w)[0], 6), 32)
            c = ntt(_in_ball(challenge))
            z = centred(y + inverse_ntt(c * self._s1))
            rest = (w - inverse_ntt(c * self._s2)) % Q
            if np.abs(z).max() >= GAMMA1 - BETA or np.abs(decompose(rest)[1]).max() >= GAMMA2 - BETA:
                continue
            ct0 = centred(inverse_ntt(c * self._t0))
            marked = decompose(rest)[0] != decompose(rest + ct0)[0]
            if np.abs(ct0).max() < GAMMA2 and marked.sum() <= OMEGA:
                return challenge + bits(GAMMA1 - z, 18) + _hint(marked)
