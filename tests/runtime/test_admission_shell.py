"""Strangers at the door: each way to be refused, before any byte reaches a service.

The strangers are bare endpoints with a key of their own and bad manners; the node is whole.
"""

import itertools
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.core.codec import FrameReader, encode
from fabric.core.frames import (
    CHALLENGE_KIND,
    Accepted,
    Challenge,
    Frame,
    Hello,
    HelloOk,
    Open,
    Records,
    Refused,
)
from fabric.core.identity import FabricId
from fabric.core.proof import hello_statement
from fabric.net.tls import NodeKey, certificate_for
from fabric.runtime.closing import code_of_close
from fabric.testing.factories import FABRIC_ID, a_frame
from fabric.testing.pairs import Fleet, connected, echo
from fabric.trio_quic import Identity, QuicError, open_endpoint_on

_hosts = itertools.count(1)
UNKNOWN = NodeKey.from_seed(b"u" * 32)


def key_of(fleet: Fleet, name: str) -> NodeKey:
    return fleet.members[name].key


def identity_of(key: NodeKey) -> Identity:
    return Identity(*certificate_for(key))


class Stranger:
    """One connection to a node, driven frame by frame."""

    def __init__(self, connection):
        self.connection = connection
        self.control = None

    async def challenge(self) -> Challenge:
        kind, stream = await self.connection.accept_unidirectional()
        assert kind == CHALLENGE_KIND
        return await self.read(stream)

    async def say(self, frame: Frame) -> None:
        self.control = self.control or await self.connection.open_stream()
        await self.control.send_all(encode(frame))

    async def answer(self) -> Frame:
        return await self.read(self.control)

    async def read(self, stream) -> Frame:
        reader = FrameReader()
        while (frame := reader.next_frame()) is None:
            reader.feed(await stream.receive_some())
        return frame

    async def end(self) -> Code:
        return code_of_close(await self.connection.wait_closed())


@asynccontextmanager
async def open_stranger(network, at: tuple[str, int], key: NodeKey = UNKNOWN):
    transport = network.transport((f"10.0.9.{next(_hosts)}", 4433))
    async with open_endpoint_on(transport, identity=identity_of(key)) as endpoint:
        yield Stranger(await endpoint.connect(at, pin=None))


def hello(key: NodeKey, challenge: Challenge, acceptor: bytes, **changes) -> Hello:
    statement = hello_statement(
        fabric_id=FabricId(FABRIC_ID),
        dialler_key=key.public,
        acceptor_key=acceptor,
        acceptor_nonce=challenge.nonce,
        dialler_nonce=b"n" * 32,
    )
    frame = a_frame(
        Hello,
        versions=(1, 1),
        key=key.public,
        nonce=b"n" * 32,
        signature=key.sign(statement),
    )
    return evolve(frame, **changes)


@pytest.fixture
async def served(fleet, nursery):
    """Return what the service of ``home`` got: nothing, in all of these tests."""
    got = []

    async def swallow(channel):
        got.append(channel)
        got.append(await channel.receive_some())

    async with fleet.open("home") as home:
        await nursery.start(home.serve, "demo", swallow)
        yield got


HOME = ("10.0.0.1", 4433)


async def refused(stranger: Stranger, code: Code) -> None:
    answer = await stranger.answer()
    assert isinstance(answer, Refused)
    assert Code(answer.code) is code
    assert answer.hop == "home"
    assert await stranger.end() is code


async def test_an_unknown_key_is_refused(autojump_clock, fleet, network, served, logged):
    async with open_stranger(network, HOME) as stranger:
        challenge = await stranger.challenge()
        await stranger.say(hello(UNKNOWN, challenge, key_of(fleet, "home").public))
        await refused(stranger, Code.UNKNOWN_KEY)
    assert logged("peer.refused", code=Code.UNKNOWN_KEY, side="acceptor", by="here")
    assert not served


