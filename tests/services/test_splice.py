"""The splice alone: a real TCP connection on one side, a channel in memory on the other."""

from contextlib import contextmanager

import pytest
import trio
import trio.testing

from fabric.codes import Code
from fabric.errors import ChannelBroken
from services import tcp
from services.lifetime import Lifetime
from services.splice import splice

MEGABYTE = 1_000_000


async def spliced(nursery, tcp_pair, pair_of_channels, **limits):
    """Start a splice; return the client's socket, the channel's far end and the lifetime."""
    client, served = tcp_pair()
    near, far = pair_of_channels()
    life = Lifetime(**limits)

    async def run():
        with life.scope:
            await splice(served, near, life, gone=Code.CLIENT_GONE)

    nursery.start_soon(run)
    return client, far, life


@contextmanager
def _broken(code):
    with pytest.raises(ChannelBroken) as caught:
        yield
    assert caught.value.code is code


async def _send_for_ever(sock):
    while True:
        await tcp.send_all(sock, b"more")
        await trio.sleep(0.001)  # for the RST to cross the loopback


async def channel_to_end(channel):
    data = b""
    while piece := await channel.receive_some():
        data += piece
    return data


async def test_bytes_pass_both_ways_and_are_counted(nursery, tcp_pair, pair_of_channels, received):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    await tcp.send_all(client, b"ask")
    assert await far.receive_some() == b"ask"
    await far.send_all(b"answer")
    await far.send_eof()
    assert await received(client) == b"answer"
    tcp.send_eof(client)
    assert await far.receive_some() == b""
    await trio.testing.wait_all_tasks_blocked()
    assert (life.sent_bytes, life.received_bytes, life.code) == (3, 6, Code.DONE)


async def test_what_was_read_before_goes_first(nursery, tcp_pair, pair_of_channels):
    client, served = tcp_pair()
    near, far = pair_of_channels()
    await tcp.send_all(client, b" and the rest")
    tcp.send_eof(client)
    life = Lifetime()

    async def run():
        await splice(served, near, life, gone=Code.CLIENT_GONE, first=b"the start")

    nursery.start_soon(run)
    assert await channel_to_end(far) == b"the start and the rest"
    await far.send_eof()


