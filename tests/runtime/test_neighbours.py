"""The neighbours plane turns records into places, and wishes into dials."""

import random

import pytest
import trio

from fabric.codes import Code
from fabric.core import neighbour_events as told
from fabric.core.directory import Directory
from fabric.core.diversity import Place
from fabric.core.holding import Heard
from fabric.core.neighbours import Neighbours
from fabric.core.planes import Planes, PlaneState
from fabric.core.readings import Readings
from fabric.errors import RefusedError
from fabric.runtime.neighbours import PLANE, NeighboursPlane
from fabric.testing.records import BORN, AFabric


class Keeper:
    """Stands in for the peers plane: notes what is wished for."""

    def __init__(self):
        self.sought, self.nudged, self.linked = {}, [], {}

    def seek(self, node, *, slowly):
        self.sought[node] = slowly

    def let_go(self, node):
        self.sought.pop(node, None)

    def nudge(self, node):
        self.nudged.append(node)

    async def connected(self, node):
        while node not in self.linked:
            await trio.sleep(0.1)
        return self.linked[node]

    def reason(self, node):
        return Code.PIN_MISMATCH


class Around:
    def __init__(self):
        self.fabric, self.directory = AFabric(), Directory()
        readings = Readings(self.directory, self.fabric.id, lambda: float(BORN + 1))
        planes = Planes()
        planes.entered(PLANE, PlaneState.RUNNING)
        me = Place(node=self.fabric.node_id("home"))
        core = Neighbours(me, random.Random(1), seeds=[("192.0.2.1", 1)])
        self.plane = NeighboursPlane(core=core, readings=readings, planes=planes)
        self.keeper = self.plane.keeper = Keeper()
        self.seeds = []
        self.plane.dial_seed = self.seeds.append

    def hold(self, record):
        self.directory.apply(record, self.fabric.signed(record), Heard(), float(BORN + 1))
        self.plane.changed(record.key)
        return record.subject


@pytest.fixture
def around():
    return Around()


async def test_every_member_of_a_small_fleet_is_sought_and_a_revoked_one_no_more(around):
    around.hold(around.fabric.node("home"))
    away, other = (around.hold(around.fabric.node(name)) for name in ("away", "other"))
    around.plane.receive(told.Ticked())
    await trio.sleep(0.3)
    around.plane.receive(told.Ticked())
    assert around.keeper.sought.keys() == {away, other}
    around.hold(around.fabric.node("away", generation=2, revoked=True))
    await trio.sleep(0.3)
    around.plane.receive(told.Ticked())
    assert around.keeper.sought.keys() == {other}


async def test_the_policy_bounds_how_many_links_are_sought(around):
    around.hold(around.fabric.node("home"))
    around.hold(around.fabric.policy(full_mesh_up_to=4, degree=3))
    for number in range(30):
        around.hold(around.fabric.node(f"n{number}"))
    await trio.sleep(0.3)
    around.plane.receive(told.Ticked())
    assert 3 <= len(around.keeper.sought) <= 12


async def test_a_seed_that_nobody_is_known_to_be_at_is_dialled(around):
    around.plane.receive(told.Ticked())
    assert around.seeds == [("192.0.2.1", 1)]


async def test_who_offers_a_core_service_is_a_way_to_recovery(around):
    away = around.hold(around.fabric.node("away"))
    around.hold(around.fabric.service("control", core=True))
    around.hold(around.fabric.offers("away", "control"))
    assert around.plane._place(around.plane.readings.member(away)).recovers


async def test_who_offers_a_service_that_becomes_core_is_listed_anew_and_nobody_else(around):
    away = around.hold(around.fabric.node("away"))
    around.hold(around.fabric.node("other"))
    around.hold(around.fabric.offers("away", "control"))
    around.hold(around.fabric.offers("other", "demo"))
    listed, receive = [], around.plane.core.receive
    around.plane.core.receive = lambda event, now: (listed.append(event), receive(event, now))[1]
    around.hold(around.fabric.service("demo"))
    assert listed == []
    around.hold(around.fabric.service("control", core=True))
    around.hold(around.fabric.service("control", generation=2))
    assert [(each.place.node, each.place.recovers) for each in listed] == [
        (away, True),
        (away, False),
    ]


async def test_a_link_for_a_channel_is_dialled_at_once_and_waited_for(around, autojump_clock):
    away = around.hold(around.fabric.node("away"))
    around.keeper.linked[away] = "a link"
    assert await around.plane.connect(away, 1.0) == "a link"
    assert away in around.keeper.nudged


async def test_a_link_that_does_not_come_is_refused_with_what_is_known_of_it(
    around, autojump_clock
):
    away = around.hold(around.fabric.node("away"))
    with pytest.raises(RefusedError) as refused:
        await around.plane.connect(away, 1.0)
    assert refused.value.code is Code.PIN_MISMATCH


async def test_nobody_is_dialled_who_is_no_member(around):
    with pytest.raises(RefusedError) as refused:
        await around.plane.connect(around.fabric.node_id("stranger"), 1.0)
    assert refused.value.code is Code.UNKNOWN_RECORD
    assert not around.keeper.nudged
