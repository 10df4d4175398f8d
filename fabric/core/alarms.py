"""What somebody has to look at, said once a minute however often it happens."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

from fabric.codes import Code
from fabric.core.gossip_events import Alarm
from fabric.core.identity import NodeId

QUIET_FOR: Final = 60.0
"""Seconds between two alarms of one code about one peer: a person reads no faster."""

MOST_REMEMBERED: Final = 1024
"""Pairs of code and peer. Of more the oldest are said again before their minute is over."""


@define
class Alarms:
    """Remembers what was said, and when."""

    _said: OrderedDict[tuple[Code, NodeId | None], float] = field(init=False, factory=OrderedDict)

    def say(self, code: Code, detail: str, from_peer: NodeId | None, now: float) -> list[Alarm]:
        """Return the alarm, unless it was said within the last minute."""
        about = code, from_peer
        if (said := self._said.get(about)) is not None and now < said + QUIET_FOR:
            return []
        self._said[about] = now
        self._said.move_to_end(about)
        if len(self._said) > MOST_REMEMBERED:
            self._said.popitem(last=False)
        return [Alarm(code, detail, from_peer)]
