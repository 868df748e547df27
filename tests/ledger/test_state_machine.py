"""The ledger and its witnesses against a naive model, by random operations: the quick form of `make long-ledger`."""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Ledgers

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "60"))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals by a party's own budget are logged for its operator; here there are thousands."""
    caplog.set_level(logging.ERROR, "sumroom.party")


def test_coordinator_and_witnesses_do_what_the_naive_model_says() -> None:
    quick = settings(
        max_examples=EXAMPLES,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    Ledgers.seen.clear()
    run_state_machine_as_test(Ledgers, settings=quick)
    assert {"checkpoint", "cosign", "cosign: refused", "cosign: behind"} <= set(Ledgers.seen)
