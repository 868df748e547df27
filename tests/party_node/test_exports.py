"""What a party hands to an auditor from its own copy."""

from __future__ import annotations

from typing import Any

import pytest

from party_node import exports
from protocols import bundle
from protocols.errors import UsageError


def test_a_party_hands_out_the_same_history_as_the_coordinator_and_it_audits_clean(room: Any, tmp_path: Any) -> None:
    room.run()
    for party, node in room.nodes.items():
        out = tmp_path / party
        findings = exports.write(node.config, out)
        assert findings.violations == ()
        packed = (out / "room.tar").read_bytes()
        members = bundle.unpack(packed)
        own = [name for name in members if name.startswith(bundle.RELEASES) and name.endswith(".json")]
        assert len(own) == findings.releases == len(room.plan.mechanisms())
        assert members[bundle.ENTRIES] == bundle.join_entries(room.book.entries())
        assert (out / "policy.txt").read_text().startswith("log ")


def test_a_party_without_a_ledger_says_so(room: Any, tmp_path: Any) -> None:
    config = room.nodes["alpha"].config
    empty = config.path("state").with_name("empty")
    config.settings.files.__dict__["state"] = str(empty)
    with pytest.raises(UsageError, match="has no copy of the ledger yet"):
        exports.write(config, tmp_path)
