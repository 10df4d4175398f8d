"""How many new records a second one core takes in: one process, no socket, no disk.

    taking_in.py TASK                  prints {figure: records a second}

Only the work counts by the process's own clock: what a peer may cost is limited, so the fabric's
time goes on between two frames as fast as that takes. Records are new each time, signed before.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field

from fabric.core import gossip_events as told
from fabric.core.clocks import Floor, Times
from fabric.core.codec.envelopes import unpack_envelope
from fabric.core.directory import Directory
from fabric.core.frames import Frame
from fabric.core.gossip import Gossip
from fabric.core.identity import NodeId
from fabric.core.records import NodeRecord
from fabric.core.trust import Trust
from fabric.core.verdicts import Accepted
from fabric.testing.records import BORN, AFabric
from tests.bench.cold_disk import RECORDS, some_records

PEERS = 8
"""Links that a node has in a fleet above the size of a full mesh."""
IN_A_FRAME = 8
PATIENCE = 600.0
"""Seconds of the fabric's time for two nodes to hold the same."""


def judged() -> float:
    """The bare judge: unpacked, its signature verified, decoded, found to be by who may say it."""
    fabric, packed = made()
    trust = Trust(fabric.id, fabric.signed(fabric.root()))
    keys: dict[str, bytes] = {}
    now, accepted, started = Times(local=BORN + 1), 0, time.process_time()
    for each in packed:
        match trust.judge(unpack_envelope(each), now, key_of=keys.get):
            case Accepted(record=NodeRecord() as node):
                keys[node.node_id] = node.key_bytes
                accepted += 1
            case Accepted():
                accepted += 1
    return rate(accepted, time.process_time() - started)


def by_wave() -> float:
    """Waves from eight peers, taken in and passed on to the others of them."""
    fabric, packed = made()
    node = ANode(fabric, "here")
    peers = [NodeId(f"peer-{number}") for number in range(PEERS)]
    for peer in peers:
        node.say(told.PeerUp(peer, area="home", compares=False))
    node.spent = 0.0
    for number, start in enumerate(range(0, len(packed), IN_A_FRAME)):
        items = tuple(
            (each, 4, number.to_bytes(8, "big"), 20) for each in packed[start:][:IN_A_FRAME]
        )
        node.say(told.HeardRecords(peers[number % PEERS], items))
        node.pass_time()
    return rate(len(node.directory) - 1, node.spent)


def by_page() -> float:
    """Anti-entropy with one peer that holds everything, from nothing until both hold the same."""
    fabric, packed = made()
    full, empty = ANode(fabric, "full"), ANode(fabric, "empty")
    for each in packed:
        full.say(told.Published(unpack_envelope(each)))
    empty.say(told.PeerUp(full.name, area="home"))
    full.say(told.PeerUp(empty.name, area="home", compares=False))
    began = full.now
    while full.gossip.root() != empty.gossip.root():
        carry(empty, full)
        carry(full, empty)
        for node in (full, empty):
            node.now = max(full.now, empty.now) + 0.05
            node.say(told.Ticked())
        empty.say(told.HeardRoot(full.name, full.gossip.root()))
        if full.now - began > PATIENCE:
            raise SystemExit(f"{len(empty.directory)} records came in {PATIENCE:.0f} s")
    return rate(len(empty.directory) - 1, empty.spent)


@define(eq=False)
class ANode:
    """The core of a node's gossip, what it has cost, and what it wants to say."""

    fabric: AFabric
    name: NodeId = field(converter=NodeId)
    now: float = field(init=False, default=1000.0)
    spent: float = field(init=False, default=0.0)
    """Seconds of the processor."""
    frames: list[Frame] = field(init=False, factory=list)
    """For its sync stream."""
    directory: Directory = field(init=False, factory=Directory)
    gossip: Gossip = field(init=False)

    @gossip.default
    def _core(self) -> Gossip:
        return Gossip(
            self.name,
            directory=self.directory,
            trust=Trust(self.fabric.id, self.fabric.signed(self.fabric.root())),
            floor=Floor.opened(BORN + 1.0),
            rng=random.Random(self.name),
        )

    def say(self, event: told.Event) -> None:
        moment, began = told.Moment(self.now, BORN + 1.0), time.process_time()
        effects = self.gossip.receive(event, moment)
        self.spent += time.process_time() - began
        for effect in effects:
            match effect:
                case told.SendSync(_, frame):
                    self.frames.append(frame)
                case told.Pause(_, _, until):
                    self.now = max(self.now, until)
                case told.Refused(code, detail):
                    raise SystemExit(f"{code.label}: {detail}")

    def pass_time(self) -> None:
        """Let pass what a peer's allowance of a frame takes to fill again, and what is due go."""
        self.now += 0.03
        self.say(told.Ticked())


def carry(sender: ANode, taker: ANode) -> None:
    """Let all that *sender* has said on the sync stream come to *taker*."""
    while sender.frames:
        frames, sender.frames = sender.frames, []
        for frame in frames:
            taker.now = max(taker.now, sender.now)
            taker.say(told.HeardSync(sender.name, frame))
        sender.say(told.SyncWritten(taker.name))


def made() -> tuple[AFabric, Sequence[bytes]]:
    """A fabric and its records as they travel, each node's own before what it says of itself."""
    fabric = AFabric()
    return fabric, [each.packed for each in some_records(fabric)]


def rate(taken: int, seconds: float) -> float:
    if taken != RECORDS:
        raise SystemExit(f"{taken} records of {RECORDS} were taken")
    return taken / seconds


TASKS: Mapping[str, Callable[[], float]] = {
    "records.judged": judged,
    "records.by_wave": by_wave,
    "records.by_page": by_page,
}

if __name__ == "__main__":
    match sys.argv[1:]:
        case [task] if task in TASKS:
            print(json.dumps({task: TASKS[task]()}))
        case _:
            sys.exit(__doc__)
