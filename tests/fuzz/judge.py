"""One document, one reader: it ends in words, or in a value that has these very bytes."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from protocols.errors import SumroomError

from .mutations import near
from .targets import Target


@st.composite
def documents(draw: st.DrawFn, target: Target) -> bytes:
    """Golden ones with a few things changed; now and then bytes that are nothing at all."""
    if draw(st.integers(0, 19)) == 19:
        return draw(st.binary(max_size=600))
    return near(draw, target.seeds())


def judge(target: Target, data: bytes) -> bool:
    """Whether the reader took the bytes. Raises what is not an error in words, and AssertionError for other bytes."""
    try:
        written = target.read(data)
    except SumroomError:
        return False
    assert written is None or written == data, "read, and written otherwise"
    return True


def run(target: Target, examples: int, *, seeded: bool = True) -> tuple[int, int]:
    """So many documents: (how many were read, how many taken)."""
    counted = [0, 0]

    @settings(
        max_examples=examples,
        derandomize=seeded,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(documents(target))
    def attempt(data: bytes) -> None:
        taken = judge(target, data)
        counted[0] += 1
        counted[1] += taken

    attempt()
    return counted[0], counted[1]
