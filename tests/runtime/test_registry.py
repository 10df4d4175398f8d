"""The registry plane: in time with the clock, probing through real channels, watched."""

import pytest
import trio
from structlog.testing import capture_logs

from fabric.codes import Code
from fabric.core.evidence import FRESH, INTEREST, SPACING
from fabric.core.planes import PlaneState
from fabric.core.registry_events import Status
from fabric.core.verdicts import Standing
from fabric.runtime.beat import BEAT
from fabric.runtime.registry import PLANE, PROBE_WITHIN
from tests.runtime.a_node import Nodes, echo, refusal

MISSING, CANDIDATE_ONLY, ACTIVE = Status


@pytest.fixture
def nodes(nursery):
    """Return a fabric of ``home``, which knows of a core service ``demo``, and of ``away``."""
    nodes = Nodes(nursery)
    nodes.add("home")
    nodes.add("away", "demo")
    nodes.service(core=True)
    yield nodes
    nursery.cancel_scope.cancel()


@pytest.fixture
def home(nodes):
    return next(each for each in nodes.by_id.values() if each.name == "home")


@pytest.fixture
def away(nodes):
    return next(each for each in nodes.by_id.values() if each.name == "away")


async def states_of(node, service, into):
    async for state in node.registry.watch(service):
        into.append((state.status, state.instances))


# -- time and probes --
async def test_a_core_service_is_probed_and_becomes_active(autojump_clock, home, away):
    away.serve("demo", echo)
    assert home.status() == CANDIDATE_ONLY
    home.run()
    await trio.sleep(1)

    assert home.status() == ACTIVE
    assert home.registry.report(2e9)["services"]["demo"]["last_live_probe"]["via"] == "probe"


async def test_probes_go_on_and_keep_it_active(autojump_clock, home, away):
    opened = []

    async def handler(channel):
        opened.append(trio.current_time())

    away.serve("demo", handler)
    home.run()
    await trio.sleep(600)

    assert home.status() == ACTIVE
    assert 600 / (SPACING * 1.2 + BEAT) - 1 <= len(opened) <= 600 / SPACING + 1


async def test_a_backend_that_stops_answering_is_found_out_by_probes(autojump_clock, home, away):
    served = away.serve("demo", echo)
    home.run()
    await trio.sleep(1)
    away.services.end(served)
    await trio.sleep(2 * SPACING)
    assert home.status() == ACTIVE
    await trio.sleep(FRESH)

    assert home.status() == CANDIDATE_ONLY


async def test_a_probe_that_is_not_answered_ends_and_counts_as_failed(autojump_clock, home, away):
    async def hang(channel):
        await trio.sleep_forever()

    away.serve("demo", hang, auto_accept=False)
    home.run()
    await trio.sleep(PROBE_WITHIN + 0.1)

    assert home.registry.core.last_trial("demo").code is Code.DEADLINE
    assert len(home.channels) == 0


async def test_a_node_that_cannot_be_dialled_counts_as_failed(autojump_clock, nodes, home):
    nodes.unreachable["away"] = Code.HANDSHAKE_TIMEOUT
    home.run()
    await trio.sleep(1)

    assert home.registry.core.last_trial("demo").code is Code.HANDSHAKE_TIMEOUT


async def test_no_probe_is_sent_where_users_prove_as_much(autojump_clock, home, away):
    away.serve("demo", echo)
    home.run()
    await trio.sleep(1)
    with capture_logs():
        for _ in range(20):
            await trio.sleep(SPACING / 2)
            async with home.opener.open_channel("demo"):
                pass

    assert away.metrics.channels_opened.series["demo", "in"] == 21


async def test_what_is_neither_core_nor_asked_for_is_not_probed(autojump_clock, nodes, home, away):
    nodes.service(core=False)
    away.serve("demo", echo)
    home.run()
    await trio.sleep(60)
    assert not away.metrics.channels_opened.series

    home.registry.sought("demo")
    await trio.sleep(2)
    assert away.metrics.channels_opened.series == {("demo", "in"): 1}