async def test_a_node_that_is_not_listed_is_refused_and_both_ends_say_why(
    autojump_clock, fleet, logged
):
    fleet.members["away"] = evolve(fleet.members["away"], is_listed=False)
    async with fleet.open("home"), fleet.open("away") as away:
        await trio.sleep(2)
    (at_home, *_) = logged("peer.refused", side="acceptor")
    (at_away, *_) = logged("peer.refused", side="dialler")
    assert at_home["code"] is at_away["code"] is Code.UNKNOWN_KEY
    assert at_home["peer"] == away.node_id
    assert (at_away["address"], at_away["by"]) == ("10.0.0.1:4433", "peer")
    assert at_away["remedy"] == Code.UNKNOWN_KEY.remedy


async def test_a_replayed_hello_is_refused(autojump_clock, fleet, network, served, logged):
    away, home = key_of(fleet, "away"), key_of(fleet, "home").public
    async with open_stranger(network, HOME, away) as honest:
        recorded = hello(away, await honest.challenge(), home)
    async with open_stranger(network, HOME) as thief:
        await thief.challenge()
        await thief.say(recorded)
        await refused(thief, Code.BAD_PROOF)
    assert logged("peer.refused", code=Code.BAD_PROOF, side="acceptor", peer="away")
    assert not served


async def test_a_forwarded_challenge_yields_no_proof(
    autojump_clock, fleet, network, served, logged
):
    """The man in the middle lets ``away`` sign the challenge of ``home`` for *his* key."""
    middle = NodeKey.from_seed(b"m" * 32)
    async with open_stranger(network, HOME) as thief:
        challenge = await thief.challenge()
        for_the_middle = hello(key_of(fleet, "away"), challenge, middle.public)
        await thief.say(for_the_middle)
        await refused(thief, Code.BAD_PROOF)
    assert not served


async def test_a_proof_of_nothing_is_refused(autojump_clock, fleet, network, served, logged):
    async with open_stranger(network, HOME) as thief:
        challenge = await thief.challenge()
        home = key_of(fleet, "home").public
        await thief.say(hello(key_of(fleet, "away"), challenge, home, signature=bytes(64)))
        await refused(thief, Code.BAD_PROOF)
    assert not served


async def test_another_fabric_is_refused(autojump_clock, fleet, network, served, logged):
    async with open_stranger(network, HOME) as lost:
        challenge = await lost.challenge()
        home = key_of(fleet, "home").public
        await lost.say(hello(key_of(fleet, "away"), challenge, home, fabric_id=b"x" * 16))
        await refused(lost, Code.WRONG_FABRIC)
    assert logged("peer.refused", code=Code.WRONG_FABRIC, side="acceptor")
    assert not served


async def test_a_newer_protocol_is_refused(autojump_clock, fleet, network, served, logged):
    async with open_stranger(network, HOME) as newer:
        challenge = await newer.challenge()
        home = key_of(fleet, "home").public
        await newer.say(hello(key_of(fleet, "away"), challenge, home, versions=(7, 9)))
        await refused(newer, Code.NO_COMMON_VERSION)
    assert not served


async def test_no_hello_at_all_is_refused_in_five_seconds(
    autojump_clock, fleet, network, served, logged
):
    async with open_stranger(network, HOME) as silent:
        began = trio.current_time()
        await silent.challenge()
        code = await silent.end()
        assert trio.current_time() - began < 6.5
    assert code in {Code.NO_HELLO, Code.HANDSHAKE_TIMEOUT}
    await trio.sleep(1)
    assert logged("peer.refused", code=code, side="acceptor")
    assert not served


async def test_a_channel_instead_of_hello_is_refused(
    autojump_clock, fleet, network, served, logged
):
    async with open_stranger(network, HOME) as rude:
        await rude.challenge()
        await rude.say(a_frame(Open))
        await refused(rude, Code.UNEXPECTED_FRAME)
    assert not served


async def test_a_channel_beside_an_unfinished_hello_is_cut_off(
    autojump_clock, fleet, network, served, logged
):
    async with open_stranger(network, HOME) as rude:
        challenge = await rude.challenge()
        whole = encode(hello(key_of(fleet, "away"), challenge, key_of(fleet, "home").public))
        rude.control = await rude.connection.open_stream()
        await rude.control.send_all(whole[:-1])
        second = await rude.connection.open_stream()
        await second.send_all(encode(a_frame(Open)) + b"payload")
        assert await rude.end() is Code.STRANGER_BUDGET
    await trio.sleep(2)
    assert logged("peer.refused", code=Code.STRANGER_BUDGET, side="acceptor")
    assert not served


