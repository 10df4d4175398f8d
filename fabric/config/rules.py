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
    services: Mapping[str, Part]
    listeners: Sequence[Part]


def mistakes_between(parts: Parts) -> Iterator[str]:
    """Each broken rule as "place: what is wrong; remedy"."""
    yield from _listeners_without_role(parts)
    yield from _shared_ports(parts.listeners)


def _listeners_without_role(parts: Parts) -> Iterator[str]:
    if parts.listeners and INGRESS not in parts.node.get("roles", {INGRESS}):
        yield f'listeners: this node is no ingress; add "{INGRESS}" to node.roles, or remove them'


def _shared_ports(listeners: Sequence[Part]) -> Iterator[str]:
    places = [(i, part["listen"]) for i, part in enumerate(listeners) if "listen" in part]
    for (first, one), (second, other) in combinations(places, 2):
        if one.overlaps(other):
            yield (
                f"listeners[{second}].listen: {other} is taken by listeners[{first}] ({one}); "
                "give each listener a port of its own"
            )
