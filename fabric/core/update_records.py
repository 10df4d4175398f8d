"""What is said about updates: which release is meant, whether to go on, who may start, what came.

====================  ====================  =====================================================
kind                  who signs             what it does
====================  ====================  =====================================================
``update_intent``     threshold of intent   says *what*: the release, for exactly which nodes, how
``update_head``       orchestrator          says *go on*, while it is fresh; recovery may stop
``lease``             orchestrator          says *now*: one node, one start, in fencing order
``update_report``     the node              asks for a lease, and says what came of it
====================  ====================  =====================================================

Only a lease starts anything. What an intent may touch is the list of nodes in it, with their
labels as they were when it was signed: relabelling a node later widens nothing.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from fabric.core.records import DAY, Authored, OwnWord, Role
from fabric.core.shapes import (
    ascending,
    instance,
    mapping,
    maybe,
    number,
    octets,
    sequence,
    text,
    truth,
)

CHUNK: Final = 1 << 20
"""Bytes of an artifact that are fetched and verified at once."""

MOST_CHUNKS: Final = 512
MOST_SCOPE: Final = 1024
"""Nodes of one intent; about 700 fit its 64 KiB. More nodes are more intents."""

MOST_START: Final = 120
"""Seconds in which a lease may be begun. A pause binds everywhere within as many."""

_NAME = text(most=64)
_LABEL = text(least=0, most=64)
_COUNT = number(most=2**31)
_SECONDS = number(least=1, most=30 * DAY)
_MOMENT = number(most=2**53 - 1)
_SHA256 = octets(32)
_BOOT_ID = octets(16)
_NONCE = octets(16)
_SLOTS = mapping(text(most=80), number(most=2**16), most=8)


class Phase(enum.StrEnum):
    """Which program of a host is replaced; the first goes before the second."""

    HOST_AGENT = "host-agent"
    NODE_AGENT = "node-agent"


class Strategy(enum.StrEnum):
    """In which order the nodes of an intent take their turn."""

    CANARY = "canary"
    ROLLING = "rolling"
    PINNED = "pinned"
    FORCED_NODE = "forced-node"
    """Skips the order, never the caps."""


# -- what --
@frozen(kw_only=True)
class Artifact:
    """The release for one platform, told by its content."""

    platform: str = field(validator=_NAME)
    size: int = field(validator=number(least=1, most=MOST_CHUNKS * CHUNK))
    sha256: bytes = field(validator=_SHA256)
    chunks: tuple[bytes, ...] = field(validator=sequence(_SHA256, least=1, most=MOST_CHUNKS))
    """SHA-256 of each mebibyte; the last may be shorter."""

    def __attrs_post_init__(self) -> None:
        if len(self.chunks) != -(-self.size // CHUNK):
            raise ValueError("an artifact has not one digest for each of its chunks")


@frozen(kw_only=True)
class Target:
    """The release that is meant."""

    version: str = field(validator=_NAME)
    """For people. Releases are ordered by ``release_seq`` alone."""
    release_seq: int = field(validator=number(least=1, most=2**31))
    artifacts: tuple[Artifact, ...] = field(validator=sequence(instance(Artifact), most=16))
    floors: Mapping[str, int] = field(validator=mapping(_NAME, _COUNT, most=16), factory=dict)
    """By component: the lowest ``release_seq`` that may ever run again after this one."""
    rollback_safe: bool = field(validator=truth, default=True)


@frozen(kw_only=True)
class Member:
    """A node in an intent's scope, with the labels that caps count by."""

    node: str = field(validator=_NAME)
    area: str = field(validator=_NAME)
    site_id: str = field(validator=_LABEL, default="")
    nat_group: str = field(validator=_LABEL, default="")


@frozen(kw_only=True)
class Caps:
    """Most updates in flight: altogether, and in each area, site and NAT group."""

    fleet: int = field(validator=number(least=1, most=1024), default=1)
    area: int = field(validator=number(least=1, most=1024), default=1)
    site: int = field(validator=number(least=1, most=1024), default=1)
    nat_group: int = field(validator=number(least=1, most=1024), default=1)


@frozen(kw_only=True)
class HealthRule:
    """When an updated node counts as healthy. Seconds."""

    probes: tuple[str, ...] = field(validator=ascending(_NAME, most=16), default=())
    deadline: int = field(validator=_SECONDS, default=600)
    bake: int = field(validator=_SECONDS, default=600)
    canary_bake: int = field(validator=_SECONDS, default=1800)
    crash_limit: int = field(validator=number(most=100), default=2)
    """Crashes within a minute that are still borne."""


@frozen(kw_only=True)
class StopRule:
    """When a rollout stops by itself."""

    canary_rollbacks: int = field(validator=number(least=1, most=1024), default=1)
    failures: int = field(validator=number(least=1, most=1024), default=2)
    failure_percent: int = field(validator=number(least=1, most=100), default=10)
    minimum_sample: int = field(validator=number(least=1, most=1024), default=10)
    """Nodes that have finished, below which no rate is looked at."""


