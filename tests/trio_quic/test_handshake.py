"""Handshakes that must fail: code and reason at both ends, and nothing for the application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import pytest
import trio
from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from qh3 import tls

from fabric.testing.hostile import an_honest_hello, hello_datagrams
from fabric.testing.network import Network
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity
from fabric.trio_quic import (
    Connection,
    ConnectionClosed,
    Endpoint,
    HandshakeTimeout,
    Identity,
    Settings,
    codes,
    open_endpoint_on,
)
from fabric.trio_quic._handshake import Handshake

HANDSHAKE_FAILURE = 0x128
DECRYPT_ERROR = 0x133
UNEXPECTED_MESSAGE = 0x10A
NO_APPLICATION_PROTOCOL = 0x178


@frozen
class Ends:
    """Two endpoints that have not met, and what became of those that dialled."""

    dialling: Endpoint
    accepting: Endpoint
    accepted: list[Connection] = field(factory=list)
    failed: list[Connection] = field(factory=list)
    _judged: trio.Event = field(factory=trio.Event)

    async def refused(self, *, pin=None):
        """Dial, and return why it failed here and there."""
        with pytest.raises(ConnectionClosed) as caught:
            await self.dialling.connect(self.accepting.address, pin=pin)
        with trio.fail_after(1):
            await self._judged.wait()
        assert self.accepted == []
        return caught.value, self.failed[0].closed

    async def accept(self, *, task_status):
        def fail(connection):
            self.failed.append(connection)
            self._judged.set()

        self.accepting.failed = fail
        task_status.started()
        while True:
            self.accepted.append(await self.accepting.accept())


def a_greeting(_connection):
    return 1, b"a challenge"


@asynccontextmanager
async def open_ends(network, *, acceptor=None, settings=None, dialling_settings=None):
    settings = settings or Settings()
    async with (
        open_endpoint_on(
            network.transport(),
            identity=acceptor or an_identity(ACCEPTOR).identity,
            settings=settings,
            greeting=a_greeting,
        ) as accepting,
        open_endpoint_on(
            network.transport(),
            identity=an_identity(DIALLER).identity,
            settings=dialling_settings or settings,
        ) as dialling,
        trio.open_nursery() as nursery,
    ):
        ends = Ends(dialling, accepting)
        await nursery.start(ends.accept)
        yield ends
        nursery.cancel_scope.cancel()


@pytest.fixture
async def ends(network):
    async with open_ends(network) as both:
        yield both


def a_p256_identity():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node of a test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(certificate.public_bytes(Encoding.PEM), private)


def alter_message(monkeypatch, kind, change):
    """Have acceptors call `change(say, body)` where they would say a message of that kind."""
    honest = Handshake._say

    def say(handshake, out, said, body):
        if said == kind:
            change(partial(honest, handshake, out, said), body)
        else:
            honest(handshake, out, said, body)

    monkeypatch.setattr(Handshake, "_say", say)


async def test_a_wrong_pin_is_told_to_both_ends(autojump_clock, ends):
    here, there = await ends.refused(pin=an_identity(99).public)
    assert (here.code, here.by_peer) == (codes.PIN_MISMATCH, False)
    assert here.reason.startswith("pin_mismatch ")
    assert (there.code, there.reason, there.by_peer) == (codes.PIN_MISMATCH, here.reason, True)
    assert not there.is_transport


async def test_nothing_of_an_acceptor_with_a_wrong_key_is_delivered(autojump_clock, ends):
    connections = []
    connect = ends.dialling.adopt
    ends.dialling.adopt = lambda connection, *cids: (
        connections.append(connection),
        connect(connection, *cids),
    )
    await ends.refused(pin=an_identity(99).public)
    with pytest.raises(ConnectionClosed):
        await connections[0].accept_unidirectional()
    assert connections[0].stream_count == 0


async def test_the_right_pin_gets_the_greeting(autojump_clock, network, accepts):
    async with open_ends(network) as ends:
        dialler = await ends.dialling.connect(ends.accepting.address, pin=accepts.public)
        kind, stream = await dialler.accept_unidirectional()
        assert (kind, await stream.receive_some()) == (1, b"a challenge")
        assert await stream.receive_some() == b""
        assert dialler.peer_key == accepts.public
        await trio.sleep(0.1)
        assert [connection.admitted for connection in ends.accepted] == [False]


async def test_a_certificate_of_another_key_type_is_refused(autojump_clock, network):
    async with open_ends(network, acceptor=a_p256_identity()) as ends:
        here, there = await ends.refused()
        assert here.code == there.code == HANDSHAKE_FAILURE
        assert here.is_transport
        assert there.is_transport
        assert "signature algorithm" in here.reason
        assert (here.by_peer, there.by_peer) == (True, False)


async def test_a_signature_of_a_kind_not_offered_is_refused(autojump_clock, network, monkeypatch):
    """An acceptor that signs with P-256 all the same, whatever the dialler offers."""
    taken = tls.negotiate

    def take_mine(supported, offered, *args, **more):
        mine = tls.SignatureAlgorithm.ECDSA_SECP256R1_SHA256
        return mine if supported == [mine] else taken(supported, offered, *args, **more)

    monkeypatch.setattr(tls, "negotiate", take_mine)
    async with open_ends(network, acceptor=a_p256_identity()) as ends:
        here, there = await ends.refused()
        assert here.code == there.code == DECRYPT_ERROR
        assert "did not advertise" in here.reason


async def test_another_protocol_is_refused(autojump_clock, network):
    other = evolve(Settings(), alpn="fabric/2")
    async with open_ends(network, dialling_settings=other) as ends:
        here, there = await ends.refused()
        assert here.code == there.code
        assert here.code in (HANDSHAKE_FAILURE, NO_APPLICATION_PROTOCOL)
        assert here.reason == there.reason
        assert "ALPN" in here.reason


async def test_a_certificate_verify_with_one_bit_altered_is_refused(
    autojump_clock, ends, monkeypatch
):
    def alter(say, verify):
        say(verify[:-1] + bytes([verify[-1] ^ 1]))

    alter_message(monkeypatch, tls.HandshakeType.CERTIFICATE_VERIFY, alter)
    here, there = await ends.refused()
    assert here.code == there.code == DECRYPT_ERROR
    assert (here.by_peer, there.by_peer) == (False, True)


async def test_another_nodes_certificate_is_of_no_use_without_its_key(autojump_clock, network):
    """Certificate of one, key of another: what a thief of certificates has."""
    stolen, own = an_identity(ACCEPTOR), an_identity(66)
    thief = Identity(stolen.identity.certificate_pem, own.identity.key_pem)
    async with open_ends(network, acceptor=thief) as ends:
        here, there = await ends.refused(pin=stolen.public)
        assert here.code == there.code == DECRYPT_ERROR


def leave_out(_say, _body):
    pass


def say_twice(say, body):
    say(body)
    say(body)


MESSAGES = [
    tls.HandshakeType.ENCRYPTED_EXTENSIONS,
    tls.HandshakeType.CERTIFICATE,
    tls.HandshakeType.CERTIFICATE_VERIFY,
]


@pytest.mark.parametrize("fault", [leave_out, say_twice])
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
async def test_a_message_left_out_or_said_twice_is_refused(
    autojump_clock, ends, monkeypatch, message, fault
):
    alter_message(monkeypatch, message, fault)
    here, there = await ends.refused()
    assert here.code == there.code == UNEXPECTED_MESSAGE


async def test_messages_in_another_order_are_refused(autojump_clock, ends, monkeypatch):
    kept = []
    alter_message(monkeypatch, tls.HandshakeType.CERTIFICATE, lambda *said: kept.append(said))

    def say_both(say, verify):
        say(verify)
        ((say_certificate, certificate),) = kept
        say_certificate(certificate)

    alter_message(monkeypatch, tls.HandshakeType.CERTIFICATE_VERIFY, say_both)
    here, there = await ends.refused()
    assert here.code == there.code == UNEXPECTED_MESSAGE


FINISHED = b"\x14\x00\x00\x20" + bytes(32)
CERTIFICATE = b"\x0b\x00\x00\x04\x00\x00\x00\x00"


def openings():
    hello = an_honest_hello(an_identity(DIALLER).identity).message
    return {
        "a Finished first": FINISHED + bytes(200),
        "a Certificate first": CERTIFICATE + bytes(200),
        "a ServerHello": b"\x02" + hello[1:],
        "two ClientHellos": hello + hello,
        "a Finished in the Initial epoch": hello + FINISHED,
        "a Certificate in the Initial epoch": hello + CERTIFICATE,
    }


@pytest.mark.parametrize("opening", openings())
async def test_an_acceptor_refuses_messages_out_of_order_or_epoch(
    autojump_clock, ends, network, opening
):
    hello = an_honest_hello(an_identity(DIALLER).identity)
    caller = network.transport()
    datagrams = hello_datagrams(openings()[opening], source_cid=hello.source_cid)
    caller.send(datagrams, ends.accepting.address)
    await trio.sleep(1)
    (failed,) = ends.failed
    assert failed.closed.code == UNEXPECTED_MESSAGE
    assert ends.accepted == []
    assert not ends.accepting.counters.engine_failures
    assert caller.receive() is not None  # the caller is told


class OtherVersion(Network):
    """Changes the version of every long header on its way."""

    def send(self, datagram, source, to):
        if datagram[0] & 0x80:
            datagram = datagram[:1] + b"\x0a\x1a\x2a\x3a" + datagram[5:]
        super().send(datagram, source, to)


async def test_an_unknown_version_is_dropped_and_the_dialler_ends_by_its_deadline(autojump_clock):
    network = OtherVersion()
    async with open_ends(network) as ends:
        started = trio.current_time()
        with pytest.raises(HandshakeTimeout):
            await ends.dialling.connect(ends.accepting.address, pin=None, timeout=3.0)
        assert trio.current_time() - started == pytest.approx(3.0, abs=0.1)
        assert ends.accepting.counters.unknown >= 2
        assert not ends.accepting.connections
        assert not ends.dialling.connections
        assert ends.accepting.transport_counters.datagrams_sent == 0


class Downgrading(Network):
    """Answers every first packet with a Version Negotiation besides."""

    def send(self, datagram, source, to):
        super().send(datagram, source, to)
        if datagram[0] & 0xF0 == 0xC0 and len(datagram) >= 1200:
            to_cid, from_cid = datagram[6:14], datagram[15:23]
            answer = b"\xc0\x00\x00\x00\x00\x08" + from_cid + b"\x08" + to_cid
            super().send(answer + b"\x6b\x33\x43\xcf", to, source)


async def test_a_forged_version_negotiation_changes_nothing(autojump_clock, accepts):
    async with open_ends(Downgrading()) as ends:
        dialler = await ends.dialling.connect(ends.accepting.address, pin=accepts.public)
        assert dialler.closed is None
        assert ends.dialling.counters.unknown > 0


async def test_nobody_there_ends_the_dialler_by_its_deadline(autojump_clock, ends):
    with pytest.raises(HandshakeTimeout) as caught:
        await ends.dialling.connect(("10.255.0.1", 1), pin=None, timeout=2.0)
    assert caught.value.code == codes.HANDSHAKE_TIMEOUT
    assert not ends.dialling.connections


async def test_a_dialler_that_gives_up_leaves_nothing_behind(autojump_clock, ends):
    with trio.move_on_after(0.005):
        await ends.dialling.connect(ends.accepting.address, pin=None)
    assert not ends.dialling.connections
    await trio.sleep(Settings().handshake_timeout + 5)
    assert not ends.accepting.connections
    assert len(ends.accepting._timers) <= 1
    assert ends.accepting.strangers.handshaking == ends.accepting.strangers.unadmitted == 0
