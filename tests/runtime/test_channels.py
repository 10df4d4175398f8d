"""Channels between two nodes: opened, used, closed each way, broken, drained."""

from contextlib import suppress

import pytest
import trio

from fabric.codes import Code
from fabric.errors import ChannelBroken
from fabric.testing.pairs import connected, offered, receive_all, refusal


async def test_bytes_go_both_ways_and_each_end_closes_its_own(autojump_clock, two):
    home, _away = await two()
    async with home.open_channel("demo") as channel:
        assert channel.service == "demo"
        assert channel.peer == "away"
        await channel.send_all(b"hello")
        assert await channel.receive_some() == b"hello"
        await channel.send_eof()
        assert await channel.receive_some() == b""
        assert (channel.sent_bytes, channel.received_bytes) == (5, 5)


async def test_a_megabyte_arrives_whole_past_every_window(autojump_clock, two):
    home, _ = await two()
    payload = bytes(range(256)) * 4096
    async with home.open_channel("demo") as channel, trio.open_nursery() as nursery:

        async def send():
            await channel.send_all(payload)
            await channel.send_eof()

        nursery.start_soon(send)
        assert await receive_all(channel) == payload


async def test_the_server_may_speak_first_and_with_its_acceptance(autojump_clock, two):
    async def greet(channel):
        await channel.send_all(b"220 ready\r\n")
        await channel.send_eof()
        await receive_all(channel)

    home, _ = await two(greet)
    async with home.open_channel("demo") as channel:
        assert await channel.receive_some(4) == b"220 "
        assert await receive_all(channel) == b"ready\r\n"
        assert channel.received_bytes == 11


async def test_a_half_close_leaves_the_other_direction_open(autojump_clock, two):
    async def answer_at_the_end(channel):
        request = await receive_all(channel)
        await trio.sleep(60)
        await channel.send_all(request[::-1])

    home, _ = await two(answer_at_the_end)
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"abc")
        await channel.send_eof()
        await channel.send_eof()
        assert await receive_all(channel) == b"cba"


async def test_both_ends_log_one_line_under_one_id(autojump_clock, two, logged):
    home, away = await two()
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"12345")
        await channel.receive_some()
        channel_id = channel.id
        assert home.channel(channel_id)["direction"] == "out"
        assert away.channel(channel_id)["direction"] == "in"
        (row,) = home.snapshot()["channels"]
        assert (row["id"], row["state"], row["sent_bytes"]) == (channel_id, "open", 5)
    await trio.sleep(1)

    out, into = sorted(
        logged("channel.closed", channel=channel_id),
        key=lambda line: line["direction"],
        reverse=True,
    )
    assert (out["direction"], out["peer"], out["code"]) == ("out", "away", "done")
    assert (into["direction"], into["peer"], into["code"]) == ("in", "home", "done")
    assert out["sent_bytes"] == into["received_bytes"] == 5
    assert len(channel_id) == 32
    assert home.channel(channel_id)["code"] == "done"
    assert home.channel("0" * 32) is None
    assert home.snapshot()["channels"] == away.snapshot()["channels"] == []


@pytest.mark.parametrize("opener_breaks", [True, False])
async def test_a_reset_reaches_the_other_end_with_its_code(
    autojump_clock, two, logged, opener_breaks
):
    seen = []

    async def handler(channel):
        if not opener_breaks:
            await channel.receive_some()
            channel.reset(Code.QUOTA_EXCEEDED)
            return
        try:
            await receive_all(channel)
        except ChannelBroken as broken:
            seen.append(broken.code)
            raise

    home, away = await two(handler)
    async with home.open_channel("demo") as channel:
        if opener_breaks:
            channel.reset(Code.QUOTA_EXCEEDED)
        else:
            await channel.send_all(b"x")
            with pytest.raises(ChannelBroken) as broken:
                await receive_all(channel)
            seen.append(broken.value.code)
        await trio.sleep(1)

    assert seen == [Code.QUOTA_EXCEEDED]
    assert len(logged("channel.closed", code="quota_exceeded")) == 2
    assert home.metrics.channels_reset.series["demo", Code.QUOTA_EXCEEDED] == 1
    assert away.metrics.channels_reset.series["demo", Code.QUOTA_EXCEEDED] == 1


async def test_an_exception_in_the_openers_body_resets_the_channel(autojump_clock, two, logged):
    seen = []

    async def handler(channel):
        try:
            await receive_all(channel)
        except ChannelBroken as broken:
            seen.append(broken.code)

    home, _ = await two(handler)
    with suppress(ZeroDivisionError):
        async with home.open_channel("demo") as channel:
            await channel.send_all(b"half of")
            raise ZeroDivisionError
    await trio.sleep(1)

    assert seen == [Code.INTERNAL_ERROR]


