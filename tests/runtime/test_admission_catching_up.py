"""Hello and its answers at their largest, over the wire: there is room for them."""

from contextlib import asynccontextmanager

import pytest
import trio

from fabric.codes import Code
from fabric.core.codec import MAX_ANSWER, MAX_HELLO, encode
from fabric.core.frames import CHALLENGE_KIND, MOST_ANSWER_ROOTS
from fabric.core.roots import MOST_ROOTS
from fabric.errors import RefusedError
from fabric.net.tls import NodeKey, certificate_for
from fabric.runtime.admission import receive_hello, send_hello
from fabric.testing.network import Network, Weather
from fabric.trio_quic import INITIAL_CREDIT, Identity, Settings, open_endpoint_on
from tests.core.a_meeting import (
    AT_A_SEED,
    FABRIC,
    ANode,
    a_record,
    challenge_of,
    packed_roots,
)

NEWEST = 1 + MOST_ROOTS


def an_identity(node: ANode) -> Identity:
    return Identity(*certificate_for(NodeKey.from_seed(bytes(node.key))))


class Talk:
    """One connection, and what came of it at both ends."""

    def __init__(self, dialler, acceptor):
        self.dialler, self.acceptor = dialler, acceptor
        self.admitted = []
        self.refused = {}

    def enter(self, admit, _control):
        self.admitted.append(admit.member.name)

    async def run(self, side, exchange):
        try:
            await exchange
        except RefusedError as refused:
            self.refused[side] = refused.code


async def meet(network: Network, home: ANode, away: ANode) -> Talk:
    """Let *home* dial *away* as a seed, over *network*."""
    acceptor = away.acceptor()

    def greet(_connection):
        return CHALLENGE_KIND, encode(challenge_of(acceptor))

    async with (
        an_endpoint(network, away, greet) as accepting,
        an_endpoint(network, home) as dialling,
    ):
        connection = await dialling.connect(accepting.address, pin=away.me.key, timeout=30)
        met = await accepting.accept()
        talk = Talk(home.dialler(away, AT_A_SEED), acceptor)
        async with trio.open_nursery() as both:
            both.start_soon(talk.run, "acceptor", receive_hello(met, acceptor, talk.enter))
            both.start_soon(talk.run, "dialler", send_hello(connection, talk.dialler, talk.enter))
    return talk


@asynccontextmanager
async def an_endpoint(network, node, greeting=None):
    transport, identity = network.transport(), an_identity(node)
    async with open_endpoint_on(transport, identity=identity, greeting=greeting) as endpoint:
        yield endpoint


def test_a_stranger_may_send_the_largest_hello_and_an_answer_fits_a_fresh_stream():
    assert Settings().stranger_bytes > MAX_HELLO
    assert INITIAL_CREDIT > MAX_ANSWER


async def test_a_refusal_brings_all_the_roots_that_the_dialler_has_missed(autojump_clock):
    home, away = ANode("home"), ANode("away", root_version=NEWEST)
    home.carry(a_record("other"))
    roots = packed_roots(2, NEWEST)
    assert MOST_ANSWER_ROOTS / 2 < sum(map(len, roots)) <= MOST_ANSWER_ROOTS

    talk = await meet(Network(), home, away)

    assert talk.refused == {"dialler": Code.UNKNOWN_KEY, "acceptor": Code.UNKNOWN_KEY}
    assert home.knows.root_version == NEWEST


async def test_an_answer_brings_them_and_the_record(autojump_clock):
    home, away = ANode("home"), ANode("away", root_version=NEWEST)

    talk = await meet(Network(), home, away)

    assert sorted(talk.admitted) == ["away", "home"]
    assert home.knows.root_version == NEWEST


@pytest.mark.parametrize("seed", range(8))
async def test_a_hello_with_a_root_gets_through_foul_weather(autojump_clock, seed):
    home, away = ANode("home", root_version=NEWEST), ANode("away")
    network = Network(seed=seed, weather=Weather(delay=0.05, jitter=0.02, loss=0.05, reorder=0.1))
    talk = await meet(network, home, away)

    assert not talk.refused
    assert sorted(talk.admitted) == ["away", "home"]
    assert away.knows.root_version == 2


def test_the_nodes_of_these_tests_hold_the_keys_of_their_certificates():
    home = ANode("home")

    assert (
        NodeKey.from_seed(bytes(home.key)).public == home.me.key == FABRIC.node("home").key_bytes
    )
