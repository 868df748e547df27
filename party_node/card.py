"""The consent card: what a person of this party should know before saying yes to a plan.

Who asks and what for, who reads the results, the exact shape of what would leave, what it costs before and after, how
sure the numbers will be, and what no noise can promise. Everything here is the plan, the room and this party's own
accounts; no row of data is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from protocols import forecast, terminal
from protocols.accuracy import epsilon
from protocols.budget import decimal, honest_shares
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import Accounts
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.room import Room

from .audience import question_of as lookalike_of

WORD = 8  # bytes of one masked number on the wire
_LISTS = (
    "\n\nFor the overlap something else leaves besides: a point of 32 bytes for each of your customers that has a key, "
    "to each of the {others} other parties, through the coordinator. It is the key, hashed and masked with a number "
    "that only your node knows, for this round alone. The points go in shuffled lists, which your node fills up with "
    "people that do not exist to sizes that are public: those of the step before, with room to spare. What your node "
    "masks a second time of the others' lists goes to the coordinator, which counts what is equal. The noise is people "
    "that do not exist as well: your node puts in its own number of them, and the other party of a pair does too."
)
_OVERLAP = (
    "the overlap tells neither the other parties nor the coordinator which of your customers are shared: a party sees "
    "masked points in lists of public sizes, the coordinator counts with your noise and the other party's in; your "
    "noise alone protects your customers, also if the coordinator works with the other party, while both do as agreed",
    "a party that alone does otherwise in the overlap is found out by values that only your node can know, but for one "
    "thing: with copies in its own spare places it can try whether a person of its choice stands at a place of your "
    "list that it picks blindly. It is right with one chance in the length of that list for each place it tries, and "
    "what it then sees is not covered by what is stated above: the shorter a list, the more that is",
    "not covered: a party that does otherwise in the overlap and works with the coordinator can test whether people of "
    "its choice are among your customers; who takes part and how many lists there are can be seen, and keys that "
    "somebody made up go unnoticed; a hashed or masked key is a pseudonym, and not anonymous",
)
_SEED_LISTS = (
    "\n\nFor {step} something else leaves besides: for {seed} a point of 32 bytes for each customer of the seed "
    "that has a key, to each of {owners}; for each of these a point for each of its customers that has a key, "
    "to {seed}, all through the coordinator. It is the key, hashed and masked with a number that only the node "
    "knows, for this round alone. The points go in shuffled lists, the seed's in one, an owner's in six by its "
    "own cuts, filled up with people that do not exist to sizes that follow from released ones. What a node "
    "masks a second time of the other's lists goes to the coordinator, which counts what is equal. The noise is "
    "people that do not exist as well: both put in their own number of them."
)
_OWNED = (
    "\n\nIn {steps} each number is of one party alone ({owners}): only its customers and only its noise are in it. The "
    "others send zeros there, masked as all else, so that nobody can tell them from sums. The cost of these steps is "
    "charged to every party all the same."
)
MOST_EPSILON = 30.0  # e^30 is more than there are people, and no float overflows


@dataclass(frozen=True)
class Line:
    """One budget that a round would draw on, nano-ρ."""

    what: str
    before: int
    cost: int
    cap: int

    @property
    def after(self) -> int:
        return self.before + self.cost


def budgets(plan: Plan, room: Room, party: str, accounts: Accounts | None, own_used: int, own_cap: int) -> list[Line]:
    """Every budget that one round of the plan draws on. `own_*`: this party's own, over all its rooms, worst day.

    `accounts`: the room's, None where its ledger has no entry yet.
    """
    lines = [Line("one record here, in all your rooms", own_used, plan.charge, own_cap)]
    n, blocks = len(plan.parties), [*sorted(plan.blocks), LIFETIME]
    spent = len(plan.blocks)
    for who, once, whose in (
        (party, plan.charge, "one record here"),
        (PERSON, plan.charge_person, f"one person at all {n} parties"),
    ):
        for block in blocks:
            cost = once * (spent if block == LIFETIME else 1)
            if accounts is not None and accounts.size:
                balance = accounts.balance(who, block)
                before, cap = balance.spent, balance.cap
            else:
                before, cap = 0, _cap(room, who == PERSON, block == LIFETIME)
            lines.append(Line(f"{whose}, {'all blocks' if block == LIFETIME else block}", before, cost, cap))
    return lines


def _cap(room: Room, person: bool, lifetime: bool) -> int:
    caps = room.caps
    if person:
        return caps.lifetime_person if lifetime else caps.person
    return caps.lifetime_record if lifetime else caps.record


def show(plan: Plan, room: Room, lines: list[Line], standing: str, console: Console) -> None:
    """Print the card."""
    console.print(Group(*_parts(plan, room, lines, standing)))


def _parts(plan: Plan, room: Room, lines: list[Line], standing: str) -> Iterator[Text | Table]:
    yield _heading(f"{plan.name}: a plan of room {room.room}")
    yield _facts(plan, room, standing)
    yield _heading("what would leave this party, and nothing else")
    yield _shape(plan)
    yield Text(_leaving(plan))
    yield _heading("what one round costs")
    yield _costs(plan, lines)
    yield _heading("what it cannot promise")
    yield Text("\n".join(f"• {sentence}" for sentence in warnings(plan, lines)))


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _facts(plan: Plan, room: Room, standing: str) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("asked by", f"the coordinator of {room.room}, key {room.coordinator.key}")
    # The one free text in a plan: on one line, and without what a terminal would obey.
    table.add_row("purpose", Text(" ".join(terminal.plain(plan.purpose).split())))
    table.add_row("questions", ", ".join(question.kind for question in plan.questions))
    table.add_row("parties", ", ".join(plan.parties))
    if (question := lookalike_of(plan)) is not None:
        table.add_row("lookalike", Text(_audience(question)))
    table.add_row("read by", ", ".join(plan.recipients) + ", the coordinator and every auditor")
    table.add_row("about", ", ".join(f"{name} ({b.first} to {b.last})" for name, b in sorted(plan.blocks.items())))
    table.add_row("until", f"{plan.valid_until}; a round ends within {plan.deadline_s} s")
    table.add_row("digest", plan.digest)
    table.add_row("standing", Text(standing))
    return table


def _audience(question: lookalike.Plan) -> str:
    """Whom it is to be like, who looks among its own people, how far, and what is audited."""
    seed = question.seed
    bounds = [
        f"{one.feature} {f'from {one.low:,}' if one.low is not None else ''}"
        f"{' ' if None not in (one.low, one.high) else ''}{f'up to {one.high:,}' if one.high is not None else ''}"
        for one in seed.where or ()
    ]
    who = f"on its list {seed.list}" if seed.list is not None else "with " + ", ".join(bounds)
    if seed.clean is not None:
        who += f", those in the likest {seed.clean.cells} of 64 cells of round {seed.clean.round[:8]}"
    audited = ", ".join(f"{one.column} (beside {one.reference})" for one in question.attributes or ())
    return (
        f"people like the customers of {seed.party} {who}, {question.floor:,} or more; "
        f"{', '.join(question.ranks)} rank their own people by {', '.join(f.name for f in question.features)}, "
        f"up to the likest {question.reach} %" + (f"; audited by {audited}" if audited else "; nothing is audited")
    )


def _shape(plan: Plan) -> Table:
    table = Table("step", "numbers", "bytes", "one person moves", "your noise, σ", "± 95 % when released")
    for step in forecast.steps(plan):
        table.add_row(
            step.name,
            f"{step.slots:,}",
            "masked lists" if step.between else f"{WORD * step.slots:,}",
            f"{step.bound:.2f}",
            f"{step.sigma:.1f}",
            forecast.widths(step),
        )
    return table


def _leaving(plan: Plan) -> str:
    steps = forecast.steps(plan)
    total = sum(step.slots for step in steps if not step.between)
    said = (
        f"{total:,} whole numbers in all, each a sum over your customers to which your node adds its own noise before "
        "anything leaves; no row, no identifier, no count without noise. Moves, noise and intervals are in persons."
    )
    owned = [step for step in steps if step.owners]
    if owned:
        owners = sorted({owner for step in owned for owner in step.owners})
        said += _OWNED.format(steps=", ".join(step.name for step in owned), owners=", ".join(owners))
    for step in steps:
        if step.between:
            said += _lists(plan, step.name)
    return said


def _lists(plan: Plan, step: str) -> str:
    """What of a step that counts between parties leaves."""
    question = lookalike_of(plan)
    if question is None or step != lookalike.OVERLAP:
        return _LISTS.format(others=len(plan.parties) - 1)
    return _SEED_LISTS.format(step=step, seed=question.seed.party, owners=", ".join(question.ranks))


def _costs(plan: Plan, lines: list[Line]) -> Table:
    delta = float(plan.delta)
    table = Table("budget", "ρ before", "after", "at most", f"ε before, δ {plan.delta}", "after")
    for line in lines:
        after = decimal(line.after) + (" over" if line.after > line.cap else "")
        before, then = (f"{epsilon(nano, delta):.2f}" for nano in (line.before, line.after))
        table.add_row(line.what, decimal(line.before), after, decimal(line.cap), before, then)
    return table


def warnings(plan: Plan, lines: Sequence[Line] = ()) -> list[str]:
    """The honest sentences: what masks and noise do not do for this plan. `lines`: what `budgets` found."""
    n = len(plan.parties)
    said = [
        f"from this round alone, except with chance {plan.delta}, whoever reads the results may become up to "
        f"{_odds(plan, plan.charge)} times surer, or less sure, that a given person is among your customers; "
        "that is what ε means",
        *_together(plan, lines),
        "what is released stays released: a budget is spent for good, also when a round is forfeited",
        "a person known to several parties pays at each of them; both figures are above",
    ]
    if n == 2:
        said.insert(
            -2, "with two parties masks hide nothing: each can subtract its own part; your noise alone protects"
        )
    elif 1 < n <= plan.collusion + 1:
        said.insert(
            -2, f"the other {n - 1} parties together could subtract their parts: your own full noise is there for that"
        )
    honest = honest_shares(plan.quorum, plan.collusion)
    if honest > 1:
        said.insert(
            -2,
            f"your own noise is a part of what the cost above counts on, one of {honest}: the masks, and {honest - 1} "
            f"others who keep theirs to themselves, stand for the rest; if more than {plan.collusion} work together, "
            f"it is up to {honest} times the cost",
        )
    lost, between = n - plan.quorum, any(step.between for step in forecast.steps(plan))
    everybody = ["the overlap"] * between + [step.name for step in forecast.steps(plan) if step.owners]
    said.append(
        f"a round goes on when up to {lost} of the {n} parties are lost in it, and ends when it is more"
        + (f"; for {', '.join(everybody)} all are needed" if everybody else "")
        if lost
        else "a round ends when one party is lost in it until its deadline: every share is needed"
    )
    return [*said, *_OVERLAP] if between else said


def _together(plan: Plan, lines: Sequence[Line]) -> Iterator[str]:
    """What holds after the round, for each budget of a person over everything."""
    if lines:
        here, anywhere = lines[0].after, lines[-1].after
        yield (
            f"together with what was released before: up to {_odds(plan, here)} times ({lines[0].what}), "
            f"and {_odds(plan, anywhere)} times about {lines[-1].what}"
        )


def _odds(plan: Plan, nano: int) -> str:
    return f"{math.exp(min(epsilon(nano, float(plan.delta)), MOST_EPSILON)):,.1f}"
