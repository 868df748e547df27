"""A plan as an operator would write it."""

from __future__ import annotations

from typing import Any

from protocols.plan import Plan


def plan_toml(agreed: Plan) -> str:
    body = agreed.body()
    return _toml({**body, "rho": _decimal(body["rho"]), "questions": [_in_decimals(q) for q in body["questions"]]})


def _decimal(nano: int) -> str:
    return f"{nano // 10**9}.{nano % 10**9:09d}"


def _in_decimals(question: dict[str, Any]) -> dict[str, Any]:
    return {**question, "rho": {name: _decimal(nano) for name, nano in question["rho"].items()}}


def _toml(value: Any) -> str:
    """A document in TOML, tables inline: enough for a plan."""
    return "".join(f"{name} = {_inline(inner)}\n" for name, inner in value.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_inline(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
