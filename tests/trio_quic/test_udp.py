"""The socket: offloads refused, a full buffer, errors of the network: the same bytes arrive."""

from __future__ import annotations

import errno
import socket
from contextlib import closing

import pytest
import trio

from fabric.testing.quic import Pair, open_pair, open_streams, read_all
from fabric.trio_quic import Settings, open_udp_socket
from fabric.trio_quic.udp import MAX_GSO_BYTES, MAX_SEGMENTS, UDP_GRO, UdpSocket, run_end

PAYLOAD = bytes(range(256)) * 8_000
BUFFER = 1 << 20


class ReluctantSocket:
    """A real socket whose sends fail as *plan* says: one errno or ``None`` for each in turn."""

    def __init__(self, real, plan, *, only_runs=False):
        self._real = real
        self._plan = iter(plan)
        self._only_runs = only_runs
        self.refused = 0

    def __getattr__(self, name):
        return getattr(self._real, name)

    def _maybe_refuse(self):
        error = next(self._plan, None)
        if error is not None:
            self.refused += 1
            raise OSError(error, "as planned") if error != errno.EAGAIN else BlockingIOError()

    def sendto(self, data, to):
        if not self._only_runs:
            self._maybe_refuse()
        return self._real.sendto(data, to)

    def sendmsg(self, run, ancillary, flags, to):
        self._maybe_refuse()
        return self._real.sendmsg(run, ancillary, flags, to)


def a_socket(plan=(), **options):
    made = open_udp_socket("127.0.0.1", 0, buffer_bytes=BUFFER)
    made.sock = ReluctantSocket(made.sock, plan, **options)
    return made


async def exchange(pair: Pair):
    """Send the payload both ways at once, and compare."""
    near, far = await open_streams(pair)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all_eof, PAYLOAD)
        nursery.start_soon(far.send_all_eof, PAYLOAD[::-1])
        assert await read_all(far) == PAYLOAD
        assert await read_all(near) == PAYLOAD[::-1]


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP])
@pytest.mark.parametrize("after", [0, 5])
async def test_gso_refused_at_once_or_later_is_given_up(error, after):
    transport = a_socket([None] * after + [error], only_runs=True)
    if not transport.gso:
        pytest.skip("this kernel has no GSO to refuse")
    async with open_pair(dialling_on=transport) as pair:
        await exchange(pair)
    assert transport.sock.refused == 1
    assert transport.gso is False
    assert transport.counters.gso_refused == 1
    assert transport.counters.dropped_unsent == 0


async def test_a_socket_that_blocks_now_and_then_delays_and_loses_nothing():
    transport = a_socket([None] * 6 + [errno.EAGAIN, None, errno.EAGAIN] * 50)
    async with open_pair(dialling_on=transport) as pair:
        await exchange(pair)
        assert pair.dialler.engine._core.loss_total == 0
    assert transport.sock.refused > 20
    assert transport.counters.dropped_unsent == 0


async def test_a_dial_whose_first_send_blocks_goes_on():
    async with open_pair(dialling_on=a_socket([errno.EAGAIN])) as pair:
        await exchange(pair)


async def test_an_answer_to_a_stranger_that_blocks_does_not_block_the_endpoint():
    """A Retry belongs to no connection, and nothing else is there that would be flushed."""
    transport = a_socket([errno.EAGAIN])
    always_retry = Settings(retry_rate=0)
    async with open_pair(accepting_on=transport, accepting_settings=always_retry) as pair:
        assert pair.accepting.counters.retries_sent > 0
        await exchange(pair)
    assert transport.sock.refused == 1


@pytest.mark.parametrize("error", [errno.EMSGSIZE, errno.EPERM, errno.ENETUNREACH])
async def test_a_send_that_fails_is_a_loss_and_no_more(error):
    transport = a_socket([None] * 8 + [error, None, None] * 3)
    async with open_pair(dialling_on=transport) as pair:
        await exchange(pair)
    assert transport.counters.send_errors == transport.sock.refused > 0


@pytest.mark.parametrize(("gso", "gro"), [(False, True), (True, False), (False, False)])
async def test_either_offload_may_be_missing(gso, gro):
    transports = [open_udp_socket("127.0.0.1", 0, buffer_bytes=BUFFER) for _ in range(2)]
    for transport in transports:
        transport.gso = transport.gso and gso
        if not gro:
            transport.sock.setsockopt(socket.SOL_UDP, UDP_GRO, 0)
    async with open_pair(dialling_on=transports[0], accepting_on=transports[1]) as pair:
        await exchange(pair)


async def test_probes_beside_bulk_from_one_socket_are_told_apart():
    """GRO joins by address and size: they share buffers with QUIC packets of the same size."""
    dialling_on = open_udp_socket("127.0.0.1", 0, buffer_bytes=BUFFER)
    async with open_pair(dialling_on=dialling_on) as pair:
        there, probes = pair.accepting.address, []
        pair.accepting.foreign = lambda data, source: probes.append((data[:1], source))
        sent = 0

        async def probe():
            nonlocal sent
            while True:
                for size in (1169, 1170, 1171, 1200):
                    dialling_on.send([b"\x02" * size] * 3, there)
                    sent += 3
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe)
            await exchange(pair)
            nursery.cancel_scope.cancel()
        await trio.sleep(0.2)
        assert 0.9 * sent <= len(probes) <= sent
        assert set(probes) == {(b"\x02", dialling_on.address)}
        assert not pair.accepting.counters.engine_failures


async def test_a_socket_of_both_families_serves_ipv4():
    accepting_on = open_udp_socket("::", 0, buffer_bytes=BUFFER)
    dialling_on = open_udp_socket("127.0.0.1", 0, buffer_bytes=BUFFER)
    port = accepting_on.address[1]
    accepting_on_v4 = _Renamed(accepting_on, ("127.0.0.1", port))
    async with open_pair(dialling_on=dialling_on, accepting_on=accepting_on_v4) as pair:
        await exchange(pair)


class _Renamed:
    """A transport that says another address than the wildcard it is bound to."""

    def __init__(self, real: UdpSocket, address):
        self._real, self.address = real, address

    def __getattr__(self, name):
        return getattr(self._real, name)


def test_a_run_is_of_equal_sizes_and_only_its_last_is_shorter():
    assert run_end([9, 9, 9], 0) == 3
    assert run_end([9, 9, 5, 9], 0) == 3
    assert run_end([9, 9, 5, 9], 2) == 3
    assert run_end([5, 9], 0) == 1
    assert run_end([9, 10], 0) == 1
    assert run_end([1200] * 500, 100) == 100 + min(MAX_SEGMENTS, MAX_GSO_BYTES // 1200)
    assert run_end([9000] * 20, 0) == MAX_GSO_BYTES // 9000


def test_a_port_that_is_taken_is_an_error_and_leaks_no_socket():
    first = open_udp_socket("127.0.0.1", 0, buffer_bytes=BUFFER)
    with pytest.raises(OSError, match="in use"):
        open_udp_socket("127.0.0.1", first.address[1], buffer_bytes=BUFFER)
    first.close()


def test_empty_datagrams_are_read_one_at_a_time():
    """Skipped inside, a flood of them would keep the pump in one read for as long as it lasts."""
    with closing(open_udp_socket("127.0.0.1", 0, buffer_bytes=1 << 16)) as transport:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in (b"", b"", b"\x40"):
                sender.sendto(data, transport.address)
        got = [transport.receive() for _ in range(3)]
    assert [each and each[0] for each in got] == [b"", b"", b"\x40"]