async def test_a_cancelled_opener_resets_the_channel_as_cancelled(autojump_clock, two):
    seen = []

    async def handler(channel):
        try:
            await receive_all(channel)
        except ChannelBroken as broken:
            seen.append(broken.code)

    home, _ = await two(handler)
    with trio.move_on_after(1):
        async with home.open_channel("demo"):
            await trio.sleep_forever()
    await trio.sleep(1)

    assert seen == [Code.CANCELLED]


async def test_a_handlers_bug_resets_its_channel_and_leaves_serve(autojump_clock, fleet, nursery):
    codes = []

    async def buggy(channel):
        await channel.receive_some()
        raise ZeroDivisionError

    async def use(home):
        await offered(home, "demo", "away")
        with suppress(ChannelBroken):
            async with home.open_channel("demo") as channel:
                try:
                    await channel.send_all(b"x")
                    await channel.receive_some()
                except ChannelBroken as broken:
                    codes.append(broken.code)

    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        nursery.start_soon(use, home)
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            await away.serve("demo", buggy)
        await trio.sleep(1)
        assert codes == [Code.INTERNAL_ERROR]
        assert (await refusal(home)).code is Code.UNKNOWN_SERVICE


async def test_what_the_opener_does_is_no_bug_of_the_handler(autojump_clock, two):
    async def careless(channel):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_all, channel)

    home, away = await two(careless)
    for _ in range(2):
        async with home.open_channel("demo") as channel:
            channel.reset(Code.CLIENT_GONE)
        await trio.sleep(1)

    assert away.metrics.channels_reset.series["demo", Code.CLIENT_GONE] == 2
    assert "demo" in away.services.offerings


async def test_reading_on_is_possible_after_the_reader_has_left(autojump_clock, two):
    """One who reads no further may have said all that matters: its answer is not thrown away."""

    async def answer_early(channel):
        await channel.receive_some()
        await channel.send_all(b"413 too large")

    home, _ = await two(answer_early)
    async with home.open_channel("demo") as channel:
        with suppress(ChannelBroken):
            while True:
                await channel.send_all(bytes(100_000))
        assert await receive_all(channel) == b"413 too large"


async def test_a_lost_connection_breaks_its_channels_with_a_code(
    autojump_clock, two, network, logged
):
    home, _away = await two()
    async with home.open_channel("demo") as channel:
        began = trio.current_time()
        network.cut("10.0.0.1", "10.0.0.2")
        with pytest.raises(ChannelBroken) as broken:
            await channel.receive_some()
        assert trio.current_time() - began < 5.0
    assert broken.value.code is Code.PEER_SILENT
    refused = await refusal(home)
    assert (refused.code, refused.hop) == (Code.PEER_LOST, "away")
    await trio.sleep(1)
    assert logged("peer.disconnected", peer="away", code=Code.PEER_SILENT)


async def test_the_next_channel_works_after_the_connection_came_back(autojump_clock, two):
    home, _away = await two()
    (link,) = home.overlay.peers.standing_links()
    link.connection.close(Code.PEER_LOST)
    await trio.sleep(2)
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"x")
        assert await channel.receive_some() == b"x"


async def test_a_draining_node_takes_no_channel_and_lets_the_open_ones_finish(
    autojump_clock, two, logged
):
    home, away = await two()
    async with trio.open_nursery() as nursery, home.open_channel("demo") as channel:
        nursery.start_soon(away.drain)
        await trio.sleep(0.5)
        assert away.state == "draining"
        refused = await refusal(home)
        assert (refused.code, refused.hop) == (Code.DRAINING, "away")
        await channel.send_all(b"last words")
        assert await channel.receive_some() == b"last words"
    assert logged("node.drained", reset=0)
    assert logged("peer.draining", peer="away")


async def test_a_channel_that_outlives_the_drain_is_reset(autojump_clock, two, logged):
    home, away = await two()
    async with home.open_channel("demo") as channel, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(away.drain)
        with pytest.raises(ChannelBroken) as broken:
            await channel.receive_some()
        assert 1.9 < trio.current_time() - began < 2.5
    assert broken.value.code is Code.DRAIN_TIMEOUT
    assert logged("node.drained", reset=1)


async def test_a_draining_node_opens_nothing_itself(autojump_clock, two):
    home, _ = await two()
    await home.drain()

    assert (await refusal(home)).code is Code.DRAINING


async def test_a_peer_that_asks_all_the_same_is_refused_as_draining(autojump_clock, two, logged):
    home, away = await two()
    away.services.is_draining = True

    assert (await refusal(home)).code is Code.DRAINING


async def test_only_the_last_of_the_ended_channels_are_remembered(
    autojump_clock, two, monkeypatch
):
    monkeypatch.setattr("fabric.runtime.channels.REMEMBERED", 3)
    home, _away = await two()
    ids = []
    for _ in range(5):
        async with home.open_channel("demo") as channel:
            ids.append(channel.id)
    assert [home.channel(each) is not None for each in ids] == [False, False, True, True, True]
