"""First contact by address alone: eager at the start, later on demand, one dial at a time."""

import random

import pytest
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.identity import NodeId
from fabric.core.roster import Address
from fabric.errors import RefusedError
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics
from fabric.runtime.refusals import RefusalLog
from fabric.runtime.refused_peers import RefusedPeers
from fabric.runtime.seeds import DIAL_WITHIN, MOST_WAITING, Seeds, seeds_of

ME, AWAY, OTHER = NodeId("me"), NodeId("away"), NodeId("other")
ONE, TWO, THREE = (("192.0.2.1", port) for port in (1, 2, 3))


@define
class ANode:
    node_id: NodeId = ME


@define
class AWe:
    me: ANode = field(factory=ANode)


class ADialling:
    """Finds whoever a test has put at an address; elsewhere an attempt takes all of its time."""

    def __init__(self) -> None:
        self.we = AWe()
        self.there: dict[Address, NodeId | Code] = {}
        self.attempts: list[tuple[Address, float]] = []
        """Of each: where, and when it began."""
        self.under_way: set[Address] = set()

    async def find(self, address: Address, _endpoint: object, timeout: float) -> NodeId:
        assert address not in self.under_way
        self.attempts.append((address, trio.current_time()))
        self.under_way.add(address)
        try:
            await trio.sleep(0.05)
            if address not in self.there:
                await trio.sleep(timeout - 0.05)
                raise RefusedError(Code.HANDSHAKE_TIMEOUT)
        finally:
            self.under_way.discard(address)
        found = self.there[address]
        if isinstance(found, Code):
            raise RefusedError(found, hop="peer")
        return found

    def at(self, address: Address) -> int:
        return [each for each, _when in self.attempts].count(address)


@pytest.fixture
def dialling() -> ADialling:
    return ADialling()


@pytest.fixture
def met() -> list[tuple[Address, NodeId]]:
    return []


@pytest.fixture
async def seeds(dialling, met, nursery):
    """Return a function that runs the seeds at the addresses given."""

    def start(*addresses: Address) -> Seeds:
        metrics = Metrics()
        seeds = Seeds(
            addresses=addresses,
            dialling=dialling,
            refused=RefusedPeers(metrics, EventBus(), RefusalLog(metrics)),
            rng=random.Random(1),
            met=lambda address, node: met.append((address, node)),
        )
        nursery.start_soon(seeds.run, None)
        return seeds

    yield start
    nursery.cancel_scope.cancel()


async def test_whoever_is_at_a_seed_is_met_at_once(autojump_clock, seeds, dialling, met):
    dialling.there = {ONE: AWAY}

    with trio.fail_after(1):
        await seeds(ONE).tried.wait()

    assert met == [(ONE, AWAY)]


async def test_all_seeds_are_tried_side_by_side(autojump_clock, seeds, dialling, met):
    dialling.there = {THREE: AWAY}

    with trio.fail_after(0.5):
        await seeds(ONE, TWO, THREE).tried.wait()

    assert met == [(THREE, AWAY)]


async def test_every_seed_was_tried_once_before_none_is_said_to_answer(
    autojump_clock, seeds, dialling
):
    began = trio.current_time()

    await seeds(ONE, TWO).tried.wait()

    assert dialling.at(ONE) == dialling.at(TWO) == 1
    assert trio.current_time() - began == pytest.approx(1.0, abs=0.1)


async def test_without_seeds_nothing_is_waited_for(autojump_clock, seeds):
    assert seeds().tried.is_set()


async def test_one_that_starts_later_is_met_within_two_seconds(
    autojump_clock, seeds, dialling, met
):
    seeds(ONE)
    await trio.sleep(20)
    assert not met

    dialling.there = {ONE: AWAY}
    await trio.sleep(2)

    assert met == [(ONE, AWAY)]


async def test_once_a_peer_was_met_the_other_seeds_are_left_alone(autojump_clock, seeds, dialling):
    dialling.there = {ONE: AWAY}
    seeds(ONE, TWO)

    await trio.sleep(100)

    assert dialling.at(ONE) == 1
    assert dialling.at(TWO) == 1


async def test_after_half_a_minute_a_seed_is_dialled_on_demand_only(
    autojump_clock, seeds, dialling
):
    seeds(ONE)
    await trio.sleep(35)
    before = dialling.at(ONE)

    await trio.sleep(1000)

    assert before > 10
    assert dialling.at(ONE) == before


async def test_one_that_refuses_is_tried_with_patience(autojump_clock, seeds, dialling, met):
    dialling.there = {ONE: Code.UNKNOWN_KEY}
    seeds(ONE)

    await trio.sleep(30)

    assert 2 < dialling.at(ONE) < 25
    dialling.there = {ONE: AWAY}
    assert not met


async def test_a_node_that_finds_itself_says_so_and_looks_on_elsewhere(
    autojump_clock, seeds, dialling, met
):
    dialling.there = {ONE: ME}
    started = seeds(ONE, TWO)
    await trio.sleep(5)
    assert met == [(ONE, ME)]
    assert dialling.at(ONE) == 1
    assert dialling.at(TWO) > 1
    assert started.tried.is_set()


async def test_a_node_that_found_itself_has_not_met_anybody(autojump_clock, seeds, dialling):
    dialling.there = {ONE: ME}
    started = seeds(ONE, TWO)

    await trio.sleep(0.5)

    assert not started.tried.is_set()


async def test_a_seed_is_dialled_once_when_asked_for(autojump_clock, seeds, dialling, met):
    dialling.there = {ONE: AWAY}
    started = seeds(ONE)
    await trio.sleep(1)

    dialling.there = {ONE: OTHER}
    started.dial(ONE)
    await trio.sleep(1)

    assert met == [(ONE, AWAY), (ONE, OTHER)]


async def test_what_is_asked_for_while_it_is_being_dialled_is_not_dialled_twice(
    autojump_clock, seeds, dialling
):
    started = seeds(ONE)
    await trio.sleep(0.5)

    started.dial(ONE)  # ADialling says if there were two
    await trio.sleep(0.2)

    assert dialling.at(ONE) == 1


async def test_a_seed_that_is_asked_for_at_the_start_is_tried_eagerly_all_the_same(
    autojump_clock, seeds, dialling
):
    started = seeds(ONE)
    started.dial(ONE)

    with trio.fail_after(1.5):
        await started.tried.wait()


async def test_a_seed_that_is_silent_holds_up_no_more_than_its_time(
    autojump_clock, seeds, dialling, met
):
    started = seeds()
    dialling.there = {TWO: AWAY}
    started.dial(ONE)
    started.dial(TWO)

    await trio.sleep(DIAL_WITHIN + 0.1)

    assert met == [(TWO, AWAY)]


async def test_no_more_than_a_few_demands_wait(autojump_clock, seeds, dialling):
    started = seeds()
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(10 * MOST_WAITING):
        started.dial(ONE)

    await trio.sleep(100 * MOST_WAITING)

    assert dialling.at(ONE) <= MOST_WAITING + 1


def test_configured_seeds_come_first_and_none_twice():
    assert seeds_of([TWO, ONE], [ONE, THREE, TWO]) == (TWO, ONE, THREE)