@frozen(kw_only=True)
class UpdateIntent(Authored):
    """Which release, for which nodes, under which caps. Its subject is the component."""

    KIND = "update_intent"
    AUTHOR = Role.INTENT
    LIFE = 30 * DAY
    phase: Phase = field(validator=instance(Phase))
    prev_intent_id: bytes | None = field(validator=maybe(_SHA256), default=None)
    """SHA-256 of the payload of the intent before it."""
    not_before: int = field(validator=_MOMENT)
    target: Target = field(validator=instance(Target))
    scope: tuple[Member, ...] = field(
        validator=sequence(instance(Member), least=1, most=MOST_SCOPE)
    )
    """Sorted by node."""
    selector: str = field(validator=text(least=0, most=400), default="")
    """What the scope was made by: a comment, which nobody obeys."""
    strategy: Strategy = field(validator=instance(Strategy))
    caps: Caps = field(validator=instance(Caps), factory=Caps)
    max_unavailable: int = field(validator=number(least=1, most=1024), default=1)
    min_ready: Mapping[str, int] = field(validator=mapping(_NAME, _COUNT, most=32), factory=dict)
    """By role."""
    allow_role_outage: bool = field(validator=truth, default=False)
    turns: tuple[str, ...] = field(validator=sequence(_NAME, most=32), default=())
    """Roles, in the order in which their nodes take their turn."""
    health: HealthRule = field(validator=instance(HealthRule), factory=HealthRule)
    stop: StopRule = field(validator=instance(StopRule), factory=StopRule)

    def check(self) -> None:
        if any(one.node >= two.node for one, two in itertools.pairwise(self.scope)):
            raise ValueError("the scope is not sorted, or names one node twice")
        if self.not_before >= self.expires_at:
            raise ValueError("it expires before it may begin")


# -- whether to go on --
class HeadState(enum.StrEnum):
    """What is to happen to the intent. Of two at one generation the more careful holds."""

    RUN = "run"
    PAUSE = "pause"
    ABORT = "abort"


@frozen(kw_only=True)
class UpdateHead(Authored):
    """Freshness and control in one: nothing is begun without a fresh one, about a component."""

    KIND = "update_head"
    AUTHOR = Role.ORCHESTRATOR
    LIFE = 3600
    intent_id: bytes = field(validator=_SHA256)
    state: HeadState = field(validator=instance(HeadState))
    audit_head: bytes = field(validator=_SHA256)
    """Of the chain of the control plane's audit."""

    @property
    def authors(self) -> tuple[str, ...]:
        if self.state is HeadState.RUN:
            return (Role.ORCHESTRATOR,)
        return Role.ORCHESTRATOR, Role.RECOVERY


# -- now --
@frozen(kw_only=True)
class Lease(Authored):
    """One node may start, once. Bound to its request and its boot, so that anybody may carry it.

    Its subject is the lease's id. Seconds count on the node's own clock from when it sent the
    request; the record's dates are for people.
    """

    KIND = "lease"
    AUTHOR = Role.ORCHESTRATOR
    LIFE = 3600
    intent_id: bytes = field(validator=_SHA256)
    node: str = field(validator=_NAME)
    phase: Phase = field(validator=instance(Phase))
    token: int = field(validator=number(least=1, most=2**53 - 1))
    """Fencing: the node refuses whatever is not above the last it acted on."""
    slots: Mapping[str, int] = field(validator=_SLOTS)
    """By dimension, as in ``area:home``: which of its slots is taken."""
    request_nonce: bytes = field(validator=_NONCE)
    boot_id: bytes = field(validator=_BOOT_ID)
    start_by: int = field(validator=number(least=1, most=MOST_START), default=MOST_START)
    complete_by: int = field(validator=number(least=1, most=DAY), default=600)

    def check(self) -> None:
        if self.complete_by <= self.start_by:
            raise ValueError("it has to be complete before it may have started")


# -- how it went --
class UpdateState(enum.StrEnum):
    """Where a node stands with an intent, as it tells others."""

    IDLE = "idle"
    PENDING = "pending"
    BLOCKED = "blocked"
    STAGED = "staged"
    LEASED = "leased"
    APPLYING = "applying"
    HEALTHY = "healthy"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


@frozen(kw_only=True)
class UpdateReport(OwnWord):
    """Request for a lease, claim to its slots, outcome and status in one."""

    KIND = "update_report"
    state: UpdateState = field(validator=instance(UpdateState))
    reason: str = field(validator=text(least=0, most=200), default="")
    boot_id: bytes = field(validator=_BOOT_ID)
    intent_id: bytes | None = field(validator=maybe(_SHA256), default=None)
    request_nonce: bytes | None = field(validator=maybe(_NONCE), default=None)
    """Set while it asks for a lease."""
    lease_id: str = field(validator=_LABEL, default="")
    token: int = field(validator=_MOMENT, default=0)
    slots: Mapping[str, int] = field(validator=_SLOTS, factory=dict)
    running_digest: bytes | None = field(validator=maybe(_SHA256), default=None)
    """Of the release that runs; none where it was not installed as one."""
    health: Mapping[str, int] = field(validator=mapping(_NAME, _COUNT, most=16), factory=dict)
    """What the node counts of itself, by name: peers, roles, services that work."""
