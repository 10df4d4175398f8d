"""Who is known, where, and who is kept out: as the directory says at the moment of asking."""

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.core.directory import Directory
from fabric.core.holding import Heard
from fabric.core.readings import Readings
from fabric.core.records import DAY, Candidate, CandidateKind
from fabric.runtime.roster import MOST_BARRED, DirectoryRoster
from fabric.testing.records import BORN, AFabric, public


class Known:
    """A roster over a directory that a test fills."""

    def __init__(self):
        self.fabric, self.directory, self.now = AFabric(), Directory(), float(BORN + 1)
        readings = Readings(self.directory, self.fabric.id, lambda: self.now)
        self.roster = DirectoryRoster(self.fabric.node_id("home"), readings)

    def hold(self, record):
        self.directory.apply(record, self.fabric.signed(record), Heard(), self.now)
        return record

    def key(self, name):
        return public(self.fabric.node_key(name))

    def ways(self, name):
        member = self.roster.by_key(self.key(name))
        return [way.address for way in self.roster.ways_to(member)]


@pytest.fixture
def known():
    return Known()


def candidate(address, scope=""):
    return Candidate(address=address, kind=CandidateKind.HOST, scope=scope)


async def test_a_member_is_as_its_record_describes_it(known):
    known.hold(known.fabric.node("away", area="abroad", labels={"tier": "1"}))
    member = known.roster.by_key(known.key("away"))
    assert (member.name, member.area) == ("away", "abroad")
    assert member.subject.labels == {"tier": "1"}
    assert known.roster.named("away") is member


async def test_a_new_record_makes_another_member_of_the_same_node(known):
    known.hold(known.fabric.node("away", area="abroad"))
    before = known.roster.by_key(known.key("away"))
    assert known.roster.by_key(known.key("away")) is before
    known.hold(known.fabric.node("away", area="moon", generation=2))
    assert known.roster.by_key(known.key("away")).area == "moon"


@pytest.mark.parametrize("name", ["nobody", "revoked", "expired"])
async def test_who_is_no_member_is_told_why(known, name):
    known.hold(known.fabric.node("revoked", revoked=True))
    known.hold(evolve(known.fabric.node("expired"), expires_at=BORN + 10))
    known.now = float(BORN + 31 * DAY)
    codes = {
        "nobody": Code.UNKNOWN_KEY,
        "revoked": Code.REVOKED,
        "expired": Code.RECORD_EXPIRED,
    }
    assert known.roster.by_key(known.key(name)) is None
    assert known.roster.why_not(known.key(name)) is codes[name]


async def test_an_expired_record_admits_for_thirty_days_more(known):
    known.hold(evolve(known.fabric.node("away"), expires_at=BORN + 10))
    known.now = float(BORN + 29 * DAY)
    assert known.roster.by_key(known.key("away")) is not None


async def test_a_barred_peer_is_none_until_its_time_is_over(known, autojump_clock):
    node = known.hold(known.fabric.node("away")).node_id
    known.roster.bar(node, Code.PEER_BARRED, trio.current_time() + 600)
    assert known.roster.by_id(node) is None
    assert known.roster.why_not(known.key("away")) is Code.PEER_BARRED
    await trio.sleep(601)
    assert known.roster.by_id(node) is not None


async def test_of_more_than_can_be_barred_the_first_to_return_does(known):
    known.hold(known.fabric.node("away"))
    first = known.fabric.node_id("away")
    known.roster.bar(first, Code.PEER_BARRED, trio.current_time() + 1)
    for number in range(MOST_BARRED):
        known.roster.bar(f"node-{number}", Code.PEER_BARRED, trio.current_time() + 600)
    assert known.roster.by_id(first) is not None


async def test_members_are_all_but_this_node_and_those_kept_out(known):
    for name in ("home", "c", "a", "b"):
        known.hold(known.fabric.node(name))
    known.roster.bar(known.fabric.node_id("b"), Code.PEER_BARRED, trio.current_time() + 600)
    assert [each.name for each in known.roster.members()] == ["a", "c"]


async def test_a_member_is_dialled_where_it_was_last_met_and_then_where_it_says_it_is(known):
    known.hold(known.fabric.node("away"))
    known.hold(known.fabric.endpoint("away", "192.0.2.1:1", "192.0.2.2:2"))
    node = known.fabric.node_id("away")
    known.roster.saw(node, ("192.0.2.2", 2))
    assert known.ways("away") == [("192.0.2.2", 2), ("192.0.2.1", 1)]
    assert known.roster.expects(("192.0.2.1", 1))
    assert not known.roster.expects(("192.0.2.3", 1))


