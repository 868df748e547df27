"""What travels between coordinator and nodes. Every word of the conversation is here; there is no other.

    coordinator asks          a node answers                 what the node does before it answers
    ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    Propose  a plan           Approval or Refusal            asks its consent policy
    Reserve  a draft entry    Held or Refusal                checks its own budget over all rooms; holds the charge
    Cancel   a round          Cancelled                      drops the hold of a draft that will not be entered
    Refund   a round          Refunded or Refusal            notes that nothing of it has left or ever will, then signs
    Egress   a day            EgressStated or Refusal        signs the length and the root of its log of what it sent
    Witness  new entries      Cosigned, Behind or Refusal    consistency proof, reducer, own rules; persists; cosigns
    Prepare  a step           MaskOffer or Refusal           computes, bounds, adds noise, keeps it with fresh mask keys
    Agree    a roster         Agreed or Refusal              keeps it as the only one of this occasion, then signs it
    Contribute  agreements    Share or Refusal               masks what it drew, keeps the share, answers
    Settle   survivors        Settled or Refusal             keeps them as the only ones of this occasion, then signs
    Unmask   signatures       Unmasked or Refusal            gives out one piece for each party: of its seed or its key
    Deliver  a release        Received or Refusal            checks signature, proof and figures; keeps it
    Supply   a size           Supplied or Refusal            gives back what it has of the ledger after that size

Settle and Unmask are for plans whose quorum is below the number of parties (`recovery.py`). What is said in an overlap
is in `overlap/words.py`.

A Refusal speaks of public state only. Anything that goes wrong with the data is not a refusal: the node sends its noise
over zeros and tells its own operator.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from . import schema
from .encoding import canonical, parse
from .errors import IntegrityError
from .masking import MaskKey, Occasion
from .overlap import words
from .schema import Base64, Count, Date, Digest, Frozen, Hex16, Name, Positive

Code = Literal["consent", "budget", "ledger", "round"]
FAILED = "failed"  # the reason of whatever goes wrong inside a node: outside, all of it looks alike
Text = Annotated[str, Field(max_length=600)]
Lines = Annotated[str, Field(max_length=4000)]  # of one cosigner: 3.5 kB with both keys and the longest name


class Propose(Frozen):
    type: Literal["propose"] = "propose"
    plan: dict[str, Any]


class Declaration(Frozen):
    """A party's dataset for this plan, as its ledger entry will state it."""

    party: Name
    version: Hex16
    blocks: list[Name]
    commitment: Digest
    schema_digest: Digest
    people_cap: Positive
    signature: Base64


class Approval(Frozen):
    """`time`: the node's clock, unix seconds: clocks that disagree are noticed before anything is written."""

    type: Literal["approval"] = "approval"
    time: Count
    party: Name
    plan: Digest
    signature: Base64
    dataset: Declaration


class Refusal(Frozen):
    """No, for a reason that everybody may know. `code` says which rule, `reason` explains."""

    type: Literal["refusal"] = "refusal"
    code: Code
    reason: Text


class Reserve(Frozen):
    """A draft `reserve` entry, without `holds`."""

    type: Literal["reserve"] = "reserve"
    draft: dict[str, Any]


class Held(Frozen):
    type: Literal["held"] = "held"
    party: Name
    round: Hex16
    signature: Base64


class Cancel(Frozen):
    """The draft of this round will not be entered. A party that drops its hold does not cosign the reserve any more."""

    type: Literal["cancel"] = "cancel"
    round: Hex16


class Cancelled(Frozen):
    type: Literal["cancelled"] = "cancelled"
    party: Name
    round: Hex16


class Refund(Frozen):
    """Has anything of this forfeited round left the party? If not, may what it reserved be given back?"""

    type: Literal["refund"] = "refund"
    round: Hex16


class Refunded(Frozen):
    """`signature`: over `statements.refund_body`: nothing of this round has left, and nothing ever will."""

    type: Literal["refunded"] = "refunded"
    party: Name
    round: Hex16
    signature: Base64


class Egress(Frozen):
    """What had the party's node sent by the end of this day (UTC)?"""

    type: Literal["egress"] = "egress"
    day: Date


class EgressStated(Frozen):
    """The fields of an `egress@v1` entry: records in the log, and the Merkle root over them."""

    type: Literal["egress-stated"] = "egress-stated"
    party: Name
    day: Date
    size: Count
    root: Digest
    signature: Base64


class Witness(Frozen):
    """Growth of the ledger from `old_size` entries: the new entries' exact text, the proof, the signed checkpoint."""

    type: Literal["witness"] = "witness"
    old_size: Count
    entries: list[str]
    proof: list[Base64]
    checkpoint: str


class Cosigned(Frozen):
    """`line`: the lines of the note by which a party cosigned, one for each of its keys, without the last newline."""

    type: Literal["cosigned"] = "cosigned"
    party: Name
    size: Count
    line: Lines


class Behind(Frozen):
    """The node's copy of the ledger has another size than the growth starts from.

    `checkpoint`: its note of that size, signed by the coordinator, or nothing where it has no entry: a party that only
    says that it has more could stop the room with a word.
    """

    type: Literal["behind"] = "behind"
    size: Count
    checkpoint: str


