"""What the registry is told and what it answers: the statuses, its events and its effects."""

from __future__ import annotations

import enum
from typing import TypeAlias

from attrs import frozen

from fabric.codes import Code
from fabric.core.identity import NodeId, NodeName
from fabric.core.records import Key


class Status(enum.StrEnum):
    """What can be said of a service, or of a node's registry as a whole."""

    MISSING = "missing"
    CANDIDATE_ONLY = "candidate_only"
    ACTIVE = "active"


# -- events --
@frozen
class Recorded:
    """The directory holds something else at *key* than before, or nothing any more."""

    key: Key


@frozen
class Serving:
    """This node serves *services* now, and may. Its own record says so a little later."""

    services: tuple[str, ...]


@frozen
class Turned:
    """Liveness says something else of *node* than before."""

    node: NodeId


@frozen
class Proved:
    """A channel to *service* at *node* was opened, *rtt* seconds after it was asked for.

    *via*: ``probe``; ``channel`` for a user's; ``served`` for one that came here, whose *node* is
    this one.
    """

    service: str
    node: NodeId
    rtt: float
    via: str


@frozen
class Failed:
    """A channel to *service* at *node* could not be opened."""

    service: str
    node: NodeId
    code: Code
    via: str = "channel"


@frozen
class Sought:
    """Somebody wants to know about *service*: it is probed for a while."""

    service: str


@frozen
class Shunned:
    """No offer of *node* is to be used for *seconds*: two processes have its key, for instance."""

    node: NodeId
    code: Code
    seconds: float


@frozen
class Ticked:
    """A second has passed, or so."""


Event: TypeAlias = Recorded | Serving | Turned | Proved | Failed | Sought | Shunned | Ticked


# -- effects --
@frozen
class ProbeWanted:
    """Open a channel to *service* at *node*, close it, and say what came of it.

    When *node* is this one, ask its own handler; ``open_to`` is for those who come from outside.
    """

    service: str
    node: NodeId


@frozen
class ServiceChanged:
    """*service* is not what it was: another status, or other instances. What a watcher is told."""

    service: str
    was: Status
    status: Status
    added: tuple[NodeName, ...] = ()
    """Nodes that may be asked for it now and could not before, sorted."""
    removed: tuple[NodeName, ...] = ()


Effect: TypeAlias = ProbeWanted | ServiceChanged
