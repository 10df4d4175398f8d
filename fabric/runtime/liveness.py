"""The liveness plane: probes and rumours between links and the core, and who hears what turned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NoReturn, Protocol

import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core import liveness_events as told
from fabric.core.frames import Frame
from fabric.core.identity import NodeId
from fabric.core.liveness import Liveness
from fabric.core.planes import Planes
from fabric.core.readings import Readings
from fabric.core.records import Key, NodeRecord
from fabric.runtime.beat import next_beat
from fabric.runtime.events import EventBus
from fabric.runtime.in_turn import InTurn
from fabric.runtime.metrics import Metrics
from fabric.runtime.timer import Timer

log = structlog.get_logger()

PLANE: Final = "liveness"

BARRED_FOR: Final = 600.0
"""Seconds for which whoever passed on a forged signature is kept out: as for forged records."""


class Outward(Protocol):
    """Where frames leave this node. Nothing in it waits."""

    def post(self, to: NodeId, frame: Frame) -> bool: ...
    def bar(self, node: NodeId, code: Code, until: float) -> None: ...


@define(eq=False, kw_only=True)
class LivenessPlane:
    """Who is there, as this node sees it. :meth:`run` keeps it; nothing else in it waits."""

    core: Liveness
    readings: Readings
    events: EventBus
    metrics: Metrics
    planes: Planes
    outward: Outward = field(init=False)
    root_heard: Callable[[NodeId, bytes], None] = field(init=False)
    """Told of the digest that rode on a peer's probe."""
    turned: list[Callable[[NodeId, told.State], None]] = field(init=False, factory=list)
    """Called, in order, when the state of a node turns."""
    _timer: Timer = field(init=False, factory=Timer)
    _turns: InTurn[told.Event] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._turns = InTurn(self._take)

    # -- in --
    def changed(self, key: Key) -> None:
        """Take what the directory says of a node now."""
        if key.kind != NodeRecord.KIND:
            return
        node = NodeId(key.subject)
        sworn = self.readings.member(node)
        if sworn is not None and sworn.standing.admits:
            self.receive(told.Joined(node, sworn.record.area))
        else:
            self.receive(told.Struck(node))

    def receive(self, event: told.Event) -> None:
        """Let the core take *event*, and carry out what follows; after the one at hand, if any."""
        self._turns.put(event)

    def _take(self, event: told.Event) -> None:
        self._carry_out(self.core.receive(event, trio.current_time()))

    def leave(self) -> None:
        """Say that this node goes; what that puts in outboxes has to leave before the links do."""
        self.receive(told.Leaving())

    async def run(self) -> NoReturn:
        """Let time pass for the core, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timer.run, self._tick)
            self._tick()
            while True:
                self.planes.progressed(PLANE, trio.current_time())
                await trio.sleep_until(next_beat(trio.current_time()))
        raise AssertionError("unreachable")

    def _tick(self) -> None:
        self.receive(told.Ticked())

    # -- out --
    def _carry_out(self, effects: Iterable[told.Effect]) -> None:
        for effect in effects:
            match effect:
                case told.Tell(peer, frame):
                    self.outward.post(peer, frame)
                case told.Turned(node, state, reason):
                    self._turn(node, state, reason)
                case told.RootHeard(peer, root):
                    self.root_heard(peer, root)
                case told.Forged(peer, subject):
                    log.error("liveness.forged", peer=peer, subject=subject)
                    until = trio.current_time() + BARRED_FOR
                    self.outward.bar(peer, Code.FORGED, until)
                case told.Wake(at):
                    self._timer.set(at)

    def _turn(self, node: NodeId, state: told.State, reason: told.Reason) -> None:
        sworn = self.readings.member(node)
        name = sworn.record.name if sworn is not None else node
        log.info("member.turned", member=name, state=state.value, reason=reason.value)
        self.events.publish("member.turned", member=name, state=state.value, reason=reason.value)
        self.metrics.members_turned.add(state.value)
        for tell in self.turned:
            tell(node, state)
