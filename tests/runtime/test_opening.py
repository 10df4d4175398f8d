"""The opener goes where the registry points: one instance, then the next, and says what came."""

import pytest
import trio

from fabric.codes import Code
from fabric.core.registry_events import Status
from fabric.core.verdicts import Standing
from fabric.errors import RefusedError
from fabric.runtime.opening import FAIR_WAIT
from tests.runtime.a_node import Nodes, echo, refusal

CLIENT = "192.0.2.7:51000"


@pytest.fixture
def nodes(nursery):
    """Return a fabric with the service ``demo``, and ``home`` to open it from."""
    nodes = Nodes(nursery)
    nodes.add("home")
    nodes.service()
    yield nodes
    nursery.cancel_scope.cancel()


@pytest.fixture
def home(nodes):
    return next(iter(nodes.by_id.values()))


async def hang(channel):
    await trio.sleep_forever()


def refusing(code):
    async def refuse(channel):
        await channel.refuse(code)

    return refuse


def trial(home, service="demo"):
    return home.registry.core.last_trial(service)


# -- who is asked --
async def test_a_linked_instance_is_opened_without_dialling(autojump_clock, nodes, home):
    away = nodes.add("away", "demo")
    away.serve("demo", echo)
    home.link(away)
    async with home.opener.open_channel("demo") as channel:
        await channel.send_all(b"hello")
        assert await channel.receive_some() == b"hello"
        assert channel.peer == "away"
        assert home.reach.load(away.node_id, "demo") == 1
        assert home.links[away.node_id].channels == 1

    assert home.dialled == []
    assert home.reach.load(away.node_id, "demo") == 0
    assert home.links[away.node_id].channels == 0


async def test_an_instance_without_a_link_is_dialled_on_demand(autojump_clock, nodes, home):
    nodes.add("away", "demo").serve("demo", echo)
    async with home.opener.open_channel("demo") as channel:
        assert channel.peer == "away"
    async with home.opener.open_channel("demo"):
        pass

    assert home.dialled == ["away"]


async def test_the_node_itself_comes_before_any_other(autojump_clock, nodes, home):
    away = nodes.add("away", "demo")
    home.link(away)
    nodes.hold(nodes.fabric.offers("home", "demo"))
    home.serve("demo", echo)
    async with home.opener.open_channel("demo") as channel:
        assert channel.peer == "home"


async def test_channels_spread_over_instances_that_are_as_near(autojump_clock, nodes, home):
    for name in ("away", "beyond"):
        other = nodes.add(name, "demo")
        other.serve("demo", echo)
        home.link(other)
    async with (
        home.opener.open_channel("demo") as one,
        home.opener.open_channel("demo") as two,
        home.opener.open_channel("demo") as three,
        home.opener.open_channel("demo") as four,
    ):
        peers = sorted(channel.peer for channel in (one, two, three, four))

    assert peers == ["away", "away", "beyond", "beyond"]


# -- what is refused here --
async def test_a_draining_node_opens_nothing(autojump_clock, nodes, home):
    home.opener.is_draining = True

    assert (await refusal(home)).code is Code.DRAINING


async def test_a_service_without_a_signed_record_is_unknown_whoever_offers_it(
    autojump_clock, nodes, home
):
    nodes.add("away", "logs").serve("logs", echo)

    assert (await refusal(home, "logs")).code is Code.UNKNOWN_SERVICE


async def test_a_node_without_a_record_of_its_own_is_told_so(autojump_clock, nodes, home):
    home.directory.drop(home.record.key)

    assert (await refusal(home)).code is Code.NO_OWN_RECORD


@pytest.mark.parametrize(
    ("record", "client", "code"),
    [
        ({"open_to": ("node:other",)}, None, Code.NOT_PERMITTED),
        ({"open_to": ()}, None, Code.NOT_PERMITTED),
        ({}, CLIENT, Code.CLIENT_NOT_BELIEVED),
        ({"revoked": True}, None, Code.REVOKED),
    ],
)
async def test_the_opener_asks_nobody_when_the_record_says_no(
    autojump_clock, nodes, home, record, client, code
):
    away = nodes.add("away", "demo")
    away.serve("demo", echo)
    nodes.service(**record)
    refused = await refusal(home, client=client)

    assert (refused.code, refused.hop) == (code, "")
    assert home.dialled == []
    assert not away.metrics.channels_refused.series
    assert home.metrics.channels_refused.series["demo", code, "out"] == 1


