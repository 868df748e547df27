"""What is done to a room while it runs a round: each a generator, up to its `yield` before the round, then during it.

A fault ends when it has made everything good again that the keeper does not: the keeper starts again who is dead.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from tests.torture.points import COORDINATOR as COORDINATOR_POINTS
from tests.torture.points import PARTY as PARTY_POINTS
from tests.torture.points import Point
from tests.torture.processes import COORDINATOR, Launch, Room, until

ROUND_S = 3.0  # about what a round takes that nothing is done to


@dataclass
class Scene:
    """One round's fault: where, with what chance, and in words. launch: once it is under way. point: asked for by name.

    before     the rounds that there were
    released   what is done must not cost the round
    wait_s     how long the launch waits for the parties
    """

    room: Room
    random: Random
    point: str | None = None
    launch: Launch = field(default_factory=Launch)
    said: list[str] = field(default_factory=list)
    before: set[str] = field(default_factory=set)
    released: bool = False
    wait_s: float = 20.0

    def party(self) -> str:
        return self.random.choice(self.room.parties)

    def say(self, text: str) -> None:
        self.said.append(text)

    def pause(self, seconds: float) -> None:
        """Wait, and no longer than the launch lasts."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not self.launch.over:
            time.sleep(0.02)

    def at_random(self) -> None:
        """Wait for some moment of the round."""
        self.pause(self.random.uniform(0.0, ROUND_S))

    def until_carried_out(self, name: str) -> bool:
        """Wait until an order has been carried out, or the launch is over; then it is taken back."""
        while self.room.ordered(name) and not self.launch.over:
            time.sleep(0.02)
        done = not self.room.take_back(name)
        if not done:
            self.say("(not reached)")
        return done

    def order(self, points: dict[str, Point], name: str, do: str) -> None:
        """Order something at one of these points, or at the one that was asked for."""
        chosen = self.point or self.random.choice(sorted(points))
        nth = self.random.randint(1, points[chosen].often)
        self.say(f"{name} at {chosen} {nth}")
        self.room.order(name, chosen, nth, do)


Fault = Callable[[Scene], Iterator[None]]


def nothing(scene: Scene) -> Iterator[None]:
    """A round that nothing is done to."""
    scene.released = True
    yield


# -- kill -9 -----------------------------------------------------------------------------------------------------------


def kill_party(scene: Scene) -> Iterator[None]:
    """A party dies at a point; it is back at once, or later than the grace."""
    name = scene.party()
    scene.order(PARTY_POINTS, name, "kill")
    yield
    if scene.until_carried_out(name):
        late = scene.random.choice((0.0, 0.0, 0.5, 3.0))
        scene.say(f"back after {late:g} s")
        time.sleep(late)


def kill_coordinator(scene: Scene) -> Iterator[None]:
    """The coordinator dies at a point; it is back at once, later, or after the round's deadline."""
    scene.order(COORDINATOR_POINTS, COORDINATOR, "kill")
    yield
    if scene.until_carried_out(COORDINATOR):
        late = scene.random.choice((0.0, 0.0, 0.5, 3.0, scene.room.made.plan.deadline_s + 1.0))
        if late > scene.room.made.plan.deadline_s and scene.random.random() < 0.7:  # rarely: it takes its time
            late = 1.0
        scene.say(f"back after {late:g} s")
        time.sleep(late)


def kill_both(scene: Scene) -> Iterator[None]:
    """A party and the coordinator die in the same round, each at a point of its own, and are back at once."""
    name = scene.party()
    scene.point = None
    scene.order(PARTY_POINTS, name, "kill")
    scene.order(COORDINATOR_POINTS, COORDINATOR, "kill")
    yield
    _while_it_lasts(scene, (name, COORDINATOR))


def kill_again(scene: Scene) -> Iterator[None]:
    """A process dies at a point, comes back, and dies once more at another."""
    name = scene.random.choice((scene.party(), COORDINATOR, COORDINATOR))
    points = COORDINATOR_POINTS if name == COORDINATOR else PARTY_POINTS
    scene.order(points, name, "kill")
    yield
    if scene.until_carried_out(name):
        scene.point = None
        until(lambda: not scene.room.alive(name), 5.0)
        scene.order(points, name, "kill")
        scene.room.start(name)
        _while_it_lasts(scene, (name,))


def _while_it_lasts(scene: Scene, names: tuple[str, ...]) -> None:
    """Start again who dies, until all orders are carried out, or the round cannot last any longer."""
    ends = time.monotonic() + 6.0
    while any(map(scene.room.ordered, names)) and time.monotonic() < ends:
        for name in scene.room.dead():
            time.sleep(scene.random.choice((0.0, 0.3)))
            scene.room.start(name)
        time.sleep(0.02)
        if scene.launch.over and scene.launch.outcome[0] != "gone":
            break
    for name in names:
        if scene.room.take_back(name):
            scene.say(f"({name} did not reach it)")


def kill_somewhen(scene: Scene) -> Iterator[None]:
    """One or two processes die at any moment."""
    names = scene.random.sample(scene.room.names, scene.random.choice((1, 1, 2)))
    scene.say(" and ".join(names))
    yield
    for name in names:
        scene.at_random()
        if scene.room.alive(name):
            scene.room.signal(name, signal.SIGKILL)


def kill_all(scene: Scene) -> Iterator[None]:
    """The power fails: everything dies at one moment."""
    yield
    scene.at_random()
    for name in scene.room.names:
        scene.room.signal(name, signal.SIGKILL)


