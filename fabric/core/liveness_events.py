"""What liveness is told, and what it asks for in return."""

from __future__ import annotations

import enum
from typing import TypeAlias

from attrs import frozen

from fabric.core.frames import Frame
from fabric.core.identity import NodeId


class State(enum.StrEnum):
    """What is held of a member. Of one never heard of nothing is held: ``None``."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    """Somebody got no answer from it. It is still tried, after others."""
    DEAD = "dead"
    """Silent to its neighbours for as long as a suspicion lasts. Not tried, until it speaks."""
    LEFT = "left"
    """It said that it goes."""


class Reason(enum.StrEnum):
    """Why a state turned."""

    CONNECTED = "connected"
    """This node holds a connection to it and has not heard its word yet."""
    ITS_WORD = "its_word"
    """It says so itself, signed."""
    ACCUSED = "accused"
    """A neighbour of it, or this node, got no answer."""
    SILENT = "silent"
    """The suspicion ran out here."""
    TOLD = "told"
    """Accusers in two areas had it dead before this node did."""
    WITHDRAWN = "withdrawn"
    """All who accused it are members no more."""


# -- events --
@frozen
class Joined:
    """The directory has *node* as a member, in *area*; again when the area changes."""

    node: NodeId
    area: str


@frozen
class Struck:
    """*node* is a member no more: revoked, or its record is over."""

    node: NodeId


@frozen
class Connected:
    """A connection to *peer* stands, admitted both ways. Again when another takes its place."""

    peer: NodeId


@frozen
class Disconnected:
    """No connection to *peer* stands any more."""

    peer: NodeId
    clean: bool
    """Whether either end said Bye: then the end of the connection says nothing about *peer*."""


@frozen
class Heard:
    """*peer* sent *frame* on the control stream; of another kind than liveness, too: it is a
    sign of life."""

    peer: NodeId
    frame: Frame


@frozen
class Ticked:
    """The time of the last ``Wake`` has come."""


@frozen
class Leaving:
    """This node stops. What follows must be flushed before the connections close."""


Event: TypeAlias = Joined | Struck | Connected | Disconnected | Heard | Ticked | Leaving


# -- effects --
@frozen
class Tell:
    """Put *frame* on the control stream to *peer*, if that still stands; drop it otherwise."""

    peer: NodeId
    frame: Frame


@frozen
class Turned:
    """*node* is *state* from now on."""

    node: NodeId
    state: State
    reason: Reason
    at: float


@frozen
class RootHeard:
    """*peer* holds records with this digest: once for each probe and each answer."""

    peer: NodeId
    root: bytes


@frozen
class Forged:
    """*peer* passed on a signature that does not hold: honest nodes never do."""

    peer: NodeId
    subject: NodeId


@frozen
class Wake:
    """Send ``Ticked`` at this time; the next ``Wake`` takes the place of this one."""

    at: float


Effect: TypeAlias = Tell | Turned | RootHeard | Forged | Wake


@frozen(kw_only=True)
class View:
    """What is held of one member."""

    state: State | None
    since: float
    incarnation: int
    accusers: tuple[NodeId, ...] = ()
    """Whose word a suspicion or a death rests on."""
