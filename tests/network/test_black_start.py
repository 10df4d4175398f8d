"""The publisher and every seed are gone: a restarted node goes on from what its disk remembers."""

import pytest
import trio

from fabric.codes import Code
from fabric.core.sightings import Sightings
from fabric.errors import RefusedError
from fabric.store.peer_cache import CACHE_FILE


@pytest.fixture
async def orphaned(live):
    """Return a fabric whose publisher and only seed, ``home``, is gone; ``far`` is down too."""
    live.add("home", "away")
    live.add("far", area="abroad")
    live.fleet.grant("demo", "any", core=True)
    live.fleet.grant("logs", "any", core=True)
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records])
    await live.start("away", seeds=["home"], serves=["demo", "logs"])
    await live.start("far", seeds=["home"])
    await live.until(lambda: live.agree() and live.is_meshed())
    await trio.sleep(1)  # what a node hears is on its disk within a fifth of that
    await live.kill("far", "home")
    return live


async def test_every_core_service_is_resolved_from_the_cache_and_opened(autojump_clock, orphaned):
    live = orphaned
    far = await live.start("far", seeds=["home"], knows=[])

    for service in ("demo", "logs"):
        row = next(row for row in far.snapshot()["services"] if row["name"] == service)
        assert (row["resolved_to"], row["core"]) == ("away", True)
        assert await live.opens("far", service) == "away"


async def test_it_is_resolved_before_anybody_was_heard(autojump_clock, orphaned, network):
    live = orphaned
    live.partition(["far"], ["away"])
    far = await live.start("far", seeds=["home"], knows=[])

    row = next(row for row in far.snapshot()["services"] if row["name"] == "demo")
    assert (row["resolved_to"], row["source"], row["status"]) == (
        "away",
        "cache",
        "candidate_only",
    )
    network.heal()
    await live.until(lambda: live.peers_of("far") == {"away"}, within=10)
    assert await live.opens("far") == "away"


async def test_without_its_cache_such_a_node_resolves_nothing(autojump_clock, orphaned, network):
    live = orphaned
    for path in (live.fleet.folder / "far" / "state").glob(f"{CACHE_FILE}*"):
        path.unlink()
    live.partition(["far"], ["away"])
    far = await live.start("far", seeds=["home"], knows=[])

    assert far.snapshot()["services"] == []
    with pytest.raises(RefusedError) as refused:
        await live.opens("far")
    assert refused.value.code is Code.NO_OWN_RECORD


@pytest.fixture
async def hidden(live):
    """Return a fabric in which ``away`` names no address at which it is; ``home`` is down.

    ``home`` comes back elsewhere, so that it has to be the one that dials.
    """
    live.add("home", "away")
    await live.start("home", knows=[live.papers.records])
    await live.start("away", seeds=["home"], advertise=["10.9.9.9:4433"])
    await live.until(lambda: live.agree() and live.is_meshed())
    await trio.sleep(1)
    await live.kill("home")
    return live


ELSEWHERE = ("10.0.7.7", 4433)


async def test_a_peer_is_found_where_it_came_from_when_it_names_no_address_that_leads_there(
    autojump_clock, hidden
):
    await hidden.start("home", knows=[], at=ELSEWHERE)
    await hidden.until(lambda: hidden.peers_of("home") == {"away"}, within=5)


async def test_without_that_candidate_it_is_not_found(autojump_clock, hidden, monkeypatch):
    monkeypatch.setattr(Sightings, "of", lambda _self, _node: iter(()))
    await hidden.start("home", knows=[], at=ELSEWHERE)
    await trio.sleep(20)
    assert hidden.peers_of("home") == set()
