"""A party as a process: `party_process.py directory name port`. Its app counts its calls in a file and does as told.

Several names, with commas between, are so many parties in one process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from party_node.attendant import Attendant
from protocols.carrier.codec import client_handler  # before flwr, so that telemetry is off

# isort: split
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from protocols.carrier.journal import Journal

DIRECTORY, NAMES, PORT = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
app = ClientApp()


@app.query("stats")
def stats(message: Message, context: Context) -> Message:
    told = message.content["told"]
    time.sleep(float(told.get("sleep", 0.0)))
    if told.get("boom"):
        raise RuntimeError("secret row 42")
    with open(DIRECTORY / f"{context.node_config['party']}.calls", "a") as file:
        file.write("call\n")
    calls = int(context.state["n"]["calls"]) + 1 if "n" in context.state else 1
    context.state["n"] = MetricRecord({"calls": calls})
    about = {"party": str(context.node_config["party"]), "once": os.urandom(8).hex()}
    reply = RecordDict({"m": MetricRecord({"calls": calls}), "c": ConfigRecord(about)})
    if "array" in message.content.array_records:
        reply["array"] = message.content.array_records["array"]
    return Message(reply, reply_to=message)


async def attend(name: str, stop: asyncio.Event) -> None:
    def file(name: str) -> bytes:
        return (DIRECTORY / name).read_bytes()

    journal = Journal(DIRECTORY / f"{name}.db")
    attendant = Attendant(
        room="room-1",
        party=name,
        address=f"localhost:{PORT}",
        ca_pem=file("ca.pem"),
        key_pem=file(f"{name}.key"),
        cert_pem=file(f"{name}.pem"),
        signing=Ed25519PrivateKey.from_private_bytes(file(f"{name}.sign")),
        coordinator=Ed25519PrivateKey.from_private_bytes(file("coordinator.sign")).public_key(),
        journal=journal,
        answer=client_handler(app, {"party": name}),
    )
    await attendant.run(stop)
    journal.close()


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.gather(*(attend(name, stop) for name in NAMES))


if __name__ == "__main__":
    asyncio.run(main())
