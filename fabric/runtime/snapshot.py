"""The snapshot: a node as it is now, in JSON's own types. What every view of a node reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs
import trio

from fabric.config import HostPort
from fabric.core.planes import Planes
from fabric.core.readings import Readings
from fabric.core.views import LivenessView
from fabric.runtime.channels import ChannelInfo
from fabric.runtime.peer import Peer
from fabric.runtime.registry import RegistryPlane
from fabric.runtime.services import Services
from fabric.trio_quic import Endpoint

VERSION: Final = 1

Row: TypeAlias = dict[str, Any]
"""One JSON object. Absent numbers are ``None``; a zero is a zero."""


def peer_row(peer: Peer, readings: Readings, liveness: LivenessView) -> Row:
    """Return one entry of ``peers``."""
    member, link = peer.member, peer.link
    offers = readings.offers_of(member.node_id)
    connection = link.connection if link is not None else None
    rtt = connection.rtt if connection else None
    return {
        "name": member.name,
        "id": member.node_id,
        "area": member.area,
        "roles": sorted(member.roles),
        "state": peer.state.value,
        "liveness": liveness.state_of(member.node_id),
        "wanted": peer.is_wanted,
        "reason": peer.reason.label if peer.reason is not None else None,
        "path": f"direct {HostPort(*connection.remote_address)}" if connection else None,
        "rtt_ms": round(rtt * 1000, 3) if rtt is not None else None,
        "sent_bytes_per_s": _whole(link.sent_rate) if link else None,
        "received_bytes_per_s": _whole(link.received_rate) if link else None,
        "streams": connection.stream_count if connection else 0,
        "since_s": round(trio.current_time() - peer.since, 3),
        "offers": list(offers.record.services) if offers is not None else [],
    }


def _whole(rate: float | None) -> int | None:
    return None if rate is None else round(rate)


def channel_row(info: ChannelInfo) -> Row:
    """Return one entry of ``channels``."""
    # By hand: with 20,000 of them, a generic walk would hold up the node for half a second.
    return {
        "id": info.id,
        "service": info.service,
        "direction": info.direction,
        "peer": info.peer,
        "client": info.client,
        "state": info.state.value,
        "age_s": info.age_s,
        "sent_bytes": info.sent_bytes,
        "received_bytes": info.received_bytes,
        "code": info.code.label if info.code is not None else None,
    }


def plane_rows(planes: Planes) -> list[Row]:
    """Return ``planes``, in the order in which they were started."""
    return [
        {
            "name": plane.name,
            "state": plane.state.value,
            "last_progress_s": None
            if plane.since_progress is None
            else round(plane.since_progress, 3),
        }
        for plane in planes.view(trio.current_time())
    ]


def registry_tables(registry: RegistryPlane, services: Services, unix_now: float) -> Row:
    """Return the registry as a report to the control plane, and row by row as people read it."""
    return {
        "fabric_registry_runtime_report": registry.report(unix_now),
        "services": service_rows(registry, services, unix_now),
    }


def service_rows(registry: RegistryPlane, services: Services, unix_now: float) -> list[Row]:
    """Return ``services``: those that the registry knows and those that have settings here.

    *unix_now* is the present moment, in seconds since the epoch.
    """
    names = {*registry.services(), *services.configs, *services.offerings}
    core = frozenset(registry.core_services())
    return [
        _service_row(name, registry, services, unix_now, is_core=name in core)
        for name in sorted(names)
    ]


def _service_row(
    name: str, registry: RegistryPlane, services: Services, unix_now: float, *, is_core: bool
) -> Row:
    config, terms = services.configs.get(name), registry.terms(name)
    is_served = name in services.offerings
    withheld = services.may_offer(name) if is_served else None
    return {
        "name": name,
        "open_to": [str(selector) for selector in terms.open_to] if terms else [],
        "edge_exposable": terms.edge_exposable if terms else False,
        "core": is_core,
        "offered_here": is_served and withheld is None,
        "withheld": withheld.label if withheld is not None else None,
        "backend": str(config.backend) if config and config.backend else None,
        "instances": list(registry.state_of(name).instances),
        **registry.report_of(name, unix_now),
    }


def counters_of(endpoint: Endpoint) -> Mapping[str, int]:
    """Return the driver's counters, named as metrics name them."""
    quic, udp = endpoint.counters, endpoint.transport_counters
    counters = {f"quic_{name}": value for name, value in _numbers(quic)}
    counters |= {f"udp_{name}": value for name, value in _numbers(udp)}
    counters["quic_engine_failures"] = sum(quic.engine_failures.values())
    return counters


def _numbers(counters: Any) -> Iterable[tuple[str, int]]:  # noqa: ANN401 -- any attrs class
    for each in attrs.fields(type(counters)):
        value = getattr(counters, each.name)
        if isinstance(value, int):
            yield each.name, value
