"""The demo in containers: what `make compose-demo` does. docs/containers.md says what each step shows.

    python examples/complete_journey/compose.py [--home .compose/room] [--keep]

1. build the images                             6. launch the plan
2. make the room's keys, settings and data      7. the auditor checks the bundle, without a network
3. each company registers, without a network    8. stop all, start all: nothing is lost, nothing is spent again
4. start, until all are connected               9. stop all
5. look at each container from inside
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import cut
import engine as engines
import room

from protocols.errors import RoundEnded, SumroomError

HERE = Path(__file__).resolve().parent
PROJECT = "sumroom-demo"  # not the compose file's own name: this removes its volumes, and must remove nobody else's
PORT = 7443
START_S = 90
EDITS = {  # from the settings of one machine to those of a container
    '"127.0.0.1"': '"0.0.0.0"',
    '"localhost:': '"coordinator:',
    '"../': '"',
    '"keys/tls-certificate.pem"': '"tls-certificate.pem"',
    '"keys/': '"/run/secrets/',
    '"state"': '"/state"',
    '"accounts.db"': '"/accounts/accounts.db"',
    '"data/': '"../data/',
}
NET = os.environ.get("SUMROOM_NET", "10.201.77")
# Last numbers of the addresses in docker-compose.yml: a network's gateway, then the coordinator in it, then its party.
GATEWAYS = {"front": 1, "convenience": 9, "drugstore": 17, "grocer": 25}
OUTSIDE = "192.0.2.1"  # RFC 5737: belongs to nobody; what counts is that there is no way to it
READ_ONLY = ("/", "/etc", "/usr", "/opt/sumroom", "/config", "/data", "/run/secrets")
NO_CAPABILITY = "0" * 16
LIMITS = {"memory": str(2 << 30), "pids": "256"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--home", type=Path, default=engines.TOP / ".compose" / "room", help="where keys, settings and results go"
    )
    parser.add_argument("--keep", action="store_true", help="keep the volumes at the end; the next run starts afresh")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        _run(arguments.home.resolve(), arguments.keep)
    except SumroomError as exc:
        print(exc.diagnostics(), file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("error: interrupted\nhint: make compose-demo starts afresh", file=sys.stderr)
        return 130
    return 0


def _run(home: Path, keep: bool) -> None:
    began, owner = time.monotonic(), engines.owner()
    engine = engines.find(PROJECT, {"SUMROOM_HOME": str(home), "SUMROOM_OWNER": str(owner)})
    _say(f"building the images with {engine.program}")
    engine.build(owner)
    engine.tries("down", "--volumes")  # what an interrupted demo left behind
    ready = time.monotonic()
    _prepare(home, owner)
    try:
        _demo(engine, home)
    finally:
        (home / "containers.log").write_text(engine.tries("logs").stdout, "utf-8")
        _say("stopping all" + ("; volumes stay" if keep else ""))
        engine.tries("down", *([] if keep else ["--volumes"]))
    took = time.monotonic()
    _say(f"done in {took - began:.0f} s, {ready - began:.0f} of them building: open {_shown(home)}/results/report.html")


def _demo(engine: engines.Engine, home: Path) -> None:
    for company in room.COMPANIES:
        _say(f"{company} registers its data, in a container without a network")
        _show(engine.compose("--profile", "register", "run", "--rm", "-T", f"{company}-register"))
    _say("starting coordinator and nodes")
    _up(engine)
    _say("looking at each container from inside")
    check_containers(engine)
    _say("the coordinator launches the plan")
    _show(_launch(engine))
    _say("the auditor checks the bundle, in a container without a network")
    _show(_audit(engine))
    before = _state(engine)
    _say("stopping all, starting all, launching the same plan again")
    engine.compose("down")
    _up(engine)
    _show(_launch(engine))
    after = _state(engine)
    # One entry more at most: that the plan was asked for again (`reuse`).
    if after["budgets"] != before["budgets"] or not 0 <= after["entries"] - before["entries"] <= 1:
        raise RoundEnded(f"state was not kept: {before} became {after}", f"see {_shown(home)}/containers.log")
    print(f"  as before: every budget; {before['entries']} ledger entries, and {after['entries']} now", flush=True)


# -- the room ----------------------------------------------------------------------------------------------------------


def _prepare(home: Path, owner: int) -> None:
    """Below `home`, for each role: config/, secrets/ and, of a company, data/; and results/ of the coordinator."""
    _say("making the room, and cutting the households' baskets into three companies")
    room.make(home, PORT, hosts=("coordinator", *room.HOSTS), edits=EDITS)
    cut.cut(home / "cut")
    for name in ("coordinator", *room.COMPANIES):
        config, keys = home / name / "config", home / name / "keys"
        config.mkdir()
        for file in [*(home / name).glob("*.toml"), keys / "tls-certificate.pem"]:
            file.rename(config / file.name)
        for shared in (home / "room.toml", home / "authority.pem", HERE / "plan.toml"):
            shutil.copyfile(shared, config / shared.name)
        keys.rename(home / name / "secrets")
        if name in room.COMPANIES:
            (home / "cut" / name).rename(home / name / "data")
    (home / "results").mkdir()
    if os.getuid() == 0:
        for path in home.rglob("*"):
            os.chown(path, owner, owner)


# -- what runs ---------------------------------------------------------------------------------------------------------


def _up(engine: engines.Engine) -> None:
    """Start all, and wait until each says of itself that it is well. Raises RoundEnded with what it said otherwise."""
    began = time.monotonic()
    engine.compose("up", "--detach", "--no-build")
    for service in ("coordinator", *room.COMPANIES):
        tool, settings = ("coordinator", "coordinator.toml") if service == "coordinator" else ("party", "node.toml")
        health = ("exec", "-T", service, f"sumroom-{tool}", "health", "--config", f"/config/{settings}")
        while (said := engine.tries(*health)).returncode:
            if time.monotonic() - began > START_S:
                last = engine.tries("logs", service).stdout.strip().splitlines()[-4:]
                raise RoundEnded("\n".join([f"{service} is not well after {START_S} s; it said last:", *last]))
            time.sleep(0.5)
        print(f"  {service}: {said.stdout.strip()}", flush=True)


def _launch(engine: engines.Engine) -> str:
    return engine.inside(
        "coordinator", "sumroom-coordinator", "plan", "launch", "/config/plan.toml",
        "--config", "/config/coordinator.toml", "--out", "/results", "--quiet",
    )  # fmt: skip


def _audit(engine: engines.Engine, *options: str) -> str:
    command = ("verify", "/results/room.tar", "--policy", "/results/policy.txt", *options)
    return engine.compose("--profile", "audit", "run", "--rm", "-T", "auditor", *command)


def _state(engine: engines.Engine) -> dict[str, Any]:
    """What must outlive a container: the ledger, as the auditor sees it, and every party's budget."""
    findings = json.loads(_audit(engine, "--json"))
    status = ("sumroom-party", "status", "--config", "/config/node.toml", "--json")
    budgets = {company: json.loads(engine.inside(company, *status)) for company in room.COMPANIES}
    return {"entries": findings["entries"], "root": findings["root"], "budgets": budgets}


