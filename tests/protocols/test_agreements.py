"""All parties agree to one roster of mask keys for one occasion; an agreement is for that roster and that occasion."""

from __future__ import annotations

from typing import Any

import pytest

from protocols import masking
from protocols.errors import IntegrityError
from tests.ledger import builder

OCCASION = masking.Occasion(room="demo-room", plan="a" * 64, round="b" * 32, step="s", nonce="c" * 32, state="d" * 64,
                            attempt=1)  # fmt: skip
IDENTITIES = {party: builder.key(party).public_key() for party in builder.PARTIES}


def roster(label: str = "") -> dict[str, masking.MaskKey]:
    roots = {party: (label + party).encode().ljust(32) for party in builder.PARTIES}
    return {p: masking.Secrets(roots[p], OCCASION, False).offer(builder.key(p), p) for p in builder.PARTIES}


def agreements(shown: dict[str, masking.MaskKey], occasion: masking.Occasion = OCCASION) -> dict[str, str]:
    return {party: masking.agree(builder.key(party), party, occasion, shown) for party in builder.PARTIES}


def test_agreements_of_all_to_one_roster_are_accepted() -> None:
    masking.check_agreements(agreements(roster()), IDENTITIES, OCCASION, roster())


def test_an_agreement_to_another_roster_counts_for_nothing() -> None:
    with pytest.raises(IntegrityError, match="the agreement signature of alpha does not verify"):
        masking.check_agreements(agreements(roster("other ")), IDENTITIES, OCCASION, roster())


@pytest.mark.parametrize("change", [{"attempt": 2}, {"step": "t"}, {"round": "e" * 32}, {"state": "e" * 64}])
def test_an_agreement_to_another_occasion_counts_for_nothing(change: dict[str, Any]) -> None:
    other = OCCASION.model_copy(update=change)
    with pytest.raises(IntegrityError, match="does not verify"):
        masking.check_agreements(agreements(roster(), other), IDENTITIES, OCCASION, roster())


@pytest.mark.parametrize("parties", [("alpha", "beta"), (*builder.PARTIES, "delta"), ()])
def test_agreements_are_of_exactly_the_parties_that_must_give_them(parties: tuple[str, ...]) -> None:
    given = {party: masking.agree(builder.key(party), party, OCCASION, roster()) for party in parties}
    with pytest.raises(IntegrityError, match="not agreed to by exactly the parties that must"):
        masking.check_agreements(given, IDENTITIES, OCCASION, roster())


def test_one_partys_agreement_does_not_pass_for_anothers() -> None:
    given = agreements(roster())
    with pytest.raises(IntegrityError, match="the agreement signature of beta does not verify"):
        masking.check_agreements({**given, "beta": given["alpha"]}, IDENTITIES, OCCASION, roster())


def test_those_who_contribute_agree_and_where_one_contributes_alone_everybody_in_the_room_does() -> None:
    assert masking.agreeing(["gamma", "alpha"], builder.PARTIES) == ["alpha", "gamma"]
    assert masking.agreeing(["beta"], builder.PARTIES) == ["alpha", "beta", "gamma"]
    assert masking.agreeing(["beta"], ["beta"]) == ["beta"]
