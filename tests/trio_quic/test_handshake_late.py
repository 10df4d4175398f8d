"""Handshake messages too late, altered or out of place, by an end of another make; and panics."""

from __future__ import annotations

import aioquic.tls
import pytest
import trio
from aioquic.quic import events

from fabric.testing.hostile import crypto_frame
from fabric.testing.oracle import open_oracle
from fabric.testing.quic import ACCEPTOR, an_identity
from fabric.trio_quic import ConnectionClosed, codes, open_endpoint

UNEXPECTED_MESSAGE = 0x10A
DECRYPT_ERROR = 0x133
TICKET = b"\x04\x00\x00\x10" + bytes(16)


async def test_a_handshake_message_after_the_handshake_closes_the_acceptor(dials, accepts):
    async with (
        open_endpoint("127.0.0.1", 0, identity=accepts.identity) as accepting,
        open_oracle(dials.identity, dial=accepting.address) as theirs,
    ):
        ours = await accepting.accept()
        await theirs.event(events.HandshakeCompleted)
        theirs.emit(theirs.seal(crypto_frame(TICKET)))
        assert (await theirs.event(events.ConnectionTerminated)).error_code == UNEXPECTED_MESSAGE
        assert (await ours.wait_closed()).code == UNEXPECTED_MESSAGE


async def test_a_session_ticket_closes_the_dialler(dials, accepts):
    """Resumption would skip the acceptor's proof of its key: nobody may offer it."""
    async with (
        open_endpoint("127.0.0.1", 0, identity=dials.identity) as dialling,
        open_oracle(accepts.identity) as theirs,
    ):
        ours = await dialling.connect(theirs.address, pin=accepts.public)
        await theirs.event(events.HandshakeCompleted)
        await ours.ping()
        theirs.emit(theirs.seal(crypto_frame(TICKET)))
        assert (await ours.wait_closed()).code == UNEXPECTED_MESSAGE
        assert (await theirs.event(events.ConnectionTerminated)).error_code == UNEXPECTED_MESSAGE


def altered(push):
    def push_altered(buffer, finished):
        finished.verify_data = bytes([finished.verify_data[0] ^ 1]) + finished.verify_data[1:]
        push(buffer, finished)

    return push_altered


def another_message(_push):
    return lambda buffer, _finished: buffer.push_bytes(b"\x0b\x00\x00\x04" + bytes(4))


@pytest.mark.parametrize(
    ("fault", "code"), [(altered, DECRYPT_ERROR), (another_message, UNEXPECTED_MESSAGE)]
)
async def test_an_acceptor_refuses_a_dialler_that_does_not_finish(
    dials, accepts, monkeypatch, fault, code
):
    monkeypatch.setattr(aioquic.tls, "push_finished", fault(aioquic.tls.push_finished))
    failed = []
    async with (
        open_endpoint("127.0.0.1", 0, identity=accepts.identity) as accepting,
        open_oracle(dials.identity, dial=accepting.address) as theirs,
    ):
        accepting.failed = failed.append
        assert (await theirs.event(events.ConnectionTerminated)).error_code == code
        assert failed[0].closed.code == code
        with trio.move_on_after(0.05):
            pytest.fail(f"accepted {await accepting.accept()}")


class PanicException(BaseException):
    """Named as the one of pyo3, which cannot be imported."""


class Poisoned:
    """A core after a panic inside it: its lock is poisoned, any call panics again."""

    def __getattr__(self, name):
        raise PanicException(name)


@pytest.mark.parametrize("end", ["dialler", "acceptor"])
async def test_a_panic_inside_the_core_ends_one_connection(autojump_clock, virtual_pair, end):
    broken = getattr(virtual_pair, end)
    stream = await virtual_pair.dialler.open_stream()
    await stream.send_all(b"before")
    far = await virtual_pair.acceptor.accept_stream()
    broken.engine._core = Poisoned()
    other = virtual_pair.acceptor if end == "dialler" else virtual_pair.dialler
    other.engine.ping(7)
    other.touch()
    ended = await broken.wait_closed()
    assert (ended.code, ended.by_peer) == (codes.INTERNAL_ERROR, False)
    assert sum(broken.endpoint.counters.engine_failures.values()) == 1
    assert not broken.endpoint.connections
    mine = stream if end == "dialler" else far
    with pytest.raises(ConnectionClosed):
        await mine.send_all(b"after")
    with pytest.raises(ConnectionClosed):
        await broken.open_stream()
    mine.abort(1)
    await mine.aclose()
    broken.close()
    await broken.aclose()
    assert broken.rtt is None
    accepts = an_identity(ACCEPTOR)
    again = await virtual_pair.dialling.connect(virtual_pair.accepting.address, pin=accepts.public)
    assert again.closed is None