# -- what they look like from inside -----------------------------------------------------------------------------------


def check_containers(engine: engines.Engine) -> None:
    """Raise RoundEnded for a container that may do, hold or reach more than it should."""
    for service in ("coordinator", *room.COMPANIES):
        reach = {} if service == "coordinator" else expected_reach(service)
        asked = {
            "write": [*READ_ONLY, "/tmp", "/state"],
            "dial": list(reach),
            "names": [other for other in room.COMPANIES if service not in (other, "coordinator")],
        }
        probe = (HERE / "probe.py").read_text("utf-8")
        found = json.loads(engine.inside(service, "python", "-c", probe, json.dumps(asked)))
        if problems := judge(service, found, reach):
            raise RoundEnded(f"the container of {service} is not what it should be: {'; '.join(problems)}")
        reached = "" if not reach else f"; reaches the coordinator and none of {len(reach) - 1} other addresses"
        print(f"  {service}: uid {found['uid']}, no capability, root read-only{reached}", flush=True)


def expected_reach(party: str) -> dict[str, str]:
    """Addresses that a party tries: `open` for the one that it may reach, `closed` or `unreachable` for the others.

    closed: an address of its own network, where somebody may answer that nothing listens (the host, in Docker).
    """
    reach = {f"coordinator:{PORT}": "open", f"{NET}.{GATEWAYS[party]}:{PORT}": "closed"}
    for network, gateway in GATEWAYS.items():
        if network != party:
            others = (gateway, gateway + 1, gateway + 2)
            reach |= {f"{NET}.{other}:{PORT}": "unreachable" for other in others}
    return reach | {f"{OUTSIDE}:443": "unreachable"}


def judge(service: str, found: dict[str, Any], reach: dict[str, str]) -> list[str]:
    """What is wrong with what a probe found."""
    status, role = found["status"], "coordinator" if service == "coordinator" else "party"
    wrong = [f"{name} is {status[name]}" for name in status if name.startswith("Cap") and status[name] != NO_CAPABILITY]
    rules = {
        "it runs as root": found["uid"] == 0 or found["gid"] == 0,
        "it can gain privileges": status["NoNewPrivs"] != "1",
        "no system call is filtered": status["Seccomp"] != "2",
        f"its limits are {found['limits']}": found["limits"] != LIMITS,
        "it may write core files": found["core"] != 0,
        "its root can be written to": found["root"] != "ro",
        f"it can write to {found['writable']}": sorted(found["writable"]) != ["/state", "/tmp"],
        f"others can read {found['loose']}": bool(found["loose"]),
        f"it holds the files {found['rows']}": bool(found["rows"]),
        f"it can look up {found['names']}": bool(found["names"]),
        f"it has the programs {found['programs']}": not _own(found["programs"], role),
    }
    wrong += [what for what, is_so in rules.items() if is_so]
    for (address, wanted), seen in zip(reach.items(), found["dial"], strict=True):
        if not (seen == wanted or (wanted == "closed" and seen != "open")):
            wrong.append(f"{address} is {seen} from it, not {wanted}")
    return wrong


def _own(programs: list[str], role: str) -> bool:
    others = {name for name in programs if not name.startswith("python")}
    return others == {f"sumroom-{role}", "sumroom-audit"}


def _interrupted(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _show(text: str) -> None:
    print("\n".join(f"  {line}".rstrip() for line in text.strip().splitlines()), flush=True)


def _say(text: str) -> None:
    print(f"— {text}", flush=True)


def _shown(path: Path) -> str:
    """A path as a person standing here would write it."""
    return os.path.relpath(path)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
