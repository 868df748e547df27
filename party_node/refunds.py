"""A round that ended before anything left this party: it says so, once and for ever, and its charge is given back.

The ledger takes a `refund@v1` only with the signature of every party that the round charged. What a signature says:
nothing of this round has left this party, and nothing ever will. So before it is given, the round is closed in both of
the party's files, its state and its accounts; a closed round gets no hold, no mask key, no agreement and no share.

Why that is true even where one node forgot, because its disk was put back to an older copy. What depends on data leaves
in a share, and a node sends one only with the signatures of those who agreed to one roster: with all of them, or, where
a plan can do without some, with at least its quorum of those who are charged. The rule for the quorum makes it
`collusion` + 2 at least, so that beside the one that forgot and those in league another honest party is among them,
wherever there is one at all. That one has kept its agreement before it signed it, and so does not sign here; and once
it has signed here it agrees to nothing. So either the share did not leave, or the refund lacks a signature; the order
of the two, and what ledger the coordinator shows to whom, change nothing. A round that charges one party alone has no
other whose memory would count, and is never refunded.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import keys
from protocols.errors import Refused
from protocols.ledger.reducer import Accounts
from protocols.ledger.statements import refund_body
from protocols.logbook import Logbook
from protocols.messages import Refund, Refunded

from .filter import Filter
from .store import Store


def sign(request: Refund, *, room: str, party: str, signing: Ed25519PrivateKey, book: Logbook, store: Store,
         filter_: Filter) -> Refunded:  # fmt: skip
    """
    1. in this party's copy of the ledger the round is forfeited without a commit; it charges this party and another
    2. the charge came from a hold of this party's own, which it remembers: it was not taken over after a restore
    3. this party has drawn no noise for it, agreed to no roster, sent no share and settled no survivors, as either of
       its two files knows
    4. the round is closed in both, durably; then it is signed. Asked again, the same signature again
    """
    round_id, short = request.round, request.round[:8]
    # (1)
    round_ = book.accounts.rounds.get(round_id)
    if round_ is None or round_.state != "forfeited" or round_.commits:
        raise Refused(f"round {short} is not forfeited without a release in this party's copy of the ledger")
    charged = set(round_.reserve.charge)
    if party not in charged or len(charged) < 2:
        raise Refused(f"round {short} does not charge this party together with another")
    # (2)
    noted = filter_.noted(room, round_id)
    if "held" not in noted or "taken-over" in noted:
        raise Refused(f"this party does not remember all of round {short}: its charge came from no hold that it kept")
    # (3)
    if store.began(round_id) or filter_.drawn(room, round_id):
        raise Refused(f"this party had begun with round {short}: it had drawn its noise at least")
    # (4)
    store.close_round(round_id)
    filter_.close_round(room, round_id)
    signature = keys.sign(signing, "refund", refund_body(room, round_id))
    return Refunded(party=party, round=round_id, signature=signature)


def check_open(round_id: str, *, room: str, store: Store, filter_: Filter) -> None:
    """Raise Refused for a round that either file says is closed. The ledger says so too, unless it was put back."""
    if store.is_closed(round_id) or "closed" in filter_.noted(room, round_id):
        raise Refused(f"round {round_id[:8]} is closed: this party has signed that nothing of it ever leaves")


def give_back(accounts: Accounts, *, room: str, party: str, filter_: Filter) -> None:
    """Give back in this party's own accounts what its copy of the ledger has refunded.

    After the entry is durable in that copy, and whenever a node starts: in between a charge counts for too long, never
    too short.
    """
    refunded = {
        round_id
        for round_id, round_ in accounts.rounds.items()
        if round_.state == "refunded" and party in round_.reserve.charge
    }
    if new := refunded - filter_.refunded_rounds(room):
        filter_.refund(room, sorted(new))
