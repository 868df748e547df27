"""`sumroom-coordinator refund`: give back what a round had reserved that ended before anything left any party."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from protocols.errors import UsageError

from .config import Config
from .plan_cli import ConfigOption, JsonOption, WaitOption, done

_ROUND = re.compile("[0-9a-f]{8,32}")


def refund(
    round_id: Annotated[str, typer.Argument(metavar="ROUND", help="The round's id, or its first 8 digits or more.")],
    config: ConfigOption,
    wait_s: WaitOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Have the charge of a forfeited round given back, if every party that it charged says that nothing left it.

    A party says no where it had begun with the round. Nothing is lost by asking; asked again, it stays refunded.
    """
    if not _ROUND.fullmatch(round_id):
        raise UsageError("a round is named by 8 to 32 hex digits", "sumroom-coordinator plan status shows them")
    request = {"do": "refund", "round": round_id, "wait_s": wait_s}
    found = done(Config.load(config), request, quiet=True)
    if as_json:
        print(json.dumps({"round": found["round"], "fresh": found["fresh"]}, indent=2))
    else:
        how = "is refunded: what it reserved may be spent again" if found["fresh"] else "was refunded before"
        print(f"round {found['round'][:8]} {how}")