async def test_the_client_may_finish_first_and_still_be_answered(
    nursery, tcp_pair, pair_of_channels, received
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    tcp.send_eof(client)
    assert await far.receive_some() == b""
    await far.send_all(bytes(MEGABYTE // 8))
    await far.send_eof()
    assert len(await received(client)) == MEGABYTE // 8
    await trio.testing.wait_all_tasks_blocked()
    assert life.code is Code.DONE


async def test_the_service_may_finish_first_and_still_be_sent_to(
    nursery, tcp_pair, pair_of_channels
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    await far.send_eof()
    assert await tcp.receive(client) == b""
    await tcp.send_all(client, b"late upload")
    tcp.send_eof(client)
    assert await channel_to_end(far) == b"late upload"
    await trio.testing.wait_all_tasks_blocked()
    assert life.code is Code.DONE


async def test_a_fin_waits_behind_the_data_that_is_pushed_back(
    nursery, tcp_pair, pair_of_channels
):
    client, far, _ = await spliced(nursery, tcp_pair, pair_of_channels)

    async def upload():
        for _ in range(8):
            await tcp.send_all(client, bytes(MEGABYTE))
        tcp.send_eof(client)

    nursery.start_soon(upload)
    await trio.testing.wait_all_tasks_blocked(0.05)  # everything between is full
    assert far.into.held < MEGABYTE
    assert len(await channel_to_end(far)) == 8 * MEGABYTE
    await far.send_eof()


async def test_a_stalled_client_stops_its_sender(nursery, tcp_pair, pair_of_channels, received):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    given = 0

    async def download():
        nonlocal given
        for _ in range(1000):
            await far.send_all(bytes(64 * 1024))
            given += 1
        await far.send_eof()

    nursery.start_soon(download)
    await trio.testing.wait_all_tasks_blocked(0.1)
    stopped_at = given
    # The channel's window, one piece in the splice, and what two kernel buffers grow to.
    assert given * 64 * 1024 - life.received_bytes <= 512 * 1024
    assert stopped_at < 1000
    await trio.testing.wait_all_tasks_blocked(0.1)
    assert given == stopped_at
    tcp.send_eof(client)
    assert len(await received(client)) == 1000 * 64 * 1024


async def test_a_slow_reader_gets_every_byte(nursery, tcp_pair, pair_of_channels):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)

    async def download():
        for number in range(64):
            await far.send_all(bytes([number]) * 50_000)
        await far.send_eof()

    nursery.start_soon(download)
    got = b""
    while piece := await tcp.receive(client, 10_007):
        got += piece
        await trio.testing.wait_all_tasks_blocked()
    assert got == b"".join(bytes([number]) * 50_000 for number in range(64))
    tcp.send_eof(client)
    await trio.testing.wait_all_tasks_blocked()
    assert (life.code, life.received_bytes) == (Code.DONE, 64 * 50_000)


async def test_a_broken_channel_resets_the_client(
    nursery, tcp_pair, pair_of_channels, received, resets
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    await far.send_all(b"the first half")
    assert await tcp.receive(client) == b"the first half"
    far.reset(Code.BACKEND_GONE)
    with resets():
        await received(client)
    assert life.code is Code.BACKEND_GONE


async def test_a_channel_that_breaks_after_its_fin_resets_the_client(
    nursery, tcp_pair, pair_of_channels
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    await far.send_eof()
    assert await tcp.receive(client) == b""
    far.reset(Code.PEER_LOST)
    with pytest.raises(BrokenPipeError):  # how Linux tells of an RST behind a FIN
        await _send_for_ever(client)
    assert life.code is Code.PEER_LOST


async def test_a_client_that_resets_resets_the_channel(nursery, tcp_pair, pair_of_channels):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    await tcp.send_all(client, b"half a request")
    await far.receive_some()
    tcp.reset(client)
    with _broken(Code.CLIENT_GONE):
        await far.receive_some()
    assert life.code is Code.CLIENT_GONE


async def test_bytes_up_to_the_quota_pass_and_one_more_breaks_both_sides(
    nursery, tcp_pair, pair_of_channels, received, resets
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels, quota_bytes=10)
    await tcp.send_all(client, b"12345")
    assert await far.receive_some() == b"12345"
    await far.send_all(b"67890")
    assert await tcp.receive(client) == b"67890"
    await tcp.send_all(client, b"!")
    with resets():
        await received(client)
    with _broken(Code.QUOTA_EXCEEDED):
        await far.receive_some()
    assert life.sent_bytes + life.received_bytes == 10


async def test_silence_both_ways_ends_a_connection(
    nursery, tcp_pair, pair_of_channels, received, resets
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels, idle_timeout=0.05)
    with resets():
        await received(client)
    with _broken(Code.IDLE):
        await far.receive_some()
    assert life.code is Code.IDLE


async def test_bytes_one_way_keep_the_other_way_from_idling_out(
    nursery, tcp_pair, pair_of_channels
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels, idle_timeout=0.2)
    for _ in range(10):
        await tcp.send_all(client, b"x")
        assert await far.receive_some() == b"x"
        await trio.sleep(0.05)
    assert life.code is Code.DONE


async def test_ending_from_outside_gives_both_sides_the_reason(
    nursery, tcp_pair, pair_of_channels, received, resets
):
    client, far, life = await spliced(nursery, tcp_pair, pair_of_channels)
    await trio.testing.wait_all_tasks_blocked()
    life.end(Code.DRAIN_TIMEOUT)
    life.end(Code.IDLE)
    with resets():
        await received(client)
    with _broken(Code.DRAIN_TIMEOUT):
        await far.receive_some()


async def test_a_cancelled_splice_never_looks_complete(
    nursery, tcp_pair, pair_of_channels, received, resets
):
    client, served = tcp_pair()
    near, far = pair_of_channels()
    with trio.move_on_after(0.01):
        await splice(served, near, Lifetime(), gone=Code.CLIENT_GONE)
    with resets():
        await received(client)
    with _broken(Code.CANCELLED):
        await far.receive_some()


async def test_a_far_end_that_has_heard_enough_may_go_on_to_answer(
    nursery, tcp_pair, pair_of_channels, received
):
    """As a handler does that answers early and returns: STOP_SENDING, and a clean end."""
    client, served = tcp_pair()
    near, far = pair_of_channels()

    class Stopped(type(near)):
        __slots__ = ()

        async def send_all(self, data):
            await trio.lowlevel.checkpoint()
            raise ChannelBroken(Code.DONE)

    near.__class__ = Stopped
    life = Lifetime()

    async def run():
        with life.scope:
            await splice(served, near, life, gone=Code.CLIENT_GONE)

    nursery.start_soon(run)
    await tcp.send_all(client, b"a long question")
    await trio.testing.wait_all_tasks_blocked()
    await far.send_all(b"answer")
    await far.send_eof()
    assert await received(client) == b"answer"