async def test_noise_instead_of_hello_is_refused(autojump_clock, fleet, network, served, logged):
    async with open_stranger(network, HOME) as noise:
        await noise.challenge()
        noise.control = await noise.connection.open_stream()
        await noise.control.send_all(b"GET / HTTP/1.1\r\n\r\n")
        await refused(noise, Code.MALFORMED_FRAME)
    assert not served


async def test_refusals_are_counted_by_code(autojump_clock, fleet, network, logged):
    async with fleet.open("home") as home, open_stranger(network, HOME) as stranger:
        challenge = await stranger.challenge()
        await stranger.say(hello(UNKNOWN, challenge, key_of(fleet, "home").public))
        await refused(stranger, Code.UNKNOWN_KEY)
        await trio.sleep(2)
        assert home.metrics.hellos_refused.series[Code.UNKNOWN_KEY, "acceptor"] == 1


async def test_ten_refusals_of_a_code_are_logged_in_full_and_no_more(
    autojump_clock, fleet, network, served, logged
):
    for _ in range(15):
        async with open_stranger(network, HOME) as stranger:
            challenge = await stranger.challenge()
            await stranger.say(hello(UNKNOWN, challenge, key_of(fleet, "home").public))
            await refused(stranger, Code.UNKNOWN_KEY)
    await trio.sleep(2)
    assert len(logged("peer.refused", code=Code.UNKNOWN_KEY)) == 10


async def test_a_wrong_pin_is_refused_before_anything_is_said(
    autojump_clock, fleet, network, logged
):
    """Where ``away`` was, somebody else answers."""
    async with fleet.open("home") as home:
        async with fleet.open("away"):
            await connected(home, "away")
        impostor = identity_of(NodeKey.from_seed(b"i" * 32))
        transport = network.transport(fleet.members["away"].address)
        async with open_endpoint_on(transport, identity=impostor):
            await trio.sleep(3)
            (row,) = home.snapshot()["peers"]
            assert (row["state"], row["reason"]) == ("refused", "pin_mismatch")
    (at_home, *_) = logged("peer.refused", side="dialler")
    assert at_home["code"] is Code.PIN_MISMATCH


async def test_a_node_with_another_key_than_listed_hears_why_nobody_comes(
    autojump_clock, fleet, logged
):
    async with fleet.open("home") as home:
        async with fleet.open("away"):
            await connected(home, "away")
        other = fleet.folder / "other" / "node.key"
        fleet.papers.write_key("somebody-else", other)
        async with fleet.open("away", key_file=other, seeds=(), state_dir=other.parent):
            await trio.sleep(8)
    assert logged("peer.refused", side="dialler", code=Code.PIN_MISMATCH)
    assert logged("peer.refused", side="acceptor", code=Code.PIN_MISMATCH)


@asynccontextmanager
async def open_acceptor(fleet, network, behave, greeting=None):
    """Answer at ``away`` with its key, by *behave*."""
    transport = network.transport(fleet.members["away"].address)
    identity = identity_of(key_of(fleet, "away"))

    async def answer():
        while True:
            connection = await endpoint.accept()
            with suppress(QuicError):
                await behave(connection)

    async with (
        open_endpoint_on(transport, identity=identity, greeting=greeting) as endpoint,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer)
        yield
        nursery.cancel_scope.cancel()


def a_greeting(_connection):
    return CHALLENGE_KIND, encode(a_frame(Challenge))


async def test_an_acceptor_without_a_challenge_is_left(autojump_clock, fleet, network, logged):
    async def say_nothing(connection):
        connection.admit()
        await connection.wait_closed()

    async with open_acceptor(fleet, network, say_nothing), fleet.open("home"):
        await trio.sleep(8)
    assert logged("peer.refused", code=Code.NO_CHALLENGE, side="dialler", by="here")


