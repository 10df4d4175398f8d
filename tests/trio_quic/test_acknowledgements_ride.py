"""Acknowledgements that wait for the answer: a request and its answer are one datagram each."""

import pytest
import trio

from fabric.trio_quic._native import ACK_HOLD

EXCHANGES = 20


@pytest.fixture
async def echoed(virtual_pair, nursery):
    """A stream of the dialler's whose other end answers a byte with a byte, after others ran."""
    near = await virtual_pair.dialler.open_stream()
    await near.send_all(b"!")
    far = await virtual_pair.acceptor.accept_stream()

    async def echo():
        while byte := await far.receive_some():
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            await far.send_all(byte)

    nursery.start_soon(echo)
    assert await near.receive_some() == b"!"
    await trio.sleep(1)
    yield near
    nursery.cancel_scope.cancel()


def sent(pair):
    return [each.transport_counters.datagrams_sent for each in (pair.dialling, pair.accepting)]


async def test_an_exchange_on_a_quiet_connection_costs_one_datagram_each_way(
    autojump_clock, virtual_pair, echoed
):
    before = sent(virtual_pair)
    for _ in range(EXCHANGES):
        await echoed.send_all(b"?")
        assert await echoed.receive_some() == b"?"
    asked, answered = (
        after - earlier for after, earlier in zip(sent(virtual_pair), before, strict=True)
    )

    assert EXCHANGES <= asked <= EXCHANGES + 2
    assert EXCHANGES <= answered <= EXCHANGES + 2


async def test_what_is_not_answered_is_acknowledged_soon(autojump_clock, virtual_pair, echoed):
    await echoed.send_all(b"?")
    await trio.sleep(0.020 + 2 * ACK_HOLD)  # 10 ms each way
    assert virtual_pair.dialler.engine.unsent_in_all() == 0


async def test_whoever_says_that_nothing_follows_has_it_acknowledged_at_once(
    autojump_clock, virtual_pair, echoed
):
    await echoed.send_all(b"?")
    assert await echoed.receive_some() == b"?"
    before, answered_at = sent(virtual_pair)[0], trio.current_time()
    virtual_pair.dialler.acknowledge()
    for _ in range(5):
        await trio.lowlevel.checkpoint()

    assert sent(virtual_pair)[0] == before + 1
    assert trio.current_time() - answered_at < ACK_HOLD
