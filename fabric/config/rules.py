"""What has to hold between the tables of one configuration, as sentences for whoever broke it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

from attrs import frozen

from fabric.core.identity import INGRESS

Part: TypeAlias = dict[str, Any]
"""The settings of one table by attribute name. A setting that could not be read is absent, so a
rule that needs it keeps silent: its mistake has been told already."""


@frozen
class Parts:
    """All tables of one file."""

    node: Part
    quic: Part
    admin: Part
    log: Part
    peers: Sequence[Part]
    services: Mapping[str, Part]
    listeners: Sequence[Part]


def mistakes_between(parts: Parts, public_key: bytes | None) -> Iterator[str]:
    """Each broken rule as "place: what is wrong; remedy". *public_key* is the node's own."""
    yield from _repeated_names(parts)
    yield from _repeated_keys(parts, public_key)
    yield from _listeners_without_role(parts)
    for index, listener in enumerate(parts.listeners):
        yield from _unfit_service(f"listeners[{index}].service", listener, parts.services)
    yield from _shared_ports(parts.listeners)


def _repeated_names(parts: Parts) -> Iterator[str]:
    first = {parts.node.get("name"): "node.name"}
    for index, peer in enumerate(parts.peers):
        place = f"peers[{index}].name"
        if "name" in peer and (other := first.setdefault(peer["name"], place)) != place:
            yield f"{place}: {peer['name']} is {other} too; give each node a name of its own"


def _repeated_keys(parts: Parts, public_key: bytes | None) -> Iterator[str]:
    first = {public_key: "node.key"}
    for index, peer in enumerate(parts.peers):
        place = f"peers[{index}].public_key"
        if (
            "public_key" in peer
            and (other := first.setdefault(peer["public_key"], place)) != place
        ):
            yield (
                f"{place}: is the key of {other} too; "
                "a key is one node's identity: list each node once, this one not at all"
            )


def _listeners_without_role(parts: Parts) -> Iterator[str]:
    if parts.listeners and INGRESS not in parts.node.get("roles", {INGRESS}):
        yield f'listeners: this node is no ingress; add "{INGRESS}" to node.roles, or remove them'


def _unfit_service(place: str, listener: Part, services: Mapping[str, Part]) -> Iterator[str]:
    name = listener.get("service")
    if name is None:
        return
    if name not in services:
        yield f"{place}: no service {name} is known here; add [services.{name}], or correct it"
    elif not services[name].get("edge_exposable", True):
        yield (
            f"{place}: {name} may not be shown outside the fabric; "
            f"set edge_exposable = true in [services.{name}], if that is meant"
        )


def _shared_ports(listeners: Sequence[Part]) -> Iterator[str]:
    places = [(i, part["listen"]) for i, part in enumerate(listeners) if "listen" in part]
    for (first, one), (second, other) in combinations(places, 2):
        if one.overlaps(other):
            yield (
                f"listeners[{second}].listen: {other} is taken by listeners[{first}] ({one}); "
                "give each listener a port of its own"
            )
