"""Watermarks: when each plane of a node last proved that it gets anywhere.

A plane that runs is not a plane that works. Each reports progress whenever it has done one whole
turn of what it is for; how long ago that was is the only health that it can honestly show.
"""

from __future__ import annotations

import enum

from attrs import define, field, frozen


class PlaneState(enum.StrEnum):
    """What the supervisor of a plane is doing with it."""

    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@frozen(kw_only=True)
class PlaneView:
    """One plane at one moment."""

    name: str
    state: PlaneState
    since_progress: float | None
    """Seconds; ``None`` when it has made none yet."""


@define
class _Plane:
    state: PlaneState
    progressed_at: float | None = None


@define
class Planes:
    """The planes of one node, in the order in which they were started."""

    _planes: dict[str, _Plane] = field(init=False, factory=dict)

    def entered(self, name: str, state: PlaneState) -> None:
        """Note that plane *name* is in *state* now."""
        plane = self._planes.setdefault(name, _Plane(state))
        plane.state = state

    def progressed(self, name: str, now: float) -> None:
        """Raise the watermark of *name*. It never falls."""
        plane = self._planes[name]
        plane.progressed_at = max(now, plane.progressed_at or now)

    def view(self, now: float) -> list[PlaneView]:
        """Return every plane as of *now*, by the same clock as the progress."""
        return [
            PlaneView(
                name=name,
                state=plane.state,
                since_progress=None
                if plane.progressed_at is None
                else max(0.0, now - plane.progressed_at),
            )
            for name, plane in self._planes.items()
        ]
