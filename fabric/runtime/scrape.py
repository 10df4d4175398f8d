"""What a scrape shows beyond the tallies: gauges read off a node's snapshot, when asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from attrs import frozen

from fabric.codes import Code

Label: TypeAlias = str | Code
Series: TypeAlias = Mapping[tuple[Label, ...], float]
Snapshot: TypeAlias = Mapping[str, Any]
"""The JSON of ``/v1/snapshot``: its shape is in docs/reference/admin-api.md."""


@frozen
class Family:
    """One metric: all its series at the moment of the scrape."""

    kind: Literal["counter", "gauge"]
    name: str
    """Without the ``_total`` that counters end in."""

    documentation: str
    labels: tuple[str, ...]
    series: Series


def _gauge(name: str, documentation: str, labels: str, series: Series) -> Family:
    return Family("gauge", name, documentation, tuple(labels.split()), series)


def _by(rows: Iterable[Snapshot], label: str, field: str, scale: float = 1.0) -> Series:
    """One series per row that knows *field*; a number that is null is no sample, never 0."""
    return {(row[label],): row[field] * scale for row in rows if row.get(field) is not None}


def gauges_of(snapshot: Snapshot) -> Iterator[Family]:
    """Read every gauge and every driver counter off *snapshot*."""
    yield from _node(snapshot["node"])
    yield from _peers(snapshot["peers"])
    yield from _channels(snapshot["channels"])
    yield from _planes(snapshot["planes"])
    yield from _listeners(snapshot["listeners"])
    for name, value in snapshot["counters"].items():
        yield Family(
            "counter", _metric_name(name), f"Counter {name} of the node.", (), {(): value}
        )


def _node(node: Snapshot) -> Iterator[Family]:
    facts = tuple(str(node[key]) for key in ("name", "id", "area", "release"))
    yield _gauge("fabric_node_info", "Who this node is.", "name id area release", {facts: 1})
    yield _gauge("fabric_node_state", "1 for the state it is in.", "state", {(node["state"],): 1})
    yield _gauge(
        "fabric_node_uptime_seconds", "Seconds since it started.", "", {(): node["uptime_s"]}
    )
    yield _gauge("fabric_node_tasks", "Tasks that live in its process.", "", {(): node["tasks"]})


def _peers(peers: list[Snapshot]) -> Iterator[Family]:
    states = Counter[tuple[Label, ...]]((peer["state"],) for peer in peers)
    yield _gauge("fabric_peers", "Known peers by state.", "state", states)
    yield _gauge(
        "fabric_peer_rtt_seconds",
        "Round trip to a connected peer.",
        "peer",
        _by(peers, "name", "rtt_ms", 0.001),
    )


def _channels(channels: list[Snapshot]) -> Iterator[Family]:
    open_now = Counter[tuple[Label, ...]]((row["service"], row["direction"]) for row in channels)
    yield _gauge("fabric_channels_open", "Channels open now.", "service direction", open_now)


def bytes_of(channels: Iterable[Snapshot]) -> Counter[tuple[Label, ...]]:
    """Bytes that the open channels moved so far, by service and way."""
    moved: Counter[tuple[Label, ...]] = Counter()
    for channel in channels:
        moved[channel["service"], "sent"] += channel["sent_bytes"]
        moved[channel["service"], "received"] += channel["received_bytes"]
    return moved


def _planes(planes: list[Snapshot]) -> Iterator[Family]:
    running: Series = {(row["name"],): float(row["state"] == "running") for row in planes}
    yield _gauge("fabric_plane_running", "1 while a plane runs.", "plane", running)
    yield _gauge(
        "fabric_plane_progress_age_seconds",
        "Seconds since a plane last proved progress.",
        "plane",
        _by(planes, "name", "last_progress_s"),
    )


def _listeners(listeners: list[Snapshot]) -> Iterator[Family]:
    for name, field, documentation in (
        ("fabric_ingress_connections", "connections", "TCP connections open now."),
        ("fabric_ingress_connections_limit", "max_connections", "As many as may be open."),
    ):
        yield _gauge(name, documentation, "listener", _by(listeners, "name", field))


def _metric_name(counter: str) -> str:
    """``quic.packets_sent`` -> ``fabric_quic_packets_sent``."""
    return "fabric_" + re.sub(r"\W+", "_", counter).removesuffix("_total")
