"""A directory, liveness and links in dictionaries, for tests of what asks them."""

import random
from collections.abc import Iterable
from typing import Any

from fabric.codes import Code
from fabric.core.identity import NodeId
from fabric.core.records import Key, NodeRecord, OffersRecord, Record, ServiceRecord
from fabric.core.registry import Registry
from fabric.core.registry_events import (
    Effect,
    Event,
    Failed,
    Proved,
    Recorded,
    Status,
    Ticked,
    Turned,
)
from fabric.core.registry_report import runtime_report
from fabric.core.verdicts import Standing
from fabric.core.views import Sworn
from fabric.testing.records import AFabric


class ADirectory:
    """Records by key. ``hold`` puts one in, under its standing."""

    def __init__(self) -> None:
        self.held: dict[Key, Sworn] = {}

    def hold(
        self, record: Record, standing: Standing = Standing.LIVE, *, from_cache: bool = False
    ) -> Key:
        self.held[record.key] = Sworn(record, standing, from_cache)
        return record.key

    def drop(self, key: Key) -> Key:
        del self.held[key]
        return key

    def node(self, node: NodeId) -> Sworn[NodeRecord] | None:
        return self.held.get(Key("node", node))

    def service(self, name: str) -> Sworn[ServiceRecord] | None:
        return self.held.get(Key("service", name))

    def offers(self, node: NodeId) -> Sworn[OffersRecord] | None:
        return self.held.get(Key("offers", node))

    def offering(self) -> Iterable[NodeId]:
        return [NodeId(key.subject) for key in self.held if key.kind == "offers"]

    def services(self) -> Iterable[str]:
        return [key.subject for key in self.held if key.kind == "service"]


class ALiveness:
    def __init__(self) -> None:
        self.states: dict[NodeId, str] = {}

    def state_of(self, node: NodeId) -> str | None:
        return self.states.get(node)


class AReach:
    def __init__(self) -> None:
        self.unlinked: set[NodeId] = set()
        self.rtts: dict[NodeId, float] = {}
        self.loads: dict[tuple[NodeId, str], int] = {}

    def is_linked(self, node: NodeId) -> bool:
        return node not in self.unlinked

    def rtt(self, node: NodeId) -> float | None:
        return self.rtts.get(node)

    def load(self, node: NodeId, service: str) -> int:
        return self.loads.get((node, service), 0)


class ARegistry:
    """The registry of ``me``, in a fabric whose records, links and clock a test changes at will.

    Everything that the registry answers is kept in ``effects``.
    """

    def __init__(self, *, seed: int = 1) -> None:
        self.fabric = AFabric()
        self.directory = ADirectory()
        self.liveness = ALiveness()
        self.reach = AReach()
        self.now = 100.0
        self.effects: list[Effect] = []
        self.me = self.fabric.node_id("me")
        self.registry = Registry(
            self.me, self.directory, self.liveness, self.reach, random.Random(seed)
        )
        self.node("me", roles=("ingress",))

    def say(self, event: Event) -> list[Effect]:
        effects = self.registry.receive(event, self.now)
        self.effects += effects
        return effects

    def hold(
        self, record: Record, standing: Standing = Standing.LIVE, **how: bool
    ) -> list[Effect]:
        return self.say(Recorded(self.directory.hold(record, standing, **how)))

    def node(self, name: str, standing: Standing = Standing.LIVE, **fields: Any) -> NodeId:
        """Let there be the node *name*, alive."""
        record = self.fabric.node(name, **fields)
        self.liveness.states.setdefault(record.node_id, "alive")
        self.hold(record, standing)
        return record.node_id

    def service(
        self, name: str = "demo", standing: Standing = Standing.LIVE, **fields: Any
    ) -> None:
        self.hold(self.fabric.service(name, **fields), standing)

    def offer(
        self, name: str, *services: str, standing: Standing = Standing.LIVE, **fields: Any
    ) -> NodeId:
        """Let the node *name*, which there may not have been, offer *services*."""
        node = self.fabric.node_id(name)
        if self.directory.node(node) is None:
            self.node(name)
        self.hold(self.fabric.offers(name, *services, **fields), standing)
        return node

    def turn(self, node: NodeId, state: str) -> list[Effect]:
        self.liveness.states[node] = state
        return self.say(Turned(node))

    def prove(self, node: NodeId, service: str = "demo", via: str = "channel") -> list[Effect]:
        return self.say(Proved(service, node, 0.012, via))

    def fail(
        self, node: NodeId, service: str = "demo", code: Code = Code.BACKEND_REFUSED
    ) -> list[Effect]:
        return self.say(Failed(service, node, code))

    def after(self, seconds: float) -> list[Effect]:
        """Let time pass, with a tick every second; return what came of it."""
        effects: list[Effect] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            effects += self.say(Ticked())
        return effects

    def status(self, service: str = "demo") -> Status:
        return self.registry.status_of(service)

    def order(self, service: str = "demo", **how: Any) -> list[str]:
        """Return whom to ask, by name, best first."""
        resolution = self.registry.resolve(service, self.now, **how)
        return [each.name for each in resolution.instances]

    def code(self, service: str = "demo", **how: Any) -> Code | None:
        return self.registry.resolve(service, self.now, **how).code

    def report(self) -> dict[str, Any]:
        return runtime_report(self.registry, self.now, unix_now=self.fabric.now)
