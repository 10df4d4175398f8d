"""From the name of a service to the nodes to try, best first, and from memory alone.

::

    1  what is known     offers that are fresh, before those that expired and are mere hints
    2  health            alive, before unknown, before suspect or failed lately
    3  locality          this node, its locality group, its site, its area, elsewhere
    4  load              channels open there; an instance without a link weighs some more
    5  nearness          round trip
    6  affinity          of equals, another one for each opener: no stampede

Nodes that are dead, left, revoked, twice there or not permitted are no instances at all.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import frozen

from fabric.codes import Code
from fabric.core.identity import NodeId, NodeName
from fabric.core.instances import WORTH_ANOTHER
from fabric.core.records import NodeRecord
from fabric.core.rings import affinity

MOST_TRIED: Final = 16
"""Instances in one answer. Each attempt takes at most half of the time that is left, so that a
deadline is used up long before sixteen have been tried."""

UNLINKED_LOAD: Final = 8
"""Channels that a missing link counts for: dialling costs round trips, a handshake and a place
among the links, and is worth it once the linked ones are busier by that much."""


class Locality(enum.IntEnum):
    """How near an instance is, by signed labels."""

    HERE = 0
    GROUP = 1
    SITE = 2
    AREA = 3
    ELSEWHERE = 4


def locality(me: NodeRecord | None, other: NodeRecord) -> Locality:
    """Return how near *other* is to *me*. A label that is empty is shared with nobody."""
    if me is None:
        return Locality.ELSEWHERE
    if me.subject == other.subject:
        return Locality.HERE
    if me.locality_group and me.locality_group == other.locality_group:
        return Locality.GROUP
    if me.area != other.area:
        return Locality.ELSEWHERE
    if me.site_id and me.site_id == other.site_id:
        return Locality.SITE
    return Locality.AREA


class Health(enum.IntEnum):
    """How likely an instance is to answer."""

    ALIVE = 0
    UNKNOWN = 1
    """Nothing was heard yet: after a start, that is everybody."""
    DOUBTFUL = 2
    """Suspect, or it failed us lately."""


@frozen(kw_only=True)
class Instance:
    """A node that may be asked for a service now."""

    node: NodeId
    name: NodeName
    is_hint: bool = False
    """Whether its offers have expired and nothing fresher is held."""
    health: Health = Health.ALIVE
    locality: Locality = Locality.ELSEWHERE
    is_linked: bool = True
    load: int = 0
    rtt: float | None = None
    from_cache: bool = False


Rank: TypeAlias = tuple[bool, Health, Locality, int, float, int]


def ranked(me: NodeId, instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """Return the first :data:`MOST_TRIED` of *instances* in the order in which to try them."""

    def rank(each: Instance) -> Rank:
        load = each.load + (0 if each.is_linked else UNLINKED_LOAD)
        rtt = math.inf if each.rtt is None else each.rtt
        # Nobody is further than itself, and the highest affinity is to come first.
        return each.is_hint, each.health, each.locality, load, rtt, -affinity(me, each.node)

    return tuple(heapq.nsmallest(MOST_TRIED, instances, key=rank))


@frozen(kw_only=True)
class Resolution:
    """The answer to a name: why not, or whom to try."""

    service: str
    objection: Code | None = None
    """What speaks against opening it at all."""
    instances: tuple[Instance, ...] = ()

    @property
    def code(self) -> Code | None:
        """Why nobody can be tried; ``None`` where somebody can."""
        return self.objection or (None if self.instances else Code.NO_INSTANCE)


def is_worth_another(code: Code) -> bool:
    """Return whether a refusal with *code* leaves a chance that the next instance says yes."""
    return code in WORTH_ANOTHER