async def test_a_service_of_this_node_is_probed_here_though_it_may_not_open_it(
    autojump_clock, nodes, home
):
    nodes.service(core=True, open_to=("node:somebody",))
    nodes.hold(nodes.fabric.offers("home", "demo"))
    home.serve("demo", echo)
    home.run()
    await trio.sleep(1)

    assert home.status() == ACTIVE


async def test_a_channel_that_came_here_is_a_proof_here(autojump_clock, home, away):
    away.serve("demo", echo)
    async with home.opener.open_channel("demo"):
        assert away.status() == ACTIVE
    assert away.registry.core.last_trial("demo").via == "served"


async def test_a_channel_that_was_refused_here_proves_nothing(autojump_clock, home, away):
    async def refuse(channel):
        await channel.refuse(Code.BACKEND_REFUSED)

    away.serve("demo", refuse, auto_accept=False)
    await refusal(home)

    assert away.registry.core.last_trial("demo") is None


async def test_the_watermark_rises_with_every_turn(autojump_clock, home):
    home.run()
    await trio.sleep(100)
    (plane,) = [each for each in home.planes.view(trio.current_time()) if each.name == PLANE]

    assert plane.state is PlaneState.RUNNING
    assert plane.since_progress <= BEAT


async def test_nothing_is_probed_before_the_plane_runs_or_after(
    autojump_clock, nursery, home, away
):
    away.serve("demo", echo)
    with trio.move_on_after(1):
        await home.registry.run(home.opener.probe, home.services.review)
    opened = dict(away.metrics.channels_opened.series)
    home.registry.sought("demo")
    await trio.sleep(60)

    assert away.metrics.channels_opened.series == opened == {("demo", "in"): 1}


# -- what others tell it --
async def test_a_node_that_is_shunned_is_resolved_again_when_its_time_is_over(
    autojump_clock, home, away
):
    away.serve("demo", echo)
    home.run()
    home.registry.shunned(away.node_id, Code.DUPLICATE_IDENTITY, 60.0)
    assert home.registry.resolve("demo").code is Code.NO_INSTANCE
    await trio.sleep(62)

    assert [each.name for each in home.registry.resolve("demo").instances] == ["away"]


async def test_a_change_is_an_event_and_another_status_a_line_too(
    autojump_clock, nodes, home, away
):
    beyond = nodes.add("beyond", "demo")
    with capture_logs() as lines:
        async with home.events.open_subscription() as events:
            home.registry.proved("demo", away.node_id, 0.01, "channel")
            home.liveness.states[beyond.node_id] = "left"
            home.registry.turned(beyond.node_id)
            first, second = await anext(events), await anext(events)

    assert first.name == second.name == "service.changed"
    assert (first.fields["was"], first.fields["status"]) == (CANDIDATE_ONLY, ACTIVE)
    assert (first.fields["reason"], first.fields["removed"]) == (None, ())
    assert (second.fields["status"], second.fields["removed"]) == (ACTIVE, ("beyond",))
    assert [(line["event"], line["status"]) for line in lines] == [("service.changed", ACTIVE)]


# -- watching --
async def test_a_watch_begins_with_what_is(autojump_clock, home):
    state = await anext(home.registry.watch("demo"))

    assert (state.status, state.instances) == (CANDIDATE_ONLY, ("away",))
    assert state.reason is Code.NO_PROOF


async def test_a_watch_of_what_nobody_knows_begins_too(autojump_clock, home):
    state = await anext(home.registry.watch("typo"))

    assert (state.status, state.instances) == (MISSING, ())
    assert state.reason is Code.UNKNOWN_SERVICE


async def test_a_watch_tells_each_change_once(autojump_clock, nursery, nodes, home, away):
    seen = []
    nursery.start_soon(states_of, home, "demo", seen)
    await trio.sleep(1)
    home.registry.proved("demo", away.node_id, 0.01, "channel")
    await trio.sleep(1)
    nodes.add("beyond", "demo")
    await trio.sleep(1)
    nodes.service("other")
    await trio.sleep(1)

    assert seen == [
        (CANDIDATE_ONLY, ("away",)),
        (ACTIVE, ("away",)),
        (ACTIVE, ("away", "beyond")),
    ]


