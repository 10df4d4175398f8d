"""What the choice of neighbours is told, and what it answers: wishes, events and effects."""

from __future__ import annotations

import enum
from typing import TypeAlias

from attrs import frozen

from fabric.codes import Code
from fabric.core.diversity import Bounds, Place
from fabric.core.identity import NodeId
from fabric.core.roster import Address


class Why(enum.StrEnum):
    """What a link is wished for."""

    MESH = "mesh"
    CHOSEN = "chosen"
    ASKED = "asked"
    RETURNING = "returning"


class Pace(enum.StrEnum):
    """How to dial while there is no link."""

    PROMPT = "prompt"
    """As :class:`~fabric.core.backoff.Redial` says."""
    SLOW = "slow"
    """Once a minute: nobody has seen it for long."""


@frozen
class Wish:
    """A link that should stand."""

    node: NodeId
    why: Why
    pace: Pace = Pace.PROMPT


# -- events --
@frozen
class Listed:
    """The directory describes a node, for the first time or otherwise than before."""

    place: Place


@frozen
class Unlisted:
    """A node is no member any more: revoked, or its record is gone."""

    node: NodeId


@frozen
class Turned:
    """Liveness says that *node* is *state*: alive, suspect, dead or left."""

    node: NodeId
    state: str


@frozen
class Connected:
    """A link to *node* stands. *dialled*: by us."""

    node: NodeId
    dialled: bool


@frozen
class Disconnected:
    """No link to *node* stands any more."""

    node: NodeId


@frozen
class DialFailed:
    """An attempt to reach *node* failed, at whatever stage."""

    node: NodeId


@frozen
class Asked:
    """A channel to *node* is to be opened; a link to it is needed now."""

    node: NodeId


@frozen
class SeedMet:
    """The node at the seed *address* is *node*: it answered there, or its endpoint record says so.

    Until it is known, a seed counts as lost, and is dialled.
    """

    address: Address
    node: NodeId


@frozen
class Bounded:
    """The policy of the fabric, or the targets of this node, are *bounds* now."""

    bounds: Bounds


@frozen
class Ticked:
    """A second has passed, or so."""


Event: TypeAlias = (
    Listed
    | Unlisted
    | Turned
    | Connected
    | Disconnected
    | DialFailed
    | Asked
    | SeedMet
    | Bounded
    | Ticked
)


# -- effects --
@frozen
class Seek:
    """See that the link of *wish* stands: dial while it does not. Replaces an earlier wish."""

    wish: Wish


@frozen
class LetGo:
    """Do not dial *node* any more, and close the link to it if we dialled it."""

    node: NodeId


@frozen
class Heal:
    """Dial these now, once, whatever a backoff says."""

    seeds: tuple[Address, ...]
    nodes: tuple[NodeId, ...]


@frozen
class Full:
    """*node* cannot be sought: as many links as may be serve channels. Refuse with *code*."""

    node: NodeId
    code: Code = Code.BUSY


Effect: TypeAlias = Seek | LetGo | Heal | Full
