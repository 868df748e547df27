"""Empty rounds over whatever carries Flower's messages: the milliseconds of each, as JSON, into the file `out`."""

from __future__ import annotations

import json
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

client = ClientApp()
server = ServerApp()


@client.query("stats")
def stats(message: Message, context: Context) -> Message:
    return Message(RecordDict({"m": MetricRecord({"calls": 1})}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    parties, taken = int(context.run_config["parties"]), []
    while len(ids := sorted(grid.get_node_ids())) < parties:
        time.sleep(0.05)
    for number in range(int(context.run_config["rounds"])):
        content = RecordDict({"told": ConfigRecord({"round": number})})
        start = time.perf_counter()
        messages = [Message(content, node, "query.stats", group_id=str(number)) for node in ids]
        replies = [reply for reply in grid.send_and_receive(messages, timeout=120) if reply.has_content()]
        taken.append(1000 * (time.perf_counter() - start))
        assert len(replies) == parties
    out = Path(str(context.run_config["out"]))
    part = out.with_suffix(".part")
    part.write_text(json.dumps(taken))
    part.rename(out)  # whoever waits for the file finds all of it
