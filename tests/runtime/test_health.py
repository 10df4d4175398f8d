"""What a node says is wrong with it: each with a code, what it is about, and a remedy."""

import pytest
import trio

from fabric.codes import Code
from fabric.core.lifetimes import SURVIVAL_GRACE
from fabric.core.records import DAY
from fabric.runtime.health import MOST_LINES
from fabric.runtime.letters import NodeLetters
from fabric.testing.pairs import echo


def complaints(node):
    rows = node.snapshot()["health"]
    for row in rows:
        code = Code[row["code"].upper()]
        assert (row["message"], row["remedy"]) == (code.sentence, code.remedy)
    return {row["code"]: row["detail"] for row in rows}


@pytest.fixture
async def start(fleet, nursery):
    """Return ``await start("home")``, which runs a node of *fleet* until the test ends."""

    async def run(name="home", **changes):
        return await nursery.start(fleet.keep_running, name, changes)

    yield run
    nursery.cancel_scope.cancel()


async def test_a_node_that_lacks_nothing_has_nothing_to_say(autojump_clock, two):
    home, away = await two()
    assert complaints(home) == complaints(away) == {}


async def test_a_node_without_a_record_says_what_to_sign(autojump_clock, fleet, start):
    fleet.add("stranger", is_listed=False)
    node = await start("stranger")
    assert complaints(node) == {"no_own_record": f"this node is {node.node_id}"}


async def test_a_revoked_node_says_so(autojump_clock, fleet, start):
    node, fabric = await start(), fleet.papers.fabric
    node.publish(fabric.signed(fabric.node("home", revoked=True, generation=2)))
    assert complaints(node) == {"revoked": "this node, home"}


async def test_a_node_that_others_shut_out_as_revoked_says_so_without_its_tombstone(
    autojump_clock, fleet, two, monkeypatch
):
    # as of a release that refuses without it, or where it is too large
    monkeypatch.setattr(NodeLetters, "tombstone_of", lambda _letters, _key: b"")
    home, away = await two()
    fabric = fleet.papers.fabric
    away.publish(fabric.signed(fabric.node("home", revoked=True, generation=2)))
    await trio.sleep(10)

    assert not home.overlay.knowledge.readings.is_revoked(home.node_id)
    assert complaints(home)["revoked"] == "this node, as away will have it"
    assert "revoked" not in complaints(away)


async def test_a_record_near_its_end_is_told_then_its_grace_then_its_end(
    autojump_clock, fleet, start
):
    node = await start()
    fleet.travel(75 * DAY)
    assert complaints(node) == {}
    fleet.travel(2 * DAY)
    assert complaints(node)["expiring"].startswith("this node's record ends ")
    fleet.travel(14 * DAY)
    assert complaints(node)["survival_grace"].startswith("this node's record ended ")
    fleet.travel(SURVIVAL_GRACE)
    assert complaints(node)["record_expired"].startswith("this node's record ended ")


async def test_a_clock_behind_what_was_signed_is_told(autojump_clock, fleet, start):
    node, fabric = await start(), fleet.papers.fabric
    node.publish(fabric.signed(fabric.service("late", issued_at=fabric.now + 3600)))
    assert "has been signed" in complaints(node)["clock_behind"]


async def test_a_service_that_is_withheld_is_named(autojump_clock, nursery, start):
    node = await start()
    await nursery.start(node.serve, "secret", echo)
    told = complaints(node)
    assert told == {"offer_not_permitted": "service secret is served here and offered to nobody"}


async def test_a_core_service_that_is_not_active_is_named_until_it_is(
    autojump_clock, fleet, nursery, start
):
    fleet.grant("demo", "any", core=True)
    node = await start()
    assert complaints(node) == {"no_instance": "core service demo is missing"}
    await nursery.start(node.serve, "demo", echo)
    while complaints(node):
        await trio.sleep(1)
    assert node.registry_report()["fabric_registry_runtime_report"]["status"] == "active"


async def test_a_core_service_that_this_node_may_not_open_is_no_complaint(
    autojump_clock, fleet, nursery, start
):
    fleet.grant("demo", "node:away", core=True)
    node = await start()
    assert list(complaints(node)) == ["no_instance"]
    await nursery.start(node.serve, "demo", echo)
    while complaints(node):
        await trio.sleep(1)
    assert node.registry.state_of("demo").reason is Code.NOT_PERMITTED


async def test_an_offered_service_whose_record_ends_soon_is_named(
    autojump_clock, fleet, nursery, start
):
    fleet.grant("demo", "any", expires_at=fleet.papers.fabric.now + 10 * DAY)
    node = await start()
    assert complaints(node) == {}  # it is not this node's affair
    await nursery.start(node.serve, "demo", echo)
    assert complaints(node)["expiring"].startswith("the record of service demo ends ")


async def test_a_disk_that_cannot_be_written_is_told_until_it_can(autojump_clock, start):
    node = await start()
    cache = node.knowledge.cache
    await cache._fail(OSError("no space left on device"))
    assert complaints(node) == {"cache_failing": "no space left on device"}
    assert await cache.flush()
    assert complaints(node) == {}


async def test_a_cache_that_was_put_aside_is_told(autojump_clock, fleet, start):
    folder = fleet.folder / "home" / "state"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "peer-cache.db").write_bytes(b"no database at all" * 100)
    assert "peer-cache.db" in complaints(await start())["cache_moved_aside"]


async def test_what_others_did_wrong_is_told(autojump_clock, fleet, start):
    node, fabric = await start(), fleet.papers.fabric
    for opened in ("node:home", "node:away"):
        node.publish(fabric.signed(fabric.service("demo", generation=2, open_to=(opened,))))
    assert complaints(node)["equivocated"].startswith("service/demo")


async def test_no_more_is_told_than_a_person_can_read(autojump_clock, fleet, start):
    for number in range(MOST_LINES + 1):
        fleet.grant(f"core-{number}", "any", core=True)
    node = await start()
    assert len(node.snapshot()["health"]) == MOST_LINES