async def test_nobody_that_offers_it_is_said_at_once(autojump_clock, nodes, home):
    refused = await refusal(home)

    assert refused.code is Code.NO_INSTANCE
    assert len(refused.channel_id) == 32
    assert trio.current_time() == 0


async def test_an_expired_service_record_is_named_as_what_it_is(autojump_clock, nodes, home):
    nodes.add("away", "demo").serve("demo", echo)
    home.hold(nodes.fabric.service("demo"), Standing.EXPIRED)

    assert (await refusal(home)).code is Code.RECORD_EXPIRED


# -- one after the other --
async def test_another_instance_is_tried_when_one_refuses(autojump_clock, nodes, home):
    nodes.add("away", "demo").serve("demo", refusing(Code.BACKEND_REFUSED), auto_accept=False)
    nodes.add("beyond", "demo", area="abroad").serve("demo", echo)
    for _ in range(3):
        async with home.opener.open_channel("demo") as channel:
            assert channel.peer == "beyond"

    assert not home.metrics.channels_refused.series


async def test_one_that_failed_is_tried_last_the_next_time(autojump_clock, nodes, home):
    tried = []

    async def refuse(channel):
        tried.append(channel.service)
        await channel.refuse(Code.BACKEND_REFUSED)

    nodes.add("away", "demo").serve("demo", refuse, auto_accept=False)
    nodes.add("beyond", "demo", area="abroad").serve("demo", echo)
    for _ in range(10):
        async with home.opener.open_channel("demo"):
            pass

    assert len(tried) == 1


async def test_one_that_hangs_leaves_time_for_the_next(autojump_clock, nodes, home):
    for name in ("away", "beyond"):
        nodes.add(name, "demo").serve("demo", hang, auto_accept=False)
    nodes.add("third", "demo").serve("demo", echo)
    async with home.opener.open_channel("demo", deadline=8) as channel:
        assert channel.peer == "third"
    assert trio.current_time() <= 6


@pytest.mark.parametrize("code", [Code.HANDSHAKE_TIMEOUT, Code.UNKNOWN_KEY, Code.REVOKED])
async def test_one_that_cannot_be_dialled_is_passed_over_whatever_the_reason(
    autojump_clock, nodes, home, code
):
    nodes.add("away", "demo").serve("demo", echo)
    nodes.add("beyond", "demo", area="abroad").serve("demo", echo)
    nodes.unreachable["away"] = code
    async with home.opener.open_channel("demo") as channel:
        assert channel.peer == "beyond"
    assert home.dialled == ["away", "beyond"]


async def test_one_that_nothing_is_heard_of_leaves_time_for_the_next(autojump_clock, nodes, home):
    nodes.add("away", "demo").serve("demo", echo)
    nodes.add("beyond", "demo", area="abroad").serve("demo", echo)
    nodes.unreachable["away"] = None
    async with home.opener.open_channel("demo", deadline=4) as channel:
        assert channel.peer == "beyond"
    assert trio.current_time() <= 2
    assert home.reach.loads.of(nodes.fabric.node_id("away"), "demo") == 0


async def test_a_link_that_comes_when_the_time_is_over_is_a_refusal(autojump_clock, nodes, home):
    away = nodes.add("away", "demo")
    away.serve("demo", echo)

    async def come_late(_node, within):
        await trio.sleep(within + 0.01)
        return home.link(away)

    home.reach.connect = come_late
    assert (await refusal(home)).code is Code.DEADLINE


async def test_the_last_no_names_who_said_it(autojump_clock, nodes, home):
    nodes.add("away", "demo").serve("demo", refusing(Code.BACKEND_SILENT), auto_accept=False)
    refused = await refusal(home)

    assert (refused.code, refused.hop) == (Code.BACKEND_SILENT, "away")


async def test_the_last_no_names_who_was_not_reached(autojump_clock, nodes, home):
    nodes.add("away", "demo")
    nodes.unreachable["away"] = Code.PIN_MISMATCH
    refused = await refusal(home)

    assert (refused.code, refused.hop) == (Code.PIN_MISMATCH, "away")
    assert trial(home).code is Code.PIN_MISMATCH


async def test_a_refusal_about_the_opener_is_not_taken_to_the_next(autojump_clock, nodes, home):
    """``home`` holds an older record than the others: only they know that it may not."""
    others = [nodes.add(name, "demo") for name in ("away", "beyond")]
    for other in others:
        other.serve("demo", echo)
        other.hold(nodes.fabric.service("demo", open_to=("node:nobody",)))
    refused = await refusal(home)

    assert refused.code is Code.NOT_PERMITTED
    assert refused.hop in {"away", "beyond"}
    assert len(home.dialled) == 1


