"""What somebody has to look at: each a code with its remedy, gathered at the moment of asking.

A node that has nothing to say here is well. Of what mends itself nothing is kept, but for alarms
about what others did, which stay until the node is restarted: they are about a key in wrong hands
or a clock, and the log has each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, TypeAlias

import trio

from fabric.codes import Code
from fabric.core.records import DAY
from fabric.core.registry_events import Status
from fabric.core.verdicts import Standing
from fabric.core.views import RecordT, Sworn
from fabric.runtime.clocks import Clocks
from fabric.runtime.knowledge import Knowledge
from fabric.runtime.overlay import Overlay
from fabric.runtime.registry import RegistryPlane
from fabric.runtime.services import Services
from fabric.runtime.snapshot import Row

SOON: Final = 14 * DAY
"""Seconds before its end from which a record is said to expire. Records are signed anew at half of
their 90 days: what is so near its end was forgotten at least twice."""

MOST_LINES: Final = 32
"""What is shown of a node at once: who has more to mend begins with these."""

MOST_NAMED: Final = 4
"""Peers named in one line."""

Complaint: TypeAlias = tuple[Code, str]
"""A code and the details, empty where the code's sentence says it all."""


def health_rows(overlay: Overlay, services: Services) -> list[Row]:
    """Return ``health``: what is wrong with this node and what it depends on, gravest first."""
    knowledge = overlay.knowledge
    found = itertools.chain(
        _own_record(knowledge),
        _shut_out(overlay),
        knowledge.alarms.items(),
        _clock(knowledge),
        _skew(overlay.clocks),
        _trust_root(knowledge),
        overlay.gossip.alarms.items(),
        _withheld(services),
        _core(overlay.registry),
        _offered(knowledge, services),
    )
    return [_row(*each) for each in itertools.islice(dict.fromkeys(found), MOST_LINES)]


def _row(code: Code, detail: str) -> Row:
    return {
        "code": code.label,
        "message": code.sentence,
        "detail": detail,
        "remedy": code.remedy,
    }


def _own_record(knowledge: Knowledge) -> Iterator[Complaint]:
    sworn = knowledge.readings.node(knowledge.me)
    if sworn is None:
        yield Code.NO_OWN_RECORD, f"this node is {knowledge.me}"
    elif sworn.record.revoked:
        yield Code.REVOKED, f"this node, {sworn.record.name}"
    else:
        yield from _age(knowledge, sworn, "this node's record")


def _shut_out(overlay: Overlay) -> Iterator[Complaint]:
    """Yield who says that this node is revoked. Links to it end before its tombstone comes."""
    readings = overlay.knowledge.readings
    sayers = sorted(
        peer.member.name
        for node, peer in overlay.peers.by_id.items()
        if peer.reason is Code.REVOKED and peer.link is None and not readings.is_revoked(node)
    )
    if sayers and not readings.is_revoked(overlay.knowledge.me):
        others = f" and {len(sayers) - MOST_NAMED} more" if len(sayers) > MOST_NAMED else ""
        yield Code.REVOKED, f"this node, as {', '.join(sayers[:MOST_NAMED])}{others} will have it"


def _clock(knowledge: Knowledge) -> Iterator[Complaint]:
    now, floor = knowledge.unix_now(), knowledge.floor
    if (code := floor.complaint(now)) is not None:
        yield code, f"it shows {_date(now)}, and {_date(floor.at)} has been signed"


def _skew(clocks: Clocks) -> Iterator[Complaint]:
    now = trio.current_time()
    if (code := clocks.skew.complaint(now)) is not None:
        yield code, f"by {clocks.skew.estimate(now):+.0f} s, as the median of peers' clocks has it"


def _trust_root(knowledge: Knowledge) -> Iterator[Complaint]:
    if (sworn := knowledge.readings.read(knowledge.trust.root.key)) is not None:
        yield from _age(knowledge, sworn, "the trust root")


def _withheld(services: Services) -> Iterator[Complaint]:
    for name, code in sorted(services.withheld.items()):
        yield code, f"service {name} is served here and offered to nobody"


def _core(registry: RegistryPlane) -> Iterator[Complaint]:
    """Yield what a core service lacks, unless only this node may not open it: that is meant."""
    for name in registry.core_services():
        state = registry.state_of(name)
        if state.status is not Status.ACTIVE and state.reason is not Code.NOT_PERMITTED:
            yield state.reason or Code.NO_INSTANCE, f"core service {name} is {state.status.value}"


def _offered(knowledge: Knowledge, services: Services) -> Iterator[Complaint]:
    for name in services.permitted_names():
        if (sworn := knowledge.readings.service(name)) is not None:
            yield from _age(knowledge, sworn, f"the record of service {name}")


def _age(knowledge: Knowledge, sworn: Sworn[RecordT], what: str) -> Iterator[Complaint]:
    """Yield what is to be said of the age of *sworn*, which is called *what*."""
    ends = sworn.record.expires_at
    left = ends - knowledge.floor.times(knowledge.unix_now()).now
    if (code := sworn.standing.code) is not None:
        yield code, f"{what} ended {_date(ends)}"
    elif sworn.standing is Standing.LIVE and left < SOON:
        yield Code.EXPIRING, f"{what} ends {_date(ends)}"


def _date(unix_seconds: float) -> str:
    """Return *unix_seconds* to the minute; a record may say more than a calendar has."""
    try:
        return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{unix_seconds:.0f}"