async def test_a_slow_watcher_misses_what_was_and_never_what_is(autojump_clock, nodes, home, away):
    watch = home.registry.watch("demo")
    await anext(watch)
    for number in range(5):
        nodes.add(f"home-{number}", "demo")
    for node in list(nodes.by_id.values()):
        if node.name.startswith("home-"):
            home.liveness.states[node.node_id] = "left"
            home.registry.turned(node.node_id)
    home.registry.proved("demo", away.node_id, 0.01, "channel")
    state = await anext(watch)

    assert (state.status, state.instances) == (ACTIVE, ("away",))


async def test_who_watches_has_the_service_probed_for_as_long(
    autojump_clock, nursery, nodes, home, away
):
    nodes.service(core=False)
    away.serve("demo", echo)
    home.run()
    seen = []
    nursery.start_soon(states_of, home, "demo", seen)
    await trio.sleep(10 * INTEREST)

    assert seen == [(CANDIDATE_ONLY, ("away",)), (ACTIVE, ("away",))]
    assert away.metrics.channels_opened.series["demo", "in"] > 40


async def test_a_watch_goes_on_where_a_wait_for_it_was_given_up(autojump_clock, home, away):
    watch = home.registry.watch("demo")
    await anext(watch)
    with trio.move_on_after(60) as scope:
        await anext(watch)
    assert scope.cancelled_caught
    home.registry.proved("demo", away.node_id, 0.01, "channel")

    assert (await anext(watch)).status == ACTIVE


# -- what this node offers --
async def test_only_what_is_served_and_permitted_is_offered(autojump_clock, nodes, home):
    nodes.service("other", offer_by=("node:away",))
    home.serve("demo", echo)
    home.serve("other", echo)
    home.serve("unsigned", echo)

    assert home.services.permitted_names() == ("demo",)
    assert home.services.withheld == {
        "other": Code.OFFER_NOT_PERMITTED,
        "unsigned": Code.OFFER_NOT_PERMITTED,
    }


async def test_what_is_withheld_is_said_once_with_the_remedy_and_when_it_returns(
    autojump_clock, nodes, home
):
    home.run()
    home.serve("demo", echo)
    with capture_logs() as lines:
        for offer_by in ("node:away", "node:away", "any"):
            changed = home.services.next_change()
            nodes.service(offer_by=(offer_by,))
            await trio.sleep(5)
    told = [line for line in lines if line["event"].startswith("service.") and "was" not in line]

    assert [line["event"] for line in told] == ["service.withheld", "service.permitted"]
    assert "fabricctl service add" in told[0]["remedy"]
    assert changed.is_set()
    assert home.services.permitted_names() == ("demo",)


async def test_a_record_that_takes_a_permission_back_counts_at_once(autojump_clock, nodes, home):
    home.run()
    home.serve("demo", echo)
    await trio.sleep(1)
    changed = home.services.next_change()
    nodes.service(offer_by=("node:away",))

    assert changed.is_set()
    assert home.services.withheld == {"demo": Code.OFFER_NOT_PERMITTED}


async def test_a_permission_that_expires_in_silence_is_noticed(autojump_clock, nodes, home):
    home.run()
    home.serve("demo", echo)
    changed = home.services.next_change()
    home.directory.hold(nodes.fabric.service("demo"), Standing.EXPIRED)
    await trio.sleep(BEAT + 0.1)

    assert changed.is_set()
    assert home.services.withheld == {"demo": Code.RECORD_EXPIRED}


async def test_a_node_in_its_grace_goes_on_with_what_it_offered_and_begins_nothing(
    autojump_clock, nodes, home
):
    nodes.service("other")
    nodes.hold(nodes.fabric.offers("home", "demo"))
    home.serve("demo", echo)
    home.serve("other", echo)
    assert home.services.permitted_names() == ("demo", "other")
    home.hold(home.record, Standing.GRACE)

    assert home.services.permitted_names() == ("demo",)