async def test_an_instance_that_has_gone_meanwhile_is_not_tried(autojump_clock, nodes, home):
    async def refuse(channel):
        for node in nodes.by_id.values():
            if node.name in {"away", "beyond"}:
                home.liveness.states[node.node_id] = "left"
                home.registry.turned(node.node_id)
        await channel.refuse(Code.BACKEND_REFUSED)

    for name in ("away", "beyond"):
        nodes.add(name, "demo").serve("demo", refuse, auto_accept=False)

    assert (await refusal(home)).code is Code.BACKEND_REFUSED
    assert len(home.dialled) == 1


async def test_a_draining_link_is_passed_over(autojump_clock, nodes, home):
    away, beyond = nodes.add("away", "demo"), nodes.add("beyond", "demo")
    for other in (away, beyond):
        other.serve("demo", echo)
    home.link(away).takes_channels = False
    async with home.opener.open_channel("demo") as channel:
        assert channel.peer == "beyond"
    nodes.hold(nodes.fabric.offers("beyond"))
    refused = await refusal(home)

    assert (refused.code, refused.hop) == (Code.DRAINING, "away")
    assert home.dialled == ["beyond"]


async def test_an_attempt_that_is_cancelled_leaves_nothing_counted(autojump_clock, nodes, home):
    away = nodes.add("away", "demo")
    away.serve("demo", hang, auto_accept=False)
    with trio.move_on_after(1):
        await refusal(home, deadline=60)

    assert home.reach.load(away.node_id, "demo") == 0
    assert home.links[away.node_id].channels == 0
    assert trial(home) is None


# -- what is told --
async def test_a_channel_that_was_opened_is_a_live_proof(autojump_clock, nodes, home):
    nodes.add("away", "demo").serve("demo", echo)
    assert home.status() == Status.CANDIDATE_ONLY
    async with home.opener.open_channel("demo"):
        assert home.status() == Status.ACTIVE
    assert trial(home).via == "channel"


async def test_a_failed_channel_is_told_of_the_instance_that_failed(autojump_clock, nodes, home):
    away = nodes.add("away", "demo")
    away.serve("demo", refusing(Code.BACKEND_REFUSED), auto_accept=False)
    await refusal(home)

    assert (trial(home).node, trial(home).code) == (away.node_id, Code.BACKEND_REFUSED)


@pytest.mark.parametrize(("deadline", "counts"), [(FAIR_WAIT / 2, False), (FAIR_WAIT, True)])
async def test_a_caller_in_a_hurry_does_not_talk_a_service_down(
    autojump_clock, nodes, home, deadline, counts
):
    away = nodes.add("away", "demo")
    away.serve("demo", hang, auto_accept=False)
    nodes.unreachable["away"] = None
    for _ in ("cannot be dialled", "does not answer"):
        await refusal(home, deadline=deadline)
        assert (trial(home) is not None) is counts
        home.link(away)


async def test_a_probe_opens_and_ends_a_channel_at_that_very_node(autojump_clock, nodes, home):
    seen = []

    async def handler(channel):
        seen.append(await channel.receive_some())

    for name in ("away", "beyond"):
        nodes.add(name, "demo").serve("demo", handler)
    rtt = await home.opener.probe("demo", nodes.fabric.node_id("beyond"), 5.0)
    await trio.sleep(1)

    assert rtt == 0
    assert seen == [b""]
    assert home.dialled == ["beyond"]
    assert len(home.channels) == 0
    assert home.reach.load(nodes.fabric.node_id("beyond"), "demo") == 0


async def test_a_probe_that_gets_no_answer_ends_in_time(autojump_clock, nodes, home):
    away = nodes.add("away", "demo")
    away.serve("demo", hang, auto_accept=False)
    with pytest.raises(RefusedError, match="deadline"):
        await home.opener.probe("demo", away.node_id, 2.0)

    assert trio.current_time() == 2.0


async def test_a_node_may_probe_its_own_service_that_it_may_not_open(autojump_clock, nodes, home):
    nodes.hold(
        nodes.fabric.service("demo", open_to=("node:other",)),
        nodes.fabric.offers("home", "demo"),
    )
    home.serve("demo", echo)

    assert await home.opener.probe("demo", home.node_id, 5.0) == 0
    assert (await refusal(home)).code is Code.NOT_PERMITTED
