"""What a run of a scenario depends on."""

from __future__ import annotations

import functools
from typing import Final

from attrs import field, frozen

from fabric.testing.sim.fleet import Fleet
from fabric.testing.sim.papers import Papers
from fabric.testing.sim.weather import Weather

WARM: Final = 5.0
"""Seconds until the links stand and everybody has been probed a few times."""

PATIENCE: Final = 60.0
"""Seconds for which something is waited for before it counts as never."""

AT_REST: Final = 75.0
"""Seconds after which the links that a start made beyond those wished for are let go."""

LOOKED_FOR: Final = 30.0
"""Seconds over which a fabric at rest is counted."""

LOOK: Final = 0.05
"""Seconds between two looks at whether all hold the same."""


@frozen(kw_only=True)
class Setting:
    """What a run of a scenario depends on."""

    nodes: int = 100
    weather: Weather = field(factory=lambda: Weather(loss=0.05))
    skew: float = 0.0
    """Seconds by which clocks are wrong at most, either way."""
    cut: float = 600.0
    """Seconds for which a partition lasts."""
    pause: float = 5.0
    """Seconds for which a process does not run."""

    flood: float = 10.0
    """Seconds for which a flood lasts."""

    def warm_fleet(self, seed: int = 0) -> Fleet:
        """Return a fabric in which all know all and the links stand."""
        fleet = Fleet(self.nodes, seed, self.weather, _papers(), self.skew)
        fleet.run(WARM)
        return fleet


@functools.cache
def _papers() -> Papers:
    """Return what is signed, and was verified, once in a process: it depends on no seed."""
    return Papers()