async def test_an_acceptor_that_never_answers_is_left(autojump_clock, fleet, network, logged):
    async def listen(connection):
        connection.admit()
        await connection.wait_closed()

    async with open_acceptor(fleet, network, listen, a_greeting), fleet.open("home"):
        await trio.sleep(8)
    assert logged("peer.missed", code=Code.HANDSHAKE_TIMEOUT, side="dialler")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (a_frame(HelloOk, version=9), Code.NO_COMMON_VERSION),
        (a_frame(Accepted), Code.UNEXPECTED_FRAME),
        (Refused(code=60_001, reason="of a newer release"), Code.INTERNAL_ERROR),
    ],
)
async def test_an_odd_answer_is_no_admission(autojump_clock, fleet, network, logged, frame, code):
    async def answer(connection):
        control = await connection.accept_stream()
        connection.admit()
        await control.send_all(encode(frame))
        await connection.wait_closed()

    async with open_acceptor(fleet, network, answer, a_greeting), fleet.open("home") as home:
        await trio.sleep(1.5)
        assert home.snapshot()["peers"][0]["state"] != "connected"
    assert logged("peer.refused", code=code, side="dialler")


async def test_a_frame_that_is_not_legal_after_hello_closes_the_link(
    autojump_clock, fleet, network, served, logged
):
    async with open_stranger(network, HOME, key_of(fleet, "away")) as peer:
        challenge = await peer.challenge()
        await peer.say(hello(key_of(fleet, "away"), challenge, key_of(fleet, "home").public))
        assert isinstance(await peer.answer(), HelloOk)
        await peer.say(a_frame(Hello))
        assert await peer.end() is Code.UNEXPECTED_FRAME
    assert logged("peer.disconnected", peer="away", code=Code.UNEXPECTED_FRAME)


async def test_a_control_stream_that_is_reset_closes_the_link(
    autojump_clock, fleet, network, served, logged
):
    async with open_stranger(network, HOME, key_of(fleet, "away")) as peer:
        challenge = await peer.challenge()
        await peer.say(hello(key_of(fleet, "away"), challenge, key_of(fleet, "home").public))
        assert isinstance(await peer.answer(), HelloOk)
        peer.control.reset(5)
        assert await peer.end() is Code.UNEXPECTED_FRAME


async def test_a_dial_that_was_given_up_late_leaves_the_standing_link_standing(
    autojump_clock, fleet, network, nursery, logged
):
    """``away``, the lower node id, gave up a dial that ``home`` still admits, and never knows."""
    async with fleet.open("home") as home, fleet.open("away") as away:
        assert home.node_id > away.node_id
        await nursery.start(away.serve, "demo", echo)
        await connected(home, "away")
        await connected(away, "home")
        (real,) = home.overlay.peers.standing_links()
        async with open_stranger(network, HOME, key_of(fleet, "away")) as late:
            said = hello(
                key_of(fleet, "away"),
                await late.challenge(),
                key_of(fleet, "home").public,
                instance=away.me.instance,
                boot_seq=away.me.boot_seq,
            )
            await late.say(said)
            assert isinstance(await late.answer(), HelloOk)
            assert real.is_spare
            late.connection.close(Code.HANDSHAKE_TIMEOUT, Code.HANDSHAKE_TIMEOUT.label)
            await trio.sleep(1)
        assert home.overlay.peers.standing_links() == [real]
        await trio.sleep(60)
        async with home.open_channel("demo") as channel:
            await channel.send_all(b"x")
            assert await channel.receive_some() == b"x"
        assert home.overlay.peers.standing_links() == [real]
        nursery.cancel_scope.cancel()


async def test_a_peer_that_takes_no_control_frames_is_as_good_as_silent(
    autojump_clock, fleet, network, logged
):
    page = Records(items=((bytes(4000), 0, bytes(8), 0),))
    async with (
        fleet.open("home") as home,
        open_stranger(network, HOME, key_of(fleet, "away")) as deaf,
    ):
        challenge = await deaf.challenge()
        await deaf.say(hello(key_of(fleet, "away"), challenge, key_of(fleet, "home").public))
        assert isinstance(await deaf.answer(), HelloOk)
        (link,) = home.overlay.peers.standing_links()
        for _ in range(64):
            with suppress(QuicError):
                await link.tell(page)
        assert await deaf.end() is Code.PEER_SILENT
