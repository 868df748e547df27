"""Entries as plain maps, made for a history: mostly such as the rules allow, some with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from . import builder, naive
from .changes import CHANGES, STATEMENTS, Changes, KeyRing

KINDS = ("reserve", "commit", "reserve", "commit", "forfeit", "dataset", "plan", "genesis")
ROUNDS = [builder.hex16(f"round {number}") for number in range(12)]
PLANS = ["ab" * 32, "cd" * 32, "ef" * 32]
STRANGER = "delta"

Body = dict[str, Any]
# One in so many entries has something wrong. 0 is what hypothesis falls back to, so it means: nothing.
SPOIL = st.sampled_from([0, 0, 0, 0, 1])


class Drafts:
    """`draw`: of hypothesis. `now`: the coordinator's clock."""

    def __init__(
        self, room: builder.Room, history: list[Body], now: int, draw: Callable[[Any], Any], ring: KeyRing | None = None
    ) -> None:
        self.room, self.history, self.draw, self.ring = room, history, draw, ring or KeyRing()
        self.time = max(now, history[-1]["time"] if history else 0)

    def make(self, kind: str) -> Body:
        if not self.history and self.draw(SPOIL) == 0:
            kind = "genesis"
        if kind in (*CHANGES, *STATEMENTS) and naive.members(self.history):
            return self._changed(kind)
        kind = kind if hasattr(self, f"_{kind}") else "forfeit"
        body = getattr(self, f"_{kind}")()
        body = {**body, "seq": len(self.history), "time": self.time}
        if self.draw(SPOIL):
            body = self._signed(self._spoiled(body), self.draw(st.booleans()))
        return body

    def _changed(self, kind: str) -> Body:
        changes = Changes(self.ring, self.history, self.time, self.one)
        body = {**changes.make(kind), "seq": len(self.history), "time": self.time}
        if self.draw(SPOIL):
            anywhere = [{"seq": body["seq"] + 1}, {"time": body["time"] - 1}, {"more": 1}]
            body = {**body, **self.one(*anywhere, *changes.spoiled(body) * 3)}
        return changes.signed(body)

    def one(self, *choices: Any) -> Any:
        return choices[self.draw(st.integers(0, len(choices) - 1))]  # an index: failures are shown in a line

    # -- each type, as the rules want it -------------------------------------------------------------------------------

    def _genesis(self) -> Body:
        return self.room.genesis().body()

    def _dataset(self) -> Body:
        body = {
            "type": "dataset@v1",
            "party": self.one(*builder.PARTIES),
            "version": builder.hex16(f"version {len(self.history)}"),
            "blocks": self.one(["q1", "q2"], ["q1", "q2", "q3"], ["q3"]),
            "commitment": "11" * 32,
            "schema_digest": "22" * 32,
            "people_cap": self.one(5000, 1),
        }
        return self._signed(body, True)

    def _plan(self) -> Body:
        unused = [
            plan for plan in PLANS if plan not in {entry["plan"] for entry in naive.of_type(self.history, "plan")}
        ]
        parties = list(self.one(builder.PARTIES, builder.PARTIES, ("alpha", "beta"), ("gamma",)))
        return self._signed({"type": "plan@v1", "plan": self.one(*(unused or PLANS)), "parties": parties}, True)

    def _reserve(self) -> Body:
        plans = naive.of_type(self.history, "plan")
        plan = self.one(*plans) if plans else {"plan": PLANS[0], "parties": list(builder.PARTIES)}
        taken = {entry["round"] for entry in naive.of_type(self.history, "reserve")}
        free = [round_id for round_id in ROUNDS if round_id not in taken] or ROUNDS
        known = sorted(naive.blocks(self.history)) if self.history else ["q1"]
        blocks = self.one(["q1"], ["q1", "q2"], ["q2"], ["q1"], ["q2", "q1"], ["q3"], known[:1])
        everyone = plan["parties"]
        adders = self.one(everyone, everyone, everyone[:-1] or everyone, everyone[1:] or everyone)
        steps = [self._step(at, adders, free[0]) for at in range(self.one(1, 1, 2, 3))]
        body = {
            "type": "reserve@v1",
            "round": free[0],
            "plan": plan["plan"],
            "steps": steps,
            "blocks": blocks,
            "expires": self.time + self.one(60, 30, 300),
        }
        return self._signed({**body, **self._charges(steps, blocks)}, True)

    def _step(self, at: int, adders: list[str], round_id: str) -> Body:
        n = len(adders)
        mechanism = {
            "name": "discrete_gaussian",
            "sensitivity_sq": self.one(3, 5, 1),
            "variance": self.one("1000.5", "750", "2083.333334", "250", "9"),
            "slots": 16,
            "adders": list(adders),
            "quorum": n,
            "collusion": self.one(n - 1, min(1, n - 1)),
        }
        nonce = builder.hex16(f"{round_id} {at} {len(self.history)}")
        return {"step": f"step-{at}", "nonce": nonce, "mechanism": mechanism, "charge": naive.record_cost(mechanism)}

    def _charges(self, steps: list[Body], blocks: list[str]) -> Body:
        charge, datasets = {}, {}
        for party in sorted({adder for step in steps for adder in step["mechanism"]["adders"]}):
            whole = sum(step["charge"] for step in steps if party in step["mechanism"]["adders"])
            charge[party] = dict.fromkeys(blocks, whole)
            declared = [entry for entry in naive.of_type(self.history, "dataset") if entry["party"] == party]
            datasets[party] = declared[-1]["version"] if declared else builder.hex16("nothing")
        return {"charge": charge, "datasets": datasets}

    def _commit(self) -> Body:
        reserve, commits = self._open_round()
        step = reserve["steps"][min(len(commits), len(reserve["steps"]) - 1)]
        return {
            "type": "commit@v1",
            "round": reserve["round"],
            "step": step["step"],
            "digest": builder.digest(f"{reserve['round']} {step['step']}".encode()),
            "recipients": list(builder.PARTIES),
            "numbers": self.one(["/size"], [], ["/a~1b", "/c/0"]),
            "survivors": step["mechanism"]["adders"],
        }

    def _forfeit(self) -> Body:
        reserve, _ = self._open_round()
        return {"type": "forfeit@v1", "round": reserve["round"], "reason": self.one("deadline", "integrity")}

    def _open_round(self) -> tuple[Body, list[Body]]:
        reserves = naive.of_type(self.history, "reserve")
        if not reserves:
            step = {"step": "step-0", "mechanism": {"adders": list(builder.PARTIES)}}
            return {"round": ROUNDS[0], "steps": [step]}, []
        still = [entry for entry in reserves if naive.is_open(self.history, entry["round"])]
        reserve = self.one(*(still or reserves))
        return reserve, naive.of_round(self.history, reserve["round"])[1]

    # -- signatures, and what may be wrong -----------------------------------------------------------------------------

    def _signed(self, body: Body, rightly: bool) -> Body:
        """With the signatures that its type needs, of the right parties or of others."""
        spare = dict(zip(builder.PARTIES, builder.PARTIES[1:] + builder.PARTIES[:1], strict=True))

        inside = naive.members(self.history).get("parties", {})

        def by(party: str, purpose: str, words: Body) -> str:
            known = party if party in spare else "alpha"
            member = inside.get(party) if rightly else inside.get(spare[known])
            label = known if rightly else spare[known]
            return self.ring.sign((member or self.ring.make(label))["key"], purpose, words)

        if body["type"] == "dataset@v1":
            words = {**naive.without(body, "seq", "time", "signature"), "room": builder.ROOM}
            return {**body, "signature": by(body["party"], "dataset", words)}
        if body["type"] == "plan@v1":
            words = {"plan": body["plan"], "room": builder.ROOM}
            return {**body, "approvals": {party: by(party, "approval", words) for party in body["parties"]}}
        if body["type"] == "reserve@v1":
            words = {**naive.without(body, "seq", "time", "holds"), "room": builder.ROOM}
            return {**body, "holds": {party: by(party, "hold", words) for party in body["charge"]}}
        return body

    def _spoiled(self, body: Body) -> Body:
        """One field is another than it should be; signatures are then made over that."""
        changes: list[Body] = [
            {"seq": body["seq"] + 1},
            {"seq": max(0, body["seq"] - 1)},
            {"time": body["time"] - 1},
            {"time": body["time"] + 400},
            {"more": 1},
            {},
        ]
        changes += getattr(self, f"_spoiled_{body['type'].split('@')[0]}", lambda _: [])(body)
        return {**body, **self.one(*changes)}

    def _spoiled_dataset(self, body: Body) -> list[Body]:
        declared = [entry["version"] for entry in naive.of_type(self.history, "dataset")]
        return [
            {"party": STRANGER},
            {"blocks": ["q1", "q9"]},
            {"blocks": []},
            {"people_cap": 0},
            *({"version": version} for version in declared[:3]),
        ]

    def _spoiled_plan(self, body: Body) -> list[Body]:
        used = [entry["plan"] for entry in naive.of_type(self.history, "plan")]
        return [
            {"parties": ["alpha", STRANGER]},
            {"parties": body["parties"][::-1]},
            {"parties": []},
            *({"plan": plan} for plan in used),
        ]

    def _spoiled_reserve(self, body: Body) -> list[Body]:
        first, *rest = body["steps"]
        mechanism = first["mechanism"]
        charge, blocks = body["charge"], body["blocks"]
        nonces = [step["nonce"] for entry in naive.of_type(self.history, "reserve") for step in entry["steps"]]
        rounds = [entry["round"] for entry in naive.of_type(self.history, "reserve")]
        party = next(iter(charge))

        def noise(**more: Any) -> Body:
            changed = {**mechanism, **more}
            step = {**first, "mechanism": changed, "charge": naive.record_cost(changed)}
            return {"steps": [step, *rest], **self._charges([step, *rest], blocks)}

        return [
            {"steps": [{**first, "charge": first["charge"] + 1}, *rest]},
            {"steps": [{**first, "charge": first["charge"] - 1}, *rest]},
            {"steps": [first, first, *rest]},
            {"steps": []},
            noise(variance="8.999999"),
            noise(quorum=max(1, mechanism["quorum"] - 1)),
            noise(quorum=mechanism["quorum"] + 1),
            noise(collusion=len(mechanism["adders"])),
            noise(collusion=0),
            noise(adders=[*mechanism["adders"], "zeta"]),
            noise(sensitivity_sq=10**7),
            noise(adders=mechanism["adders"][1:] or ["beta"]),
            {"charge": {at: row for at, row in charge.items() if at != party}},
            {"charge": {**charge, party: {at: nano + 1 for at, nano in charge[party].items()}}},
            {"charge": {**charge, party: dict.fromkeys(["q1", "q2", "q3"], max(charge[party].values(), default=1))}},
            {"charge": {**charge, STRANGER: charge[party]}},
            {"datasets": {**body["datasets"], party: builder.hex16("another")}},
            {"datasets": {at: one for at, one in body["datasets"].items() if at != party}},
            {"plan": "99" * 32},
            {"blocks": [*blocks, "q9"]},
            {"blocks": blocks + blocks},
            {"expires": self.time},
            {"expires": self.time - 1},
            *({"round": round_id} for round_id in rounds[:2]),
            *({"steps": [{**first, "nonce": nonce}, *rest]} for nonce in nonces[:2]),
        ]

    def _spoiled_commit(self, body: Body) -> list[Body]:
        digests = [entry["digest"] for entry in naive.of_type(self.history, "commit")]
        reserves = naive.of_type(self.history, "reserve")
        return [
            {"round": "00" * 16},
            {"step": "step-1"},
            {"step": "step-9"},
            {"recipients": []},
            {"recipients": [STRANGER]},
            {"recipients": ["alpha", "alpha"]},
            {"numbers": ["/a", "/a"]},
            {"numbers": ["a"]},
            {"survivors": body["survivors"][:-1] or ["alpha"]},
            {"survivors": [*body["survivors"], "zeta"]},
            {"survivors": body["survivors"][::-1]},
            {"time": body["time"] + 299},
            *({"round": entry["round"]} for entry in reserves[:3]),
            *({"digest": digest} for digest in digests[:2]),
        ]

    def _spoiled_forfeit(self, body: Body) -> list[Body]:
        reserves = naive.of_type(self.history, "reserve")
        return [{"round": "00" * 16}, {"reason": "no"}, *({"round": entry["round"]} for entry in reserves[:4])]
