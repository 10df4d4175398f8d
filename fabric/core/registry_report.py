"""``fabric_registry_runtime_report``: what one node's registry says to the control plane.

The structure is part of the heartbeat and of ``fabricctl services --json``.
"""

from __future__ import annotations

from typing import Final

from fabric.core.evidence import Trial
from fabric.core.offerings import Grade
from fabric.core.registry import Registry

MOST_REPORTED: Final = 256
"""Services in a report: core ones first, then signed ones, then what is merely offered."""


def runtime_report(registry: Registry, now: float, *, unix_now: float) -> dict[str, object]:
    """Return the report, made of what JSON has.

    ``at`` counts whole unix seconds, of which *unix_now* is the present one, as *now* is by the
    clock of the registry's events.
    """
    return {
        "status": str(registry.status),
        "services": {
            service: service_report(registry, service, now, unix_now=unix_now)
            for service in _reported(registry)
        },
    }


def _reported(registry: Registry) -> list[str]:
    core, signed = set(registry.core()), set(registry.directory.services())
    order = sorted(registry.services(), key=lambda each: (each not in core, each not in signed))
    return sorted(order[:MOST_REPORTED])


def service_report(
    registry: Registry, service: str, now: float, *, unix_now: float
) -> dict[str, object]:
    """Return what :func:`runtime_report` says of one service."""
    offerings = registry.offerings.of(service).values()
    shown = [each for each in offerings if each.grade is not Grade.REFUSED]
    active = [each for each in shown if each.grade is Grade.USABLE]
    first = next(iter(registry.ranked(service, now)), None)
    reason = registry.reason(service)
    return {
        "status": str(registry.status_of(service)),
        "reason": reason.label if reason else None,
        "active_records": len(active),
        "candidate_records": len(shown) - len(active),
        "resolved_to": first.name if first else None,
        "source": ("cache" if first.from_cache else "memory") if first else None,
        "last_live_probe": _probe(registry.last_trial(service), now, unix_now),
    }


def _probe(trial: Trial | None, now: float, unix_now: float) -> dict[str, object] | None:
    if trial is None:
        return None
    return {
        "at": int(unix_now - (now - trial.at)),
        "ok": trial.is_ok,
        "rtt_ms": None if trial.rtt is None else round(trial.rtt * 1000, 3),
        "via": trial.via,
    }
