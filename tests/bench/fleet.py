"""A fleet that gossips, ours or a rival's, as the measurements of `gossip.*` need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psutil
from attrs import frozen

from tests.bench.ears import Ears
from tests.bench.processes import Room

JOINED_WITHIN = 90.0
"""Seconds until each of a started fleet knows each: twenty interpreters start on few cores."""


@frozen
class Fleet:
    """Processes that know each other. Patterns are what one of them prints when it knows."""

    processes: Mapping[str, psutil.Popen]
    prepare: Callable[[], None]
    """Makes the nodes ready to be told of events; not before they were measured at rest."""
    event: Callable[[str], bytes]
    """Makes, ahead of time, the request by which a node is told of an event of that name."""
    tell: Callable[[str, bytes], None]
    """Sends a request to the node of that name, without waiting for an answer."""
    heard: Callable[[str], bytes]
    """Matches that the event of that name has come."""
    dead: Callable[[str], bytes]
    """Matches that the node of that name is held to be dead."""


Start = Callable[[Room, Ears, tuple[str, ...]], Fleet]
"""Starts a fleet of nodes of those names, in a room, heard by ears; blocks until all know all."""
