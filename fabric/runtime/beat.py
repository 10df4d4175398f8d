"""The beat: what looks around once a second does so together, so that the process wakes once.

A node at rest spends its time on waking up, a fifth of a millisecond each, rather than on what it
then does. A dozen loops with a phase each, one for every link among them, wake it a dozen times.
"""

from __future__ import annotations

import math
from typing import Final

BEAT: Final = 1.0
"""Seconds."""


def next_beat(now: float) -> float:
    """Return when to look around next, by the clock that shows *now*: half a beat away or more."""
    return (math.floor(now / BEAT + 0.5) + 1) * BEAT
