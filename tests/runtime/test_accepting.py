"""The offering node decides by signed records, whatever the opener believes."""

import pytest
from trio.testing import wait_all_tasks_blocked

from fabric.codes import Code
from fabric.config import ServiceConfig
from fabric.core.codec import MAX_OPEN, FrameReader, encode
from fabric.core.frames import Accepted, Open, Refused
from fabric.core.verdicts import Standing
from fabric.runtime.admission import next_frame
from fabric.testing.factories import a_frame
from tests.runtime.a_node import Nodes, echo

CLIENT = "192.0.2.7:51000"


@pytest.fixture
def nodes(nursery):
    """Return a fabric in which ``away`` serves ``demo``."""
    nodes = Nodes(nursery)
    nodes.add("home")
    nodes.add("edge", roles=("ingress",))
    nodes.add("away", "demo").serve("demo", echo)
    nodes.service()
    yield nodes
    nursery.cancel_scope.cancel()


def node(nodes, name):
    return next(each for each in nodes.by_id.values() if each.name == name)


async def answer(nodes, opener="home", *, hold=False, **fields):
    """Return what ``away`` answers an ``Open`` that *opener* sends it, asking nobody first."""
    link = node(nodes, opener).link(node(nodes, "away"))
    stream = await link.connection.open_stream()
    fields = {"service": "demo", "client": None, **fields}
    await stream.send_all(encode(a_frame(Open, **fields)))
    said = await next_frame(stream, FrameReader(limit=MAX_OPEN))
    if not hold:
        await stream.aclose()
        await wait_all_tasks_blocked()
    return said


def code_of(said):
    assert isinstance(said, Refused)
    assert said.hop == "away"
    return Code(said.code)


async def test_whom_the_record_permits_is_let_in(autojump_clock, nodes):
    assert isinstance(await answer(nodes), Accepted)


@pytest.mark.parametrize(
    ("record", "opener", "client", "code"),
    [
        ({"open_to": ("node:edge",)}, "home", None, Code.NOT_PERMITTED),
        ({"open_to": ()}, "home", None, Code.NOT_PERMITTED),
        ({"edge_exposable": True}, "home", CLIENT, Code.CLIENT_NOT_BELIEVED),
        ({}, "edge", CLIENT, Code.NOT_EDGE_EXPOSABLE),
        ({"revoked": True}, "home", None, Code.REVOKED),
        ({"offer_by": ("node:home",)}, "home", None, Code.OFFER_NOT_PERMITTED),
    ],
)
async def test_whom_it_does_not_is_told_why(autojump_clock, nodes, record, opener, client, code):
    nodes.service(**record)

    assert code_of(await answer(nodes, opener, client=client)) is code


async def test_a_client_of_an_ingress_is_let_in_to_what_is_for_the_edge(autojump_clock, nodes):
    nodes.service(edge_exposable=True, open_to=("role:ingress",))

    assert isinstance(await answer(nodes, "edge", client=CLIENT), Accepted)


async def test_a_service_without_a_record_is_served_to_nobody(autojump_clock, nodes):
    node(nodes, "away").serve("logs", echo)

    assert code_of(await answer(nodes, service="logs")) is Code.UNKNOWN_SERVICE


async def test_a_service_that_nobody_serves_here_is_unknown_here(autojump_clock, nodes):
    nodes.service("logs")

    assert code_of(await answer(nodes, service="logs")) is Code.UNKNOWN_SERVICE


async def test_what_the_record_says_counts_at_the_very_next_channel(autojump_clock, nodes):
    assert isinstance(await answer(nodes), Accepted)
    nodes.service(open_to=())
    assert code_of(await answer(nodes)) is Code.NOT_PERMITTED
    node(nodes, "away").hold(nodes.fabric.service("demo"), Standing.EXPIRED)
    assert code_of(await answer(nodes)) is Code.RECORD_EXPIRED
    nodes.service()
    assert isinstance(await answer(nodes), Accepted)


@pytest.mark.parametrize(("own", "signed"), [(1, 0), (10, 1), (1, 10)])
async def test_the_lower_of_two_limits_holds(autojump_clock, nodes, own, signed):
    node(nodes, "away").services.declare(ServiceConfig(name="demo", max_channels=own))
    nodes.service(max_channels=signed)

    assert isinstance(await answer(nodes, hold=True), Accepted)
    assert code_of(await answer(nodes)) is Code.SERVICE_FULL


async def test_a_draining_node_takes_nothing(autojump_clock, nodes):
    node(nodes, "away").services.is_draining = True

    assert code_of(await answer(nodes)) is Code.DRAINING
