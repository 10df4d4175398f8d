"""The liveness plane carries out what its core decides, one event after the other."""

import pytest
import trio

from fabric.codes import Code
from fabric.core import liveness_events as told
from fabric.core.planes import Planes, PlaneState
from fabric.runtime.events import EventBus
from fabric.runtime.liveness import PLANE, LivenessPlane
from fabric.runtime.metrics import Metrics


class Scripted:
    """Stands in for the core: answers each event with what a test wrote down for it."""

    def __init__(self, script):
        self.script, self.heard = script, []

    def receive(self, event, now):
        self.heard.append((event, now))
        return list(self.script.get(type(event), ()))


class Nobody:
    def member(self, node):
        return None


class Outward:
    def __init__(self):
        self.posted, self.barred = [], []

    def post(self, to, frame):
        self.posted.append((to, frame))
        return True

    def bar(self, node, code, until):
        self.barred.append((node, code, until))


@pytest.fixture
def plane():
    planes = Planes()
    planes.entered(PLANE, PlaneState.RUNNING)
    made = LivenessPlane(
        core=Scripted({}),
        readings=Nobody(),
        events=EventBus(),
        metrics=Metrics(),
        planes=planes,
    )
    made.outward = Outward()
    made.root_heard = lambda peer, root: None
    return made


async def test_what_follows_from_an_effect_waits_until_the_others_are_carried_out(
    plane, nursery, autojump_clock
):
    """Else the moment to wake at that the second event asks for is lost to the first's."""
    now = trio.current_time()
    plane.core.script = {
        told.Connected: [told.RootHeard("peer", b"root"), told.Wake(now + 50)],
        told.Joined: [told.Wake(now + 5)],
    }
    plane.root_heard = lambda peer, root: plane.receive(told.Joined("other", "home"))
    nursery.start_soon(plane.run)
    await trio.sleep(1)
    plane.receive(told.Connected("peer"))
    await trio.sleep(10)
    ticks = [at for event, at in plane.core.heard if isinstance(event, told.Ticked)]
    assert now + 5 in ticks
    nursery.cancel_scope.cancel()


async def test_whoever_passed_on_a_forgery_is_kept_out_for_ten_minutes(plane):
    plane.core.script = {told.Connected: [told.Forged("peer", "subject")]}
    plane.receive(told.Connected("peer"))
    ((node, code, until),) = plane.outward.barred
    assert (node, code) == ("peer", Code.FORGED)
    assert until == pytest.approx(trio.current_time() + 600, abs=1)


async def test_a_turn_is_told_to_everybody_who_asked_and_counted(plane):
    heard = []
    plane.turned.append(lambda node, state: heard.append((node, state)))
    turned = told.Turned("peer", told.State.DEAD, told.Reason.SILENT, 0.0)
    plane.core.script = {told.Connected: [turned]}
    plane.receive(told.Connected("peer"))
    assert heard == [("peer", told.State.DEAD)]
    assert plane.metrics.members_turned.series == {("dead",): 1}
