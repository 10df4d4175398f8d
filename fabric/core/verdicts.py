"""What is found about a record by its signatures and its dates: taken in, or not, and why."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from attrs import frozen

from fabric.codes import Code
from fabric.core.records import Record


class Standing(enum.StrEnum):
    """What a record that was taken in is good for at some moment."""

    LIVE = "live"
    """Everything that it says."""
    GRACE = "grace"
    """An expired node record: it goes on admitting the node that it is about, and nothing else.
    No enrolment, no lease, no new offer."""
    EXPIRED = "expired"
    """A node's own word may still be tried, when nothing fresher is held. What the control plane
    signed is only held, so that everybody holds the same until it is forgotten."""

    @property
    def admits(self) -> bool:
        """Whether a node of this standing is let in."""
        return self is not Standing.EXPIRED

    @property
    def permits(self) -> bool:
        """Whether anything new may be begun on its strength."""
        return self is Standing.LIVE

    @property
    def code(self) -> Code | None:
        """What health says of it; None of a live record."""
        return _HEALTH[self]


_HEALTH: Final = {
    Standing.LIVE: None,
    Standing.GRACE: Code.SURVIVAL_GRACE,
    Standing.EXPIRED: Code.RECORD_EXPIRED,
}


@frozen
class Accepted:
    """Rightly signed, and not out of its time."""

    record: Record
    standing: Standing
    dated: int | None = None
    """When it was signed, if the root or the directory did: what may raise the time floor."""


@frozen
class Rejected:
    """Not to be kept, used or passed on."""

    code: Code
    detail: str = ""
    is_attack: bool = False
    """Whether no honest node could have passed it on, whatever it knew."""
    dated: int | None = None
    """As in :class:`Accepted`; set where only the date is wrong, so that the floor can alarm."""

    @property
    def is_alarming(self) -> bool:
        """Whether somebody has to look at it, whoever passed it on."""
        return self.is_attack or self.code in _ALARMING


_ALARMING: Final = frozenset({Code.SELF_AUTHORED, Code.ROOT_CONFLICT})

Verdict: TypeAlias = Accepted | Rejected
