"""The registry plane: which services there are, told by what happens and answered from memory.

Everything that is asked here is answered at once. The plane itself looks at what time changes,
once a second, and sends probes to the services that are core or asked for.

A probe is a channel like any other, to one instance and over its link: ``Open``, ``Accepted``,
then our end of it, with no byte sent and none read. It shows the whole way, backend included, and
costs the backend one connection that ends as it began: cleanly. Users' channels prove as much,
and while there are any no probe is sent.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NoReturn, TypeAlias

import structlog
import trio
from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.access import Subject
from fabric.core.identity import NodeId, NodeName
from fabric.core.offers import Terms
from fabric.core.planes import Planes
from fabric.core.records import Key, NodeRecord, ServiceRecord
from fabric.core.registry import Registry
from fabric.core.registry_events import (
    Effect,
    Event,
    Failed,
    ProbeWanted,
    Proved,
    Recorded,
    ServiceChanged,
    Serving,
    Shunned,
    Sought,
    Status,
    Ticked,
    Turned,
)
from fabric.core.registry_report import runtime_report, service_report
from fabric.core.resolution import Resolution
from fabric.core.views import DirectoryView, LivenessView, Reach
from fabric.errors import RefusedError
from fabric.runtime.beat import next_beat
from fabric.runtime.events import EventBus

log = structlog.get_logger()

PLANE: Final = "registry"

PROBE_WITHIN: Final = 5.0
"""Seconds for a probe, dialling included: what a user's channel has too. Must be less than the
spacing of probes, by which the core counts those that are out."""

SEEK_AGAIN: Final = 20.0
"""Seconds after which a watcher that waits says anew that it cares: three times in the minute for
which a service is probed once asked for."""

Probe: TypeAlias = Callable[[str, NodeId, float], Awaitable[float]]
"""Opens a channel to a service at that very node, ends it, and returns the seconds that the yes
took. Raises :exc:`RefusedError`, at the latest when as many seconds as it was given are over."""


def _nobody() -> None:
    """Be called for nobody."""


@frozen(kw_only=True)
class ServiceState:
    """A service at one moment. What a watcher is told."""

    service: str
    status: Status
    instances: tuple[NodeName, ...]
    """The nodes that may be asked for it, sorted by name."""
    reason: Code | None = field(eq=False)
    """Why it is not active; ``None`` if it is."""


class RegistryPlane:
    """What the other planes tell the registry and ask of it. Nothing but :meth:`run` waits."""

    def __init__(
        self,
        *,
        me: NodeId,
        readings: DirectoryView,
        liveness: LivenessView,
        reach: Reach,
        rng: random.Random,
        events: EventBus,
        planes: Planes,
    ) -> None:
        self.core = Registry(me, readings, liveness, reach, rng)
        self._events = events
        self._planes = planes
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._probe: Probe | None = None
        self._review: Callable[[], None] = _nobody

    @property
    def me(self) -> NodeId:
        return self.core.me

    # -- what happens --
    def changed(self, key: Key) -> None:
        """Look anew at what is held at *key*."""
        self._receive(Recorded(key))
        if key.kind == ServiceRecord.KIND or key == (NodeRecord.KIND, self.me):
            self._review()

    def turned(self, node: NodeId, _state: object = None) -> None:
        """Look anew at what liveness says of *node*: it knows already."""
        self._receive(Turned(node))

    def serving(self, services: tuple[str, ...]) -> None:
        """Go by *services* for what this node offers, from now on."""
        self._receive(Serving(services))

    def shunned(self, node: NodeId, code: Code, seconds: float) -> None:
        """Use no offer of *node* for *seconds*."""
        self._receive(Shunned(node, code, seconds))

    def proved(self, service: str, node: NodeId, rtt: float, via: str) -> None:
        """Take it that *service* was opened at *node*: see :class:`Proved`."""
        self._receive(Proved(service, node, rtt, via))

    def failed(self, service: str, node: NodeId, code: Code, via: str) -> None:
        """Take it that *service* could not be opened at *node*."""
        self._receive(Failed(service, node, code, via))

    def sought(self, service: str) -> None:
        """Have *service* probed for a while."""
        self._receive(Sought(service))

    def _receive(self, event: Event) -> None:
        for effect in self.core.receive(event, trio.current_time()):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case ProbeWanted(service, node):
                if self._nursery is not None:
                    self._nursery.start_soon(self._try, service, node)
            case ServiceChanged():
                self._tell(effect)

    def _tell(self, change: ServiceChanged) -> None:
        facts: dict[str, object] = {
            "service": change.service,
            "was": str(change.was),
            "status": str(change.status),
            "reason": self.core.reason(change.service),
            "added": change.added,
            "removed": change.removed,
        }
        if change.was is not change.status:
            log.info("service.changed", **facts)
        self._events.publish("service.changed", **facts)
        self._changed.set()
        self._changed = trio.Event()

    # -- the plane --
    async def run(self, probe: Probe, review: Callable[[], None]) -> NoReturn:
        """Keep the registry in time with the clock, and probe, until cancelled.

        *review* is called whenever :meth:`may_offer` may answer otherwise than before.
        """
        async with trio.open_nursery() as nursery:
            self._nursery, self._probe, self._review = nursery, probe, review
            try:
                while True:
                    self._receive(Ticked())
                    review()  # what expires makes no event
                    self._planes.progressed(PLANE, trio.current_time())
                    await trio.sleep_until(next_beat(trio.current_time()))
            finally:
                self._nursery, self._review = None, _nobody
        raise AssertionError("the loop above has no end")

    async def _try(self, service: str, node: NodeId) -> None:
        assert self._probe is not None
        try:
            rtt = await self._probe(service, node, PROBE_WITHIN)
        except RefusedError as refused:
            self.failed(service, node, refused.code, "probe")
        else:
            self.proved(service, node, rtt, "probe")

    # -- answers --
    def resolve(
        self, service: str, *, client: str | None = None, besides: Collection[NodeId] = ()
    ) -> Resolution:
        """Return whom to ask for *service* now, best first, without those in *besides*."""
        return self.core.resolve(service, trio.current_time(), client=client, besides=besides)

    def objection(self, service: str, opener: Subject, *, client: str | None) -> Code | None:
        """Return what speaks against *opener* opening *service* for *client*, if anything."""
        return self.core.objection(service, opener, client=client)

    def may_offer(self, service: str) -> Code | None:
        """Return what speaks against this node offering *service*, or going on to, if anything."""
        return self.core.may_serve(service)

    def terms(self, service: str) -> Terms | None:
        """Return who may open *service*; ``None`` where no usable record says so."""
        return self.core.terms(service)

    def knows(self, service: str) -> bool:
        """Return whether anything at all is known of *service*."""
        return self.core.knows(service)

    def services(self) -> list[str]:
        """Return every service of which anything is known, sorted."""
        return self.core.services()

    def core_services(self) -> list[str]:
        """Return the services that the fabric cannot do without, sorted."""
        return self.core.core()

    def state_of(self, service: str) -> ServiceState:
        """Return how *service* stands now."""
        return ServiceState(
            service=service,
            status=self.core.status_of(service),
            instances=self.core.instances(service),
            reason=self.core.reason(service),
        )

    def report(self, unix_now: float) -> dict[str, object]:
        """Return ``fabric_registry_runtime_report`` as of now, which is *unix_now*."""
        return runtime_report(self.core, trio.current_time(), unix_now=unix_now)

    def report_of(self, service: str, unix_now: float) -> dict[str, object]:
        """Return the entry of *service* in :meth:`report`."""
        return service_report(self.core, service, trio.current_time(), unix_now=unix_now)

    # -- watching --
    def watch(self, service: str) -> Watch:
        """Return how *service* stands, and will: iterate over it for as long as wanted."""
        return Watch(self, service)

    async def wait_changed(self) -> None:
        """Wait until any service is not what it was."""
        await self._changed.wait()


@define(eq=False)
class Watch:
    """How one service stands: first as it is, then whenever it is another, without end.

    A reader that is slow misses what was in between and never what is. Nothing is kept for it
    anywhere else, so a watch needs no closing.
    """

    _plane: RegistryPlane
    _service: str
    _told: ServiceState | None = field(init=False, default=None)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> ServiceState:
        await trio.lowlevel.checkpoint()
        while True:
            self._plane.sought(self._service)
            state = self._plane.state_of(self._service)
            if state != self._told:
                self._told = state
                return state
            with trio.move_on_after(SEEK_AGAIN):
                await self._plane.wait_changed()