async def test_a_member_that_moved_is_expected_where_it_is_now(known):
    known.hold(known.fabric.node("away"))
    known.hold(known.fabric.endpoint("away", "192.0.2.1:1"))
    assert known.roster.expects(("192.0.2.1", 1))
    known.hold(known.fabric.endpoint("away", "192.0.2.9:9", sequence=BORN + 1000))
    known.roster.moved(known.fabric.node_id("away"))
    assert known.roster.expects(("192.0.2.9", 9))
    assert not known.roster.expects(("192.0.2.1", 1))


async def test_a_member_is_expected_whichever_socket_shows_its_address(known):
    known.hold(known.fabric.node("away"))
    known.hold(known.fabric.endpoint("away", "192.0.2.1:1"))
    assert known.roster.expects(("::ffff:192.0.2.1", 1))
    known.roster.saw(known.fabric.node_id("away"), ("::ffff:192.0.2.1", 1))
    assert known.ways("away") == [("192.0.2.1", 1)]


async def test_an_address_is_expected_as_long_as_any_member_may_be_there(known):
    shared = "192.0.2.1:1"
    for name in ("away", "beyond"):
        known.hold(known.fabric.node(name))
        known.hold(known.fabric.endpoint(name, shared))
    assert known.roster.expects(("192.0.2.1", 1))
    for name, still in (("away", True), ("beyond", False)):
        known.hold(known.fabric.endpoint(name, "192.0.2.9:9", sequence=BORN + 1000))
        known.roster.moved(known.fabric.node_id(name))
        assert known.roster.expects(("192.0.2.1", 1)) is still


async def test_who_moves_costs_no_look_at_everybody_else(known):
    for number in range(20):
        known.hold(known.fabric.node(f"n{number}"))
    assert not known.roster.expects(("192.0.2.1", 1))
    known.hold(known.fabric.endpoint("n7", "192.0.2.1:1"))
    asked, endpoint_of = [], known.roster.readings.endpoint_of
    known.roster.readings.endpoint_of = lambda node: (asked.append(node), endpoint_of(node))[1]
    known.roster.moved(known.fabric.node_id("n7"))
    assert known.roster.expects(("192.0.2.1", 1))
    assert asked == [known.fabric.node_id("n7")]


async def test_a_private_address_is_expected_once_this_node_is_of_its_locality_group(known):
    known.hold(known.fabric.node("away"))
    place = candidate("10.0.0.1:1", "lan")
    known.hold(evolve(known.fabric.endpoint("away", "9.9.9.9:9"), candidates=(place,)))
    assert not known.roster.expects(("10.0.0.1", 1))
    mine = known.hold(known.fabric.node("home", locality_group="lan"))
    known.roster.moved(mine.node_id)
    assert known.roster.expects(("10.0.0.1", 1))


async def test_a_private_address_of_another_locality_group_is_not_dialled(known):
    known.hold(known.fabric.node("home", locality_group="lan"))
    known.hold(known.fabric.node("away"))
    places = candidate("10.0.0.1:1", "lan"), candidate("10.0.0.2:2", "other lan")
    known.hold(evolve(known.fabric.endpoint("away", "9.9.9.9:9"), candidates=places))
    assert known.ways("away") == [("10.0.0.1", 1)]


@pytest.mark.parametrize(
    "address", ["nonsense", "10.0.0.1", "10.0.0.1:0", "[::1:5", ":", "a b:1", "[::1%..]:1"]
)
async def test_whatever_a_node_writes_as_its_address_is_dialled_or_passed_over(known, address):
    known.hold(known.fabric.node("away"))
    record = known.fabric.endpoint("away", "9.9.9.9:9")
    known.hold(evolve(record, candidates=(candidate(address), candidate("9.9.9.9:9"))))
    assert ("9.9.9.9", 9) in known.ways("away")
    assert all(port and "%" not in host for host, port in known.ways("away"))


async def test_a_member_that_is_none_any_more_is_forgotten(known):
    node = known.hold(known.fabric.node("away")).node_id
    known.roster.by_id(node)
    known.roster.saw(node, ("192.0.2.2", 2))
    known.hold(known.fabric.node("away", generation=2, revoked=True))
    known.roster.forget(node)
    assert not known.roster.expects(("192.0.2.2", 2))
