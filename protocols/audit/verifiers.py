"""Which programs may lie in a bundle as `verify.py`: those that this version and earlier ones shipped, and no other.

Why a list and not only this version's own: a bundle is kept for years, and an honest old one must not become a
violation because the program has a new version. Why nothing else: whoever runs a program from a bundle believes what it
prints, so a changed one is the best forgery there is. The verifier of a *later* version is unknown here and so is a
violation too, as an entry of a later version is: an auditor who hears that updates first.
"""

from __future__ import annotations

import hashlib

from .. import bundle
from ..bundle import Archive
from ..errors import IntegrityError

# SHA-256 of every `verify.py` that was ever shipped in a bundle, and the version that did. Only ever added to.
SHIPPED: dict[str, str] = {}


def check_verifier(archive: Archive) -> str:
    """What the bundle's verifier is, in words. Raises IntegrityError for one that no version shipped."""
    if bundle.VERIFIER not in archive:
        return f"no {bundle.VERIFIER} in it"
    program = archive[bundle.VERIFIER]
    if program == bundle.verifier():
        return f"its {bundle.VERIFIER} is this version's"
    version = SHIPPED.get(hashlib.sha256(program).hexdigest())
    if version is None:
        raise IntegrityError("not a verifier that this version or an earlier one shipped: do not run it")
    return f"its {bundle.VERIFIER} is that of version {version}"
