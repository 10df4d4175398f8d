"""Whoever reads a node's events is told of each record that changed, as soon as it counts."""

import random

import trio
from structlog.testing import capture_logs

from fabric.codes import Code
from fabric.core.clocks import Floor
from fabric.core.directory import Directory
from fabric.core.gossip import Gossip
from fabric.core.identity import NodeId
from fabric.core.planes import Planes
from fabric.core.trust import Trust
from fabric.runtime.events import EventBus
from fabric.runtime.gossip import GossipPlane
from fabric.runtime.metrics import Metrics
from fabric.testing.records import BORN, AFabric


class Disk:
    """Keeps nothing."""

    def __getattr__(self, name):
        return lambda *_: None


def a_plane(fabric, events):
    directory, floor = Directory(), Floor.opened(BORN, stored=0, given=[])
    trust = Trust(fabric.id, fabric.signed(fabric.root()))
    core = Gossip(
        NodeId("me"), directory=directory, trust=trust, floor=floor, rng=random.Random(1)
    )
    return GossipPlane(
        core=core,
        cache=Disk(),
        metrics=Metrics(),
        events=events,
        planes=Planes(),
        unix_now=lambda: BORN + 1.0,
    )


async def test_a_record_that_counts_is_told_by_its_key_and_a_copy_of_it_is_not(autojump_clock):
    fabric, events = AFabric(), EventBus()
    plane = a_plane(fabric, events)
    signed = fabric.signed(fabric.service("demo"))
    async with events.open_subscription() as told:
        plane.publish(signed)
        plane.publish(signed)
        plane.publish(fabric.signed(fabric.service("logs")))
        seen = [await anext(told) for _ in range(2)]
    assert [(each.name, each.fields) for each in seen] == [
        ("record.changed", {"key": "service/demo"}),
        ("record.changed", {"key": "service/logs"}),
    ]


async def test_of_an_alarm_that_goes_on_a_line_a_minute_is_logged(autojump_clock):
    plane = a_plane(AFabric(), EventBus())
    with capture_logs() as lines:
        for second in range(130):
            plane.alarm(Code.DUPLICATE_IDENTITY, f"seen {second} times", None)
            await trio.sleep(1)
        plane.alarm(Code.FORGED, "another", None)
    assert [line["detail"] for line in lines] == [
        "seen 0 times",
        "seen 60 times",
        "seen 120 times",
        "another",
    ]
    assert plane.alarms[Code.DUPLICATE_IDENTITY] == "seen 129 times"