class Prepare(Frozen):
    """`checkpoint`: one over the round's reserve, cosigned by every party. Earlier steps' releases came by Deliver."""

    type: Literal["prepare"] = "prepare"
    occasion: Occasion
    checkpoint: str


class MaskOffer(Frozen):
    type: Literal["mask-offer"] = "mask-offer"
    party: Name
    key: MaskKey


class Agree(Frozen):
    """Every party that contributes (and every other of the room, where one contributes alone) is asked."""

    type: Literal["agree"] = "agree"
    occasion: Occasion
    roster: dict[Name, MaskKey]


class Agreed(Frozen):
    """`signature`: over the occasion and the roster's digest. A party gives one for each occasion, ever.

    `boxes`: other party of the roster → the pieces of this party's secrets, sealed for it. Empty where no party may be
    lost.
    """

    type: Literal["agreed"] = "agreed"
    party: Name
    signature: Base64
    boxes: dict[Name, Base64]


class Contribute(Frozen):
    """`agreements`: party → the signature of its Agreed, for this very roster. These parties mask with one another."""

    type: Literal["contribute"] = "contribute"
    occasion: Occasion
    roster: dict[Name, MaskKey]
    agreements: dict[Name, Base64]


class Share(Frozen):
    """The masked words travel beside this as an array; `payload` is the SHA-256 of their little-endian bytes."""

    type: Literal["share"] = "share"
    party: Name
    occasion: Occasion
    payload: Digest
    signature: Base64


class Settle(Frozen):
    """Whose shares have come. Every one of them is asked."""

    type: Literal["settle"] = "settle"
    occasion: Occasion
    survivors: list[Name]


class Settled(Frozen):
    """`signature`: over the occasion, those who masked, and the survivors. A party gives one for an occasion, ever."""

    type: Literal["settled"] = "settled"
    party: Name
    signature: Base64


class Unmask(Frozen):
    """`signatures`: of so many survivors that no others can be settled.

    `boxes`: dealer → what it sealed for the party that is asked.
    """

    type: Literal["unmask"] = "unmask"
    occasion: Occasion
    survivors: list[Name]
    signatures: dict[Name, Base64]
    boxes: dict[Name, Base64]


class Unmasked(Frozen):
    """`pieces`: party of the group → 32 bytes: of its seed where it survived, of its key where it is lost."""

    type: Literal["unmasked"] = "unmasked"
    party: Name
    pieces: dict[Name, Base64]


class Deliver(Frozen):
    """A release, with the checkpoint that its proof leads to."""

    type: Literal["deliver"] = "deliver"
    release: dict[str, Any]
    checkpoint: str


class Supply(Frozen):
    """What this party holds of the ledger after `old_size` entries: for a coordinator that lost its own."""

    type: Literal["supply"] = "supply"
    old_size: Count


class Supplied(Frozen):
    """Growth as in Witness, up to the next checkpoint that is stored there, with its known cosignatures.

    plans, releases   what this party has of the plans and releases that these entries name, as they were got
    Nothing where it holds no more.
    """

    type: Literal["supplied"] = "supplied"
    party: Name
    entries: list[str]
    proof: list[Base64]
    checkpoint: str
    plans: list[dict[str, Any]]
    releases: list[dict[str, Any]]


class Received(Frozen):
    type: Literal["received"] = "received"
    party: Name
    digest: Digest


Request = (
    Propose
    | Reserve
    | Cancel
    | Refund
    | Egress
    | Witness
    | Prepare
    | Agree
    | Contribute
    | Settle
    | Unmask
    | Deliver
    | Supply
    | words.Requests
)
Reply = (
    Approval
    | Refusal
    | Held
    | Cancelled
    | Refunded
    | EgressStated
    | Cosigned
    | Behind
    | MaskOffer
    | Agreed
    | Share
    | Settled
    | Unmasked
    | Received
    | Supplied
    | words.Replies
)

_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])
_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])
_T = TypeVar("_T", bound=Frozen)


def encode(message: Request | Reply) -> bytes:
    return canonical(message.body())


def read_request(data: bytes) -> Request:
    """Raises IntegrityError for anything that is not one of the requests."""
    return _read(_REQUEST, data, "request")


def read_reply(data: bytes) -> Reply:
    """Raises IntegrityError for anything that is not one of the replies."""
    return _read(_REPLY, data, "reply")


def _read(adapter: TypeAdapter[_T], data: bytes, what: str) -> _T:
    value = parse(data, what=what)
    try:
        message = adapter.validate_python(value)
    except ValidationError as exc:
        raise IntegrityError(schema.explain(exc, what).message) from None
    if message.body() != value:  # a null where a field is left out: one message, one string of bytes
        raise IntegrityError(f"{what} spells out what it leaves out")
    return message


def share_body(party: str, occasion: Occasion, payload: str) -> dict[str, object]:
    """What a party signs about its share."""
    return {"party": party, "occasion": occasion.body(), "payload": payload}
