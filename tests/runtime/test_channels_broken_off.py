"""Channels that break at odd moments: nothing is left behind, and nothing but a code comes out."""

import pytest
import trio
import trio.testing

from fabric.codes import Code
from fabric.core.codec import encode
from fabric.core.frames import Draining
from fabric.errors import ChannelBroken
from fabric.runtime.channels import Channels
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics
from fabric.testing.pairs import refusal


async def answered_by(two, monkeypatch, behave):
    """Return ``home``, connected to an ``away`` whose streams *behave* handles."""
    home, away = await two()

    def take(self, stream, *_):
        behave(stream)

    monkeypatch.setattr(type(away.accepter), "_take", take)
    async with home.open_channel("demo"):
        pass  # by whom the wait for a stream was begun, that takes it
    return home


def streams_of(node):
    return [connection.stream_count for connection in node.endpoint.connections]


@pytest.mark.parametrize(
    "behave",
    [
        lambda stream: stream.reset(Code.BUSY),
        lambda stream: stream.send_nowait(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda stream: stream.send_nowait(encode(Draining(until=1))),
    ],
    ids=["reset", "noise", "another frame"],
)
async def test_a_bad_answer_leaves_no_stream(autojump_clock, two, monkeypatch, behave):
    home = await answered_by(two, monkeypatch, behave)
    for _ in range(5):
        await refusal(home)
    await trio.sleep(2)
    (streams,) = streams_of(home)
    assert streams <= 2  # control, and sync where this end dialled


async def test_waiting_for_room_on_a_broken_channel_raises_its_code(autojump_clock, two):
    broken = []

    async def fill(channel):
        with trio.move_on_after(0.5):
            await channel.send_all(bytes(1 << 20))
        try:
            await channel.wait_send_all_might_not_block()
        except ChannelBroken as error:
            broken.append(error.code)
            raise

    home, _away = await two(fill)
    async with home.open_channel("demo") as channel:
        await trio.sleep(1)
        channel.reset(Code.CLIENT_GONE)
    await trio.sleep(1)
    assert broken == [Code.CLIENT_GONE]


async def test_a_wait_longer_than_a_frame_can_say_is_no_error(autojump_clock, two):
    home, _away = await two()
    async with home.open_channel("demo", deadline=10_000.0):
        pass


async def test_two_may_wait_for_the_last_channel(autojump_clock):
    channels = Channels(Metrics(), EventBus())

    class Last:
        code = None

    channels._live[Last] = None
    done = []

    async def wait(name):
        await channels.wait_empty()
        done.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "one")
        nursery.start_soon(wait, "other")
        await trio.testing.wait_all_tasks_blocked()
        del channels._live[Last]
        channels._emptied.set()
        with trio.move_on_after(1) as scope:
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(done) == ["one", "other"]
        nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
