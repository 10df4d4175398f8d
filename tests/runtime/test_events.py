"""The event bus: publishing never waits, a slow reader loses the oldest and is told."""

import json

import trio
import trio.testing

from fabric.codes import Code
from fabric.runtime.events import Event, EventBus


async def test_each_subscription_hears_what_is_published_while_it_is_open():
    bus = EventBus(clock=lambda: 1.5)
    bus.publish("peer.connected", peer="early")
    async with bus.open_subscription() as one, bus.open_subscription() as two:
        bus.publish("peer.connected", peer="home-1")
        for subscription in (one, two):
            event = await anext(subscription)
            assert event == Event("peer.connected", 2, 1.5, {"peer": "home-1"})
    assert bus.subscribers == 0


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many():
    bus = EventBus()
    async with bus.open_subscription(queue_events=3) as slow:
        for number in range(10):
            bus.publish("channel.opened", number=number)
        lost = await anext(slow)
        assert (lost.name, lost.fields) == ("events.dropped", {"count": 7})
        assert [(await anext(slow)).fields["number"] for _ in range(3)] == [7, 8, 9]
        assert slow.dropped == bus.dropped == 7


async def test_one_slow_reader_costs_the_others_nothing():
    bus = EventBus()
    async with bus.open_subscription(queue_events=1), bus.open_subscription() as quick:
        for number in range(5):
            bus.publish("channel.opened", number=number)
            assert (await anext(quick)).fields == {"number": number}
        assert (quick.dropped, bus.dropped) == (0, 4)


async def test_a_waiting_reader_is_woken_by_the_next_event():
    bus = EventBus()
    heard = []
    async with trio.open_nursery() as nursery, bus.open_subscription() as subscription:

        async def read():
            heard.append(await anext(subscription))
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        bus.publish("node.drained")
        await trio.sleep_forever()
    assert [event.name for event in heard] == ["node.drained"]


def test_an_event_shows_codes_by_label_and_unknown_values_by_type_alone():
    class Secret:
        def __repr__(self):
            raise AssertionError("rendered")

    event = Event(
        "hello.refused", 1, 2.0, {"code": Code.BAD_PROOF, "key": b"\x01" * 32, "seed": Secret()}
    )
    assert json.loads(event.to_json()) == {
        "event": "hello.refused",
        "at": 2.0,
        "code": "bad_proof",
        "key": "<32 bytes>",
        "seed": "<Secret>",
    }
