"""A rule that names somebody or something that there is not stops the node: it must not fall silent."""

from __future__ import annotations

from typing import Any

import pytest

from party_node.policy import consent_of
from protocols import messages
from protocols.errors import UsageError


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('[[deny]]\nquestions = ["segmnets"]', "questions: there is no 'segmnets'"),
        ('[[ask]]\nrecipients = ["gamna"]', "recipients: there is no 'gamna'"),
        ('[[allow]]\nper_round = "1"\nper_period = "1"\nrecipients = ["gamna"]', "recipients: there is no 'gamna'"),
    ],
)
def test_a_rule_that_names_what_there_is_not_stops_the_node_instead_of_saying_nothing(
    room: Any, rule: str, said: str
) -> None:
    (room.base / "alpha" / "consent.toml").write_text(rule + "\n")
    with pytest.raises(UsageError, match=said) as caught:
        consent_of(room.nodes["alpha"].config)
    assert "there is " in str(caught.value.hint)
    reply = room.say("alpha", messages.Propose(plan=room.plan.body()))
    assert isinstance(reply, messages.Refusal)
    assert "not set up for that" in reply.reason