def terminate(scene: Scene) -> Iterator[None]:
    """Somebody restarts a process in an orderly way, in the middle of a round."""
    name = scene.random.choice(scene.room.names)
    scene.say(name)
    yield
    scene.at_random()
    scene.room.members[name].killed = True
    scene.room.signal(name, signal.SIGTERM)
    ends = time.monotonic() + 10
    while scene.room.alive(name) and time.monotonic() < ends:
        time.sleep(0.02)


def absent(scene: Scene) -> Iterator[None]:
    """A party is not there when a round is asked for."""
    name = scene.party()
    scene.say(name)
    scene.room.signal(name, signal.SIGKILL)
    scene.wait_s = 1.0
    yield
    while not scene.launch.over:
        time.sleep(0.02)


# -- frozen ------------------------------------------------------------------------------------------------------------


def freeze(scene: Scene) -> Iterator[None]:
    """A process stops, at a point, and goes on some seconds later."""
    name = scene.random.choice((scene.party(), scene.party(), COORDINATOR))
    scene.order(COORDINATOR_POINTS if name == COORDINATOR else PARTY_POINTS, name, "stop")
    yield
    if scene.until_carried_out(name):
        time.sleep(scene.random.choice((0.5, 2.0, 4.0)))
    scene.room.signal(name, signal.SIGCONT)


# -- the network -------------------------------------------------------------------------------------------------------


def cut(scene: Scene) -> Iterator[None]:
    """A connection breaks once; or everybody's."""
    names = scene.random.choice(([scene.party()], list(scene.room.parties)))
    scene.say(", ".join(names))
    yield
    scene.at_random()
    for name in names:
        scene.room.proxies[name].cut()


def flap(scene: Scene) -> Iterator[None]:
    """A connection breaks again and again."""
    name, every = scene.party(), scene.random.choice((0.15, 0.5, 1.2))
    scene.say(f"{name} every {every:g} s")
    yield
    scene.at_random()
    for _ in range(int(4 / every)):
        scene.room.proxies[name].cut()
        scene.pause(every)


def apart(scene: Scene) -> Iterator[None]:
    """A party cannot reach the coordinator for some seconds."""
    name, seconds = scene.party(), scene.random.choice((0.5, 2.0, 5.0))
    scene.say(f"{name} for {seconds:g} s")
    yield
    scene.at_random()
    scene.room.proxies[name].refused = True
    scene.room.proxies[name].cut()
    scene.pause(seconds)
    scene.room.proxies[name].heal()


def stall(scene: Scene) -> Iterator[None]:
    """A black hole: nothing arrives, nothing is closed."""
    name, seconds = scene.party(), scene.random.choice((0.5, 3.0, 6.0))
    scene.say(f"{name} for {seconds:g} s")
    yield
    scene.at_random()
    scene.room.proxies[name].stalled = True
    scene.pause(seconds)
    scene.room.proxies[name].heal()


def delay(scene: Scene) -> Iterator[None]:
    """Every byte of a party, or of all, takes its time."""
    names = scene.random.choice(([scene.party()], list(scene.room.parties)))
    seconds = scene.random.choice((0.02, 0.1, 0.2))
    scene.say(f"{', '.join(names)} by {seconds:g} s")
    for name in names:
        scene.room.proxies[name].delay = seconds
    yield
    while not scene.launch.over:
        time.sleep(0.05)
    for name in names:
        scene.room.proxies[name].heal()


def trickle(scene: Scene) -> Iterator[None]:
    """A party's connection is slow."""
    name, rate = scene.party(), scene.random.choice((300, 2000, 10_000))
    scene.say(f"{name} at {rate} B/s")
    yield
    scene.at_random()
    scene.room.proxies[name].rate = rate
    scene.pause(6.0)
    scene.room.proxies[name].heal()


def twice(scene: Scene) -> Iterator[None]:
    """A message is sent a second time: a reply by a party, a request by the coordinator."""
    scene.released = True
    for name in (scene.party(), COORDINATOR):
        point = "c-send-before" if name == COORDINATOR else "send-before"
        nth = scene.random.randint(1, 12)
        scene.say(f"{name} its message {nth}")
        scene.room.order(name, point, nth, "twice")
    yield
    while not scene.launch.over:
        time.sleep(0.05)
    for name in scene.room.names:
        scene.room.take_back(name)


# -- the disk ----------------------------------------------------------------------------------------------------------


def full_disk(scene: Scene) -> Iterator[None]:
    """A disk is full from a point on, and has room again some seconds later."""
    name = scene.random.choice((scene.party(), COORDINATOR))
    scene.order(COORDINATOR_POINTS if name == COORDINATOR else PARTY_POINTS, name, "full")
    yield
    if scene.until_carried_out(name):
        scene.pause(scene.random.choice((0.5, 3.0)))
        if scene.random.random() < 0.3:
            scene.say("and killed")
            scene.room.signal(name, signal.SIGKILL)
    scene.room.room_on_disk(name)


FAULTS: dict[str, tuple[Fault, int]] = {
    # name → (what is done, how often among all)
    "nothing": (nothing, 4),
    "kill-party": (kill_party, 22),
    "kill-coordinator": (kill_coordinator, 20),
    "kill-both": (kill_both, 4),
    "kill-again": (kill_again, 5),
    "kill-somewhen": (kill_somewhen, 8),
    "kill-all": (kill_all, 4),
    "terminate": (terminate, 4),
    "absent": (absent, 1),
    "freeze": (freeze, 5),
    "cut": (cut, 5),
    "flap": (flap, 3),
    "apart": (apart, 3),
    "stall": (stall, 4),
    "delay": (delay, 3),
    "trickle": (trickle, 3),
    "twice": (twice, 3),
    "full-disk": (full_disk, 6),
}
