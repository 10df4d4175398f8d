"""Watermarks rise, never fall, and say nothing before there was progress."""

from fabric.core.planes import Planes, PlaneState


def test_a_plane_shows_how_long_ago_it_got_anywhere() -> None:
    planes = Planes()
    planes.entered("peers", PlaneState.RUNNING)
    planes.entered("channels", PlaneState.RUNNING)
    planes.progressed("peers", 10.0)

    peers, channels = planes.view(12.5)

    assert (peers.name, peers.since_progress) == ("peers", 2.5)
    assert (channels.name, channels.since_progress) == ("channels", None)


def test_a_watermark_does_not_fall() -> None:
    planes = Planes()
    planes.entered("peers", PlaneState.RUNNING)
    planes.progressed("peers", 10.0)
    planes.progressed("peers", 9.0)

    assert planes.view(10.0)[0].since_progress == 0.0


def test_a_restart_keeps_the_watermark() -> None:
    planes = Planes()
    planes.entered("peers", PlaneState.RUNNING)
    planes.progressed("peers", 10.0)
    planes.entered("peers", PlaneState.RESTARTING)

    assert planes.view(11.0)[0].state == "restarting"
    assert planes.view(11.0)[0].since_progress == 1.0
