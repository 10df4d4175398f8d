"""What is known of reaching one node: by liveness, by the link to it, by dials that failed."""

from __future__ import annotations

from typing import Final

from attrs import define

from fabric.core.diversity import Place
from fabric.core.neighbour_events import Pace
from fabric.core.views import ALIVE, GONE, SUSPECT

GIVEN_UP_AFTER: Final = 30.0
"""Seconds of failing dials after which another is chosen: as long as redials are eager."""

GIVEN_UP_UNSEEN_AFTER: Final = 10.0
"""The same for a node that nobody is known to have seen alive: two attempts."""

SLOW_AFTER: Final = 60.0
"""Seconds that a node has been dead or failing before it is dialled slowly."""


@define
class Contact:
    """A listed node, as far as links to it are concerned."""

    place: Place
    state: str | None = None
    gone_at: float | None = None
    """Since when it is dead or left."""
    is_linked: bool = False
    is_ours: bool = False
    """Whether we dialled the link."""
    failing_since: float | None = None

    def turn(self, state: str, now: float) -> None:
        self.state = state
        self.gone_at = (self.gone_at or now) if state in GONE else None

    def fail(self, now: float) -> bool:
        """Count a failed dial; return whether it is time to choose another."""
        self.failing_since = now if self.failing_since is None else self.failing_since
        most = GIVEN_UP_UNSEEN_AFTER if self.state is None else GIVEN_UP_AFTER
        return now - self.failing_since >= most

    @property
    def is_worth_a_link(self) -> bool:
        return self.is_linked or self.state not in GONE

    @property
    def is_lost(self) -> bool:
        """Whether nothing says that it could be reached."""
        is_there = self.state in {ALIVE, SUSPECT} and self.failing_since is None
        return not self.is_linked and not is_there

    def pace(self, now: float) -> Pace:
        since = self.failing_since if self.gone_at is None else self.gone_at
        is_long = since is not None and now - since >= SLOW_AFTER
        return Pace.SLOW if is_long and not self.is_linked else Pace.PROMPT
