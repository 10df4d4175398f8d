"""What the snapshot shows of services and peers: what is signed, said and seen, side by side."""

import json
import random

import pytest
import trio

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.backoff import Redial
from fabric.core.directory import Directory
from fabric.core.holding import Heard
from fabric.core.readings import Readings
from fabric.core.roster import Member
from fabric.core.verdicts import Standing
from fabric.runtime.peer import Peer, PeerState
from fabric.runtime.snapshot import peer_row, service_rows
from fabric.testing.factories import FABRIC_ID
from fabric.testing.records import BORN, AFabric
from tests.core.a_directory import ALiveness
from tests.runtime.a_node import Nodes, echo


@pytest.fixture
def nodes(nursery):
    nodes = Nodes(nursery)
    nodes.add("home")
    yield nodes
    nursery.cancel_scope.cancel()


@pytest.fixture
def home(nodes):
    return next(iter(nodes.by_id.values()))


def row_of(node, service="demo"):
    rows = service_rows(node.registry, node.services, BORN)
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    return next(row for row in rows if row["name"] == service)


async def test_an_active_service_shows_its_terms_instances_and_last_proof(
    autojump_clock, nodes, home
):
    nodes.service(open_to=("area:home", "role:ingress"), edge_exposable=True, core=True)
    away = nodes.add("away", "demo")
    nodes.add("beyond", "demo")
    home.registry.proved("demo", away.node_id, 0.0125, "probe")
    home.link(away)
    await trio.sleep(7)

    assert row_of(home) == {
        "name": "demo",
        "open_to": ["area:home", "role:ingress"],
        "edge_exposable": True,
        "core": True,
        "offered_here": False,
        "withheld": None,
        "backend": None,
        "instances": ["away", "beyond"],
        "status": "active",
        "reason": None,
        "active_records": 2,
        "candidate_records": 0,
        "resolved_to": "away",
        "source": "memory",
        "last_live_probe": {"at": BORN - 7, "ok": True, "rtt_ms": 12.5, "via": "probe"},
    }


async def test_what_is_merely_offered_is_a_candidate_with_the_reason(nodes, home):
    nodes.add("away", "logs")
    row = row_of(home, "logs")

    assert (row["status"], row["reason"]) == ("candidate_only", "unknown_service")
    assert (row["open_to"], row["instances"], row["resolved_to"]) == ([], [], None)
    assert (row["active_records"], row["candidate_records"]) == (0, 1)
    assert row["last_live_probe"] is None


async def test_what_only_the_cache_tells_says_so(nodes, home):
    nodes.service()
    away = nodes.add("away")
    home.hold(nodes.fabric.offers("away", "demo"), from_cache=True)
    assert away.node_id in nodes.by_id

    assert row_of(home)["source"] == "cache"


async def test_an_expired_record_opens_to_nobody(nodes, home):
    home.hold(nodes.fabric.service("demo"), Standing.EXPIRED)
    row = row_of(home)

    assert (row["open_to"], row["reason"]) == ([], "record_expired")


async def test_a_service_of_this_node_shows_its_backend_and_whether_it_is_offered(nodes, home):
    home.serve("demo", echo, backend=HostPort("127.0.0.1", 8080))
    row = row_of(home)
    assert (row["offered_here"], row["withheld"]) == (False, "offer_not_permitted")
    assert (row["backend"], row["status"]) == ("127.0.0.1:8080", "missing")

    nodes.service()
    home.services.review()
    row = row_of(home)
    assert (row["offered_here"], row["withheld"]) == (True, None)
    assert (row["instances"], row["resolved_to"]) == (["home"], "home")


# -- peers --
def a_peer(fabric, name):
    record = fabric.node(name)
    member = Member(name=name, key=record.key_bytes, area=record.area)
    return Peer(member, Redial(random.Random(1)))


def readings_of(fabric, *records):
    directory, heard = Directory(), Heard(fabric.node_id("other"), at=BORN)
    for record in records:
        directory.apply(record, fabric.signed(record), heard, BORN)
    return Readings(directory, FABRIC_ID, lambda: BORN)


async def test_a_peer_shows_what_it_says_it_offers_and_what_liveness_and_we_make_of_it():
    fabric, liveness = AFabric(), ALiveness()
    peer = a_peer(fabric, "away")
    readings = readings_of(fabric, fabric.node("away"), fabric.offers("away", "demo", "logs"))
    row = peer_row(peer, readings, liveness)
    assert (row["offers"], row["liveness"], row["wanted"]) == (["demo", "logs"], None, False)

    liveness.states[peer.member.node_id] = "suspect"
    peer.want(True)
    peer.turn(PeerState.REFUSED, Code.UNKNOWN_KEY)
    row = peer_row(peer, readings, liveness)
    assert (row["liveness"], row["wanted"]) == ("suspect", True)
    assert (row["state"], row["reason"], row["path"]) == ("refused", "unknown_key", None)


async def test_what_a_peer_said_is_gone_with_its_record():
    fabric = AFabric()
    revoked = fabric.node("away", revoked=True, generation=2)
    readings = readings_of(fabric, fabric.offers("away", "demo"), revoked)

    assert peer_row(a_peer(fabric, "away"), readings, ALiveness())["offers"] == []
