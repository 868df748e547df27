"""One step of a room of five, word by word: what an honest coordinator would say, for an attacker to bend."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from protocols import messages, recovery
from protocols.budget import recovery_threshold
from protocols.masking import MaskKey, Occasion
from tests.attacks.siege import Siege
from tests.rounds import lab

FIVE = tuple(sorted(lab.FIVE))
THRESHOLD = recovery_threshold(5, 1)


def but(*lost: str) -> list[str]:
    """All but these."""
    return [party for party in FIVE if party not in lost]


class Step:
    """Everybody has offered a mask key and agreed to the roster of all."""

    def __init__(self, siege: Siege) -> None:
        self.siege, self.occasion = siege, siege.occasion()
        self.roster = siege.roster(self.occasion)
        assert tuple(sorted(self.roster)) == FIVE
        self.agreed = {party: siege.agreed(party, self.occasion, self.roster) for party in FIVE}

    def contribute(self, *group: str) -> messages.Contribute:
        """These, or all, mask with one another."""
        agreements = {party: self.agreed[party].signature for party in group or FIVE}
        return messages.Contribute(occasion=self.occasion, roster=self.roster, agreements=agreements)

    def masked(self, *group: str) -> Step:
        """These, or all, have sent their shares."""
        for party in group or FIVE:
            reply = self.siege.say(party, self.contribute(*group)).reply
            assert isinstance(reply, messages.Share), reply
        return self

    def settle(self, survivors: Sequence[str] = FIVE) -> messages.Settle:
        return messages.Settle(occasion=self.occasion, survivors=list(survivors))

    def signed(self, *signers: str, survivors: Sequence[str] = FIVE, group: Collection[str] = FIVE,
               occasion: Occasion | None = None) -> dict[str, str]:  # fmt: skip
        """What these parties sign when they are in league with the coordinator."""
        shown = {party: self.roster[party] for party in group}
        return {
            party: recovery.settle(
                self.siege.guests[party].config.signing, party, occasion or self.occasion, shown, survivors
            )
            for party in signers
        }

    def boxes(self, helper: str) -> dict[str, str]:
        return {dealer: said.boxes[helper] for dealer, said in self.agreed.items() if helper in said.boxes}

    def unmask(self, helper: str, signatures: dict[str, str], survivors: Sequence[str] = FIVE) -> messages.Unmask:
        return messages.Unmask(
            occasion=self.occasion, survivors=list(survivors), signatures=signatures, boxes=self.boxes(helper)
        )

    def circle(self) -> recovery.Circle:
        return recovery.Circle(self.occasion, self.roster, FIVE, THRESHOLD)

    def group(self, *parties: str) -> dict[str, MaskKey]:
        return {party: self.roster[party] for party in parties or FIVE}
