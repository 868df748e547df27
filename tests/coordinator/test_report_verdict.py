"""What the report says of an audit as a whole."""

from __future__ import annotations

from tests.coordinator.test_report import NAMES, make_findings, make_page


def test_a_check_that_nobody_asked_for_leaves_nothing_undecided() -> None:
    html = make_page(findings=make_findings(state="not asked"))  # such as one against an earlier audit
    assert f"The ledger is clean: all {len(NAMES) - 1} checks passed" in html
    assert '<section class="verdict clean"' in html
