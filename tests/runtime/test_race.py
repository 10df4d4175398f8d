"""Ways to one peer, raced: dead addresses cost a moment each, and losers leave nothing behind."""

from collections import deque

import pytest
import trio
from attrs import define, evolve, field

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.records import MOST_CANDIDATES
from fabric.core.roster import Seed
from fabric.errors import RefusedError
from fabric.runtime import race as race_module
from fabric.runtime.race import NEXT_AFTER, Race
from fabric.testing.pairs import connected

NEVER = float("inf")


@define(eq=False)
class Track:
    """Ways of which each answers, or fails, after so many seconds."""

    answers: dict[str, float] = field(factory=dict)
    fails: dict[str, float] = field(factory=dict)
    began: list[tuple[str, float]] = field(factory=list)
    missed: list[str] = field(factory=list)
    given_up: list[str] = field(factory=list)
    is_moot: bool = False

    def race(self):
        ways = deque(Seed((name, 1)) for name in sorted({*self.answers, *self.fails}))
        return Race(ways, self.connect, self.miss, lambda: self.is_moot)

    async def connect(self, way):
        name = way.address[0]
        self.began.append((name, trio.current_time()))
        try:
            await trio.sleep(self.answers.get(name, self.fails.get(name)))
        except trio.Cancelled:
            self.given_up.append(name)
            raise
        if name in self.fails:
            raise RefusedError(Code.HANDSHAKE_TIMEOUT)
        return f"connection of {name}"

    def miss(self, way, _refused):
        self.missed.append(way.address[0])


async def test_the_next_way_is_begun_a_quarter_second_after_the_one_before(autojump_clock):
    track = Track(answers={"c": 1.0}, fails={"a": 5.0, "b": 5.0})
    way, connection = await track.race().run()
    assert (way.address[0], connection) == ("c", "connection of c")
    assert [at - track.began[0][1] for _, at in track.began] == [0, NEXT_AFTER, 2 * NEXT_AFTER]
    assert trio.current_time() - track.began[0][1] == pytest.approx(2 * NEXT_AFTER + 1.0)
    assert sorted(track.given_up) == ["a", "b"]


async def test_a_way_that_fails_lets_the_next_begin_at_once(autojump_clock):
    track = Track(answers={"c": 0.1}, fails={"a": 0.01, "b": 0.01})
    await track.race().run()
    assert trio.current_time() - track.began[0][1] == pytest.approx(0.12)
    assert track.missed == ["a", "b"]


async def test_a_way_that_answers_in_time_is_the_only_one_begun(autojump_clock):
    track = Track(answers={"a": NEXT_AFTER / 2, "b": 0.0})
    race = track.race()
    assert (await race.run())[1] == "connection of a"
    assert [name for name, _ in track.began] == ["a"]
    assert (await race.run())[1] == "connection of b", "should Hello come to nothing at a"


async def test_each_way_that_comes_to_nothing_is_told_and_none_is_no_winner(autojump_clock):
    track = Track(fails={"a": 5.0, "b": 4.0, "c": 0.5})
    assert await track.race().run() is None
    assert track.missed == ["c", "b", "a"]


async def test_a_race_that_is_moot_begins_nothing_more(autojump_clock):
    track = Track(answers={"a": 1.0, "b": 0.0}, is_moot=True)
    assert await track.race().run() is None
    assert track.began == []


@pytest.fixture
def closed(monkeypatch):
    """Connections that a race closed, in order."""
    found = []
    monkeypatch.setattr(race_module, "close", lambda connection, _code: found.append(connection))
    return found


async def test_of_two_that_answer_in_one_moment_one_is_closed(autojump_clock, nursery, closed):
    both = trio.Event()

    async def connect(way):
        await both.wait()
        return f"connection of {way.address[0]}"

    async def answer():
        await trio.sleep(1)
        both.set()

    nursery.start_soon(answer)
    race = evolve(Track(answers={"a": 0, "b": 0}).race(), connect=connect)
    _way, connection = await race.run()
    assert sorted([connection, *closed]) == ["connection of a", "connection of b"]


async def test_a_winner_whose_race_is_called_off_is_closed(autojump_clock, closed):
    with trio.CancelScope() as scope:

        async def connect(way):
            scope.cancel()
            return "the winner"

        await evolve(Track(answers={"a": 0}).race(), connect=connect).run()
    assert closed == ["the winner"]


async def test_a_peer_with_one_good_address_of_eight_is_met_in_two_seconds(
    autojump_clock, fleet, nursery
):
    def nowhere(*numbers):
        return tuple(HostPort(f"10.9.9.{n}", 4433) for n in numbers)

    def told(*addresses, name="home"):
        return {"quic": evolve(fleet.config(name).quic, advertise=addresses)}

    good = HostPort(*fleet.members["away"].address)
    at_away = told(*nowhere(*range(1, MOST_CANDIDATES)), good, name="away")
    fleet.add("late", is_dialled=False)
    home = await nursery.start(fleet.keep_running, "home")
    await nursery.start(fleet.keep_running, "away", at_away)
    await connected(home, "away")
    seeds = {"seeds": (HostPort(*fleet.members["home"].address),)}
    late = await nursery.start(
        fleet.keep_running, "late", told(*nowhere(100), name="late") | seeds
    )
    await connected(late, "home")
    began = trio.current_time()
    await connected(late, "away")
    assert 1.5 < trio.current_time() - began < 3.0
    await trio.sleep(10)
    assert len(late.endpoint.connections) == 2
    nursery.cancel_scope.cancel()
