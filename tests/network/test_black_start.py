"""The publisher and every seed are gone: a restarted node goes on from what its disk remembers."""

import pytest
import trio

from fabric.codes import Code
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
