"""Channels between two nodes: opened, used, refused, broken. Each no has its own code."""

import functools
from contextlib import suppress

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.core.codec import encode
from fabric.core.frames import Accepted, Open
from fabric.errors import ChannelBroken, LocalProtocolError, RefusedError
from fabric.testing.factories import a_frame
from fabric.testing.pairs import a_service, connected

CLIENT = "192.0.2.7:50123"


async def echo(channel):
    while data := await channel.receive_some():
        await channel.send_all(data)


@pytest.fixture
async def two(fleet, nursery, autojump_clock):
    """Return a function that starts ``home`` and ``away``, the latter serving *handler*."""

    async def start(handler=echo, *, home=None, away=None, **options):
        at_home = await nursery.start(_run, fleet, "home", home or {})
        at_away = await nursery.start(_run, fleet, "away", away or {})
        if handler is not None:
            serve = functools.partial(at_away.serve, "demo", handler, **options)
            await nursery.start(serve)
        await connected(at_home, "away")
        await connected(at_away, "home")
        return at_home, at_away

    yield start
    nursery.cancel_scope.cancel()


async def _run(fleet, name, changes, *, task_status):
    async with fleet.open(name, **changes) as node:
        task_status.started(node)
        await trio.sleep_forever()


async def refusal(node, service="demo", **options) -> RefusedError:
    """Return how *node* was refused."""
    with pytest.raises(RefusedError) as raised:
        async with node.open_channel(service, **options):
            pass
    return raised.value


async def receive_all(channel) -> bytes:
    got = b""
    while data := await channel.receive_some():
        got += data
    return got


async def test_bytes_go_both_ways_and_each_end_closes_its_own(autojump_clock, two):
    home, _away = await two()
    async with home.open_channel("demo") as channel:
        assert channel.service == "demo"
        assert channel.peer == "away"
        await channel.send_all(b"hello")
        assert await channel.receive_some() == b"hello"
        await channel.send_eof()
        assert await channel.receive_some() == b""
        assert (channel.sent_bytes, channel.received_bytes) == (5, 5)


async def test_a_megabyte_arrives_whole_past_every_window(autojump_clock, two):
    home, _ = await two()
    payload = bytes(range(256)) * 4096
    async with home.open_channel("demo") as channel, trio.open_nursery() as nursery:

        async def send():
            await channel.send_all(payload)
            await channel.send_eof()

        nursery.start_soon(send)
        assert await receive_all(channel) == payload


async def test_the_server_may_speak_first_and_with_its_acceptance(autojump_clock, two):
    async def greet(channel):
        await channel.send_all(b"220 ready\r\n")
        await channel.send_eof()
        await receive_all(channel)

    home, _ = await two(greet)
    async with home.open_channel("demo") as channel:
        assert await channel.receive_some(4) == b"220 "
        assert await receive_all(channel) == b"ready\r\n"
        assert channel.received_bytes == 11


async def test_a_half_close_leaves_the_other_direction_open(autojump_clock, two):
    async def answer_at_the_end(channel):
        request = await receive_all(channel)
        await trio.sleep(60)
        await channel.send_all(request[::-1])

    home, _ = await two(answer_at_the_end)
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"abc")
        await channel.send_eof()
        await channel.send_eof()
        assert await receive_all(channel) == b"cba"


async def test_both_ends_log_one_line_under_one_id(autojump_clock, two, logged):
    home, away = await two()
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"12345")
        await channel.receive_some()
        channel_id = channel.id
        assert home.channel(channel_id)["direction"] == "out"
        assert away.channel(channel_id)["direction"] == "in"
        (row,) = home.snapshot()["channels"]
        assert (row["id"], row["state"], row["sent_bytes"]) == (channel_id, "open", 5)
    await trio.sleep(1)

    out, into = sorted(
        logged("channel.closed", channel=channel_id),
        key=lambda line: line["direction"],
        reverse=True,
    )
    assert (out["direction"], out["peer"], out["code"]) == ("out", "away", "done")
    assert (into["direction"], into["peer"], into["code"]) == ("in", "home", "done")
    assert out["sent_bytes"] == into["received_bytes"] == 5
    assert len(channel_id) == 32
    assert home.channel(channel_id)["code"] == "done"
    assert home.channel("0" * 32) is None
    assert home.snapshot()["channels"] == away.snapshot()["channels"] == []


@pytest.mark.parametrize("opener_breaks", [True, False])
async def test_a_reset_reaches_the_other_end_with_its_code(
    autojump_clock, two, logged, opener_breaks
):
    seen = []

    async def handler(channel):
        if not opener_breaks:
            await channel.receive_some()
            channel.reset(Code.QUOTA_EXCEEDED)
            return
        try:
            await receive_all(channel)
        except ChannelBroken as broken:
            seen.append(broken.code)
            raise

    home, away = await two(handler)
    async with home.open_channel("demo") as channel:
        if opener_breaks:
            channel.reset(Code.QUOTA_EXCEEDED)
        else:
            await channel.send_all(b"x")
            with pytest.raises(ChannelBroken) as broken:
                await receive_all(channel)
            seen.append(broken.value.code)
        await trio.sleep(1)

    assert seen == [Code.QUOTA_EXCEEDED]
    assert len(logged("channel.closed", code="quota_exceeded")) == 2
    assert home.metrics.channels_reset.series["demo", Code.QUOTA_EXCEEDED] == 1
    assert away.metrics.channels_reset.series["demo", Code.QUOTA_EXCEEDED] == 1


async def test_an_exception_in_the_openers_body_resets_the_channel(autojump_clock, two, logged):
    seen = []

    async def handler(channel):
        try:
            await receive_all(channel)
        except ChannelBroken as broken:
            seen.append(broken.code)

    home, _ = await two(handler)
    with suppress(ZeroDivisionError):
        async with home.open_channel("demo") as channel:
            await channel.send_all(b"half of")
            raise ZeroDivisionError
    await trio.sleep(1)

    assert seen == [Code.INTERNAL_ERROR]


async def test_a_cancelled_opener_resets_the_channel_as_cancelled(autojump_clock, two):
    seen = []

    async def handler(channel):
        try:
            await receive_all(channel)
        except ChannelBroken as broken:
            seen.append(broken.code)

    home, _ = await two(handler)
    with trio.move_on_after(1):
        async with home.open_channel("demo"):
            await trio.sleep_forever()
    await trio.sleep(1)

    assert seen == [Code.CANCELLED]


async def test_a_handlers_bug_resets_its_channel_and_leaves_serve(autojump_clock, fleet, nursery):
    codes = []

    async def buggy(channel):
        await channel.receive_some()
        raise ZeroDivisionError

    async def use(home):
        with suppress(ChannelBroken):
            async with home.open_channel("demo") as channel:
                try:
                    await channel.send_all(b"x")
                    await channel.receive_some()
                except ChannelBroken as broken:
                    codes.append(broken.code)

    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        nursery.start_soon(use, home)
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            await away.serve("demo", buggy)
        await trio.sleep(1)
        assert codes == [Code.INTERNAL_ERROR]
        assert (await refusal(home)).code is Code.UNKNOWN_SERVICE


async def test_what_the_opener_does_is_no_bug_of_the_handler(autojump_clock, two):
    async def careless(channel):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_all, channel)

    home, away = await two(careless)
    for _ in range(2):
        async with home.open_channel("demo") as channel:
            channel.reset(Code.CLIENT_GONE)
        await trio.sleep(1)

    assert away.metrics.channels_reset.series["demo", Code.CLIENT_GONE] == 2
    assert "demo" in away.services.offerings


async def test_reading_on_is_possible_after_the_reader_has_left(autojump_clock, two):
    """One who reads no further may have said all that matters: its answer is not thrown away."""

    async def answer_early(channel):
        await channel.receive_some()
        await channel.send_all(b"413 too large")

    home, _ = await two(answer_early)
    async with home.open_channel("demo") as channel:
        with suppress(ChannelBroken):
            while True:
                await channel.send_all(bytes(100_000))
        assert await receive_all(channel) == b"413 too large"


# -- refusals, each by its own code --


async def test_a_service_that_nobody_knows(autojump_clock, two, logged):
    home, _ = await two()
    refused = await refusal(home, "typo")

    assert refused.code is Code.UNKNOWN_SERVICE
    assert refused.code.remedy in str(refused)
    (line,) = logged("channel.refused")
    assert (line["code"], line["service"], line["channel"]) == (
        Code.UNKNOWN_SERVICE,
        "typo",
        refused.channel_id,
    )
    assert home.metrics.channels_refused.series["typo", Code.UNKNOWN_SERVICE, "out"] == 1


async def test_a_service_that_no_connected_node_offers(autojump_clock, fleet):
    async with fleet.open("home") as home:
        assert (await refusal(home)).code is Code.NO_INSTANCE


async def test_a_service_that_is_expected_but_not_served_there(autojump_clock, two, logged):
    home, _ = await two(None)
    refused = await refusal(home)

    assert refused.code is Code.UNKNOWN_SERVICE
    assert refused.hop == "away"
    (at_home,) = logged("channel.refused", direction="out")
    (at_away,) = logged("channel.refused", direction="in")
    assert at_home["channel"] == at_away["channel"] == refused.channel_id


def opened_at(node, *open_to, **terms):
    return {"demo": a_service("demo", *open_to, **terms)}


async def test_the_offering_node_enforces_open_to(autojump_clock, two, logged):
    """The opener believes that it may; only the other end knows better."""
    home, away = await two(
        home={"services": opened_at("home", "any")},
        away={"services": opened_at("away", "node:somebody-else")},
    )
    refused = await refusal(home)

    assert (refused.code, refused.hop) == (Code.NOT_PERMITTED, "away")
    assert logged("channel.refused", direction="in", code=Code.NOT_PERMITTED, peer="home")
    assert away.metrics.channels_refused.series["demo", Code.NOT_PERMITTED, "in"] == 1


async def test_the_offering_node_keeps_what_is_not_for_the_edge(
    autojump_clock, fleet, two, logged
):
    fleet.members["home"] = evolve(fleet.members["home"], roles=frozenset({"ingress"}))
    home, _ = await two(
        home={"services": opened_at("home", "any", edge_exposable=True)},
        away={"services": opened_at("away", "any", edge_exposable=False)},
    )
    refused = await refusal(home, client=CLIENT)

    assert (refused.code, refused.hop) == (Code.NOT_EDGE_EXPOSABLE, "away")
    assert logged("channel.refused", direction="in", code=Code.NOT_EDGE_EXPOSABLE, client=CLIENT)


async def test_a_client_address_is_believed_only_from_an_ingress(autojump_clock, two, logged):
    """``home`` has made itself an ingress; the roster of ``away`` does not say so."""
    exposed = opened_at("both", "any", edge_exposable=True)
    home, _ = await two(
        home={"services": exposed, "roles": frozenset({"ingress"})}, away={"services": exposed}
    )
    refused = await refusal(home, client=CLIENT)

    assert (refused.code, refused.hop) == (Code.CLIENT_NOT_BELIEVED, "away")
    assert logged("channel.refused", direction="in", code=Code.CLIENT_NOT_BELIEVED)


async def test_a_client_address_from_an_ingress_is_carried(autojump_clock, fleet, two):
    seen = []

    async def handler(channel):
        seen.append((channel.client, channel.peer))

    fleet.members["home"] = evolve(fleet.members["home"], roles=frozenset({"ingress"}))
    exposed = opened_at("both", "role:ingress", edge_exposable=True)
    home, _ = await two(handler, home={"services": exposed}, away={"services": exposed})
    async with home.open_channel("demo", client=CLIENT) as channel:
        await receive_all(channel)

    assert seen == [(CLIENT, "home")]


@pytest.mark.parametrize(
    ("mine", "client", "code"),
    [
        (("node:somebody-else",), None, Code.NOT_PERMITTED),
        (("any",), CLIENT, Code.CLIENT_NOT_BELIEVED),
    ],
)
async def test_the_opener_checks_first_and_asks_nobody(
    autojump_clock, two, logged, mine, client, code
):
    home, _ = await two(home={"services": opened_at("home", *mine)})
    refused = await refusal(home, client=client)

    assert (refused.code, refused.hop) == (code, "")
    assert not logged("channel.refused", direction="in")


async def test_the_opener_goes_by_told_terms_where_it_has_none(autojump_clock, two, logged):
    home, _ = await two(
        home={"services": {}}, away={"services": opened_at("away", "area:nowhere")}
    )
    await trio.sleep(1)
    refused = await refusal(home)

    assert (refused.code, refused.hop) == (Code.NOT_PERMITTED, "")
    assert not logged("channel.refused", direction="in")


async def test_a_full_service_refuses_the_next(autojump_clock, two):
    home, _ = await two(away={"services": opened_at("away", "any", max_channels=1)})
    async with home.open_channel("demo"):
        assert (await refusal(home)).code is Code.SERVICE_FULL
    await trio.sleep(1)
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"x")


async def test_a_handler_may_refuse_with_a_code_and_its_own_words(autojump_clock, two, logged):
    async def refuse(channel):
        await channel.refuse(Code.BACKEND_REFUSED, "127.0.0.1:9 said\nno")

    home, away = await two(refuse, auto_accept=False)
    refused = await refusal(home)

    assert (refused.code, refused.hop) == (Code.BACKEND_REFUSED, "away")
    assert refused.detail == "127.0.0.1:9 said no"
    assert logged("channel.refused", direction="in", code=Code.BACKEND_REFUSED)
    assert away.snapshot()["channels"] == []


async def test_a_refusal_further_on_is_passed_back(autojump_clock, two):
    async def go_on(channel):
        raise RefusedError(Code.BACKEND_SILENT)

    home, _ = await two(go_on, auto_accept=False)

    assert (await refusal(home)).code is Code.BACKEND_SILENT


async def test_a_handler_that_answers_nothing_is_a_refusal(autojump_clock, two):
    async def forget(channel):
        return

    home, _ = await two(forget, auto_accept=False)

    assert (await refusal(home)).code is Code.INTERNAL_ERROR


async def test_a_handler_that_thinks_for_too_long_loses_the_channel(autojump_clock, two, logged):
    async def think(channel):
        await trio.sleep_forever()

    home, away = await two(think, auto_accept=False)
    began = trio.current_time()
    refused = await refusal(home, deadline=3.0)

    assert refused.code is Code.DEADLINE
    assert 2.9 < trio.current_time() - began < 3.2
    await trio.sleep(1)
    assert away.snapshot()["channels"] == []
    assert logged("channel.refused", direction="in", code=Code.DEADLINE)


async def test_an_accepted_channel_outlives_the_openers_deadline(autojump_clock, two):
    async def accept_late(channel):
        await trio.sleep(1)
        await channel.accept()
        await trio.sleep(60)
        await channel.send_all(b"worth it")

    home, _ = await two(accept_late, auto_accept=False)
    async with home.open_channel("demo", deadline=2.0) as channel:
        assert await receive_all(channel) == b"worth it"


async def test_answering_twice_is_a_bug(autojump_clock, fleet):
    async def twice(channel):
        await channel.accept()
        await channel.accept()

    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        with pytest.RaisesGroup(LocalProtocolError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                serve = functools.partial(away.serve, "demo", twice, auto_accept=False)
                await nursery.start(serve)
                async with home.open_channel("demo") as channel:
                    with pytest.raises(ChannelBroken):
                        await channel.receive_some()


async def test_an_opener_that_gave_up_is_told_to_the_handler(autojump_clock, two):
    seen = []

    async def accept_too_late(channel):
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        try:
            await channel.accept()
        except ChannelBroken as broken:
            seen.append(broken.code)
            raise

    home, away = await two(accept_too_late, auto_accept=False)
    with trio.move_on_after(1):
        async with home.open_channel("demo", deadline=60):
            pass
    await trio.sleep(10)

    assert seen == [Code.CANCELLED]
    assert away.snapshot()["channels"] == []


# -- more than one instance --


async def start(fleet, nursery, name, handler, **options):
    node = await nursery.start(_run, fleet, name, {})
    await nursery.start(functools.partial(node.serve, "demo", handler, **options))
    return node


async def test_another_instance_is_tried_when_one_refuses(autojump_clock, fleet, nursery, logged):
    async def refuse(channel):
        await channel.refuse(Code.BACKEND_REFUSED)

    fleet.add("third", offers=frozenset({"demo"}))
    await start(fleet, nursery, "away", refuse, auto_accept=False)
    await start(fleet, nursery, "third", echo)
    async with fleet.open("home") as home:
        await connected(home, "away")
        await connected(home, "third")
        for _ in range(4):
            async with home.open_channel("demo") as channel:
                assert channel.peer == "third"
        (row,) = home.snapshot()["services"]
        assert row["instances"] == ["away", "third"]
    assert not logged("channel.refused", direction="out")
    nursery.cancel_scope.cancel()


async def test_one_that_hangs_leaves_time_for_the_next(autojump_clock, fleet, nursery):
    async def hang(channel):
        await trio.sleep_forever()

    fleet.add("third", offers=frozenset({"demo"}))
    await start(fleet, nursery, "away", hang, auto_accept=False)
    await start(fleet, nursery, "third", hang, auto_accept=False)
    third = fleet.add("fourth", offers=frozenset({"demo"}))
    await start(fleet, nursery, third.name, echo)
    async with fleet.open("home") as home:
        for name in ("away", "third", "fourth"):
            await connected(home, name)
        async with home.open_channel("demo", deadline=8) as channel:
            assert channel.peer == "fourth"
    nursery.cancel_scope.cancel()


async def test_channels_spread_over_the_instances(autojump_clock, fleet, nursery):
    fleet.add("third", offers=frozenset({"demo"}))
    await start(fleet, nursery, "away", echo)
    await start(fleet, nursery, "third", echo)
    async with fleet.open("home") as home:
        await connected(home, "away")
        await connected(home, "third")
        async with (
            home.open_channel("demo") as one,
            home.open_channel("demo") as two,
            home.open_channel("demo") as three,
            home.open_channel("demo") as four,
        ):
            peers = sorted(channel.peer for channel in (one, two, three, four))
        assert peers == ["away", "away", "third", "third"]
    nursery.cancel_scope.cancel()


async def test_a_refusal_about_the_opener_is_not_taken_to_the_next(
    autojump_clock, fleet, nursery, logged
):
    fleet.add("third", offers=frozenset({"demo"}))
    fleet.services = opened_at("all", "node:nobody")
    await start(fleet, nursery, "away", echo)
    await start(fleet, nursery, "third", echo)
    async with fleet.open("home", services=opened_at("home", "any")) as home:
        await connected(home, "away")
        await connected(home, "third")
        assert (await refusal(home)).code is Code.NOT_PERMITTED
    assert len(logged("channel.refused", direction="in")) == 1
    nursery.cancel_scope.cancel()


# -- the connection below --


async def test_a_lost_connection_breaks_its_channels_with_a_code(
    autojump_clock, two, network, logged
):
    home, _away = await two()
    async with home.open_channel("demo") as channel:
        began = trio.current_time()
        network.cut("10.0.0.1", "10.0.0.2")
        with pytest.raises(ChannelBroken) as broken:
            await channel.receive_some()
        assert trio.current_time() - began < 5.0
    assert broken.value.code is Code.PEER_SILENT
    assert (await refusal(home)).code is Code.NO_INSTANCE


async def test_the_next_channel_works_after_the_connection_came_back(autojump_clock, two):
    home, _away = await two()
    (link,) = home.peers.standing_links()
    link.connection.close(Code.PEER_LOST)
    await trio.sleep(2)
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"x")
        assert await channel.receive_some() == b"x"


# -- drain --


async def test_a_draining_node_takes_no_channel_and_lets_the_open_ones_finish(
    autojump_clock, two, logged
):
    home, away = await two()
    async with trio.open_nursery() as nursery, home.open_channel("demo") as channel:
        nursery.start_soon(away.drain)
        await trio.sleep(0.5)
        assert away.state == "draining"
        assert (await refusal(home)).code is Code.NO_INSTANCE
        await channel.send_all(b"last words")
        assert await channel.receive_some() == b"last words"
    assert logged("node.drained", reset=0)
    assert logged("peer.draining", peer="away")


async def test_a_channel_that_outlives_the_drain_is_reset(autojump_clock, two, logged):
    home, away = await two()
    async with home.open_channel("demo") as channel, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(away.drain)
        with pytest.raises(ChannelBroken) as broken:
            await channel.receive_some()
        assert 1.9 < trio.current_time() - began < 2.5
    assert broken.value.code is Code.DRAIN_TIMEOUT
    assert logged("node.drained", reset=1)


async def test_a_draining_node_opens_nothing_itself(autojump_clock, two):
    home, _ = await two()
    await home.drain()

    assert (await refusal(home)).code is Code.DRAINING


async def test_a_peer_that_asks_all_the_same_is_refused_as_draining(autojump_clock, two, logged):
    home, away = await two()
    away.services.is_draining = True

    assert (await refusal(home)).code is Code.DRAINING


# -- bad manners of an admitted peer --


async def answer_to(home, wire: bytes, *, fin: bool = False) -> bytes:
    (link,) = home.peers.standing_links()
    stream = await link.connection.open_stream()
    await (stream.send_all_eof(wire) if fin else stream.send_all(wire))
    return await stream.receive_some()


@pytest.mark.parametrize(
    ("wire", "fin", "code"),
    [
        (encode(a_frame(Open)) + b"too early", False, Code.UNEXPECTED_FRAME),
        (encode(a_frame(Accepted)), False, Code.UNEXPECTED_FRAME),
        (b"\xff\xff\xff\xff", False, Code.MALFORMED_FRAME),
        (encode(a_frame(Open))[:20], True, Code.MALFORMED_FRAME),
        (encode(a_frame(Open))[:20], False, Code.DEADLINE),
    ],
    ids=["payload-before-accepted", "no-open", "too-long", "cut-short", "never-whole"],
)
async def test_an_odd_first_frame_refuses_that_channel_alone(
    autojump_clock, two, logged, wire, fin, code
):
    home, _away = await two()
    assert await answer_to(home, wire, fin=fin)
    assert logged("channel.refused", direction="in", code=code, peer="home")
    async with home.open_channel("demo") as channel:
        await channel.send_all(b"fine")
        assert await channel.receive_some() == b"fine"


async def test_half_an_open_does_not_hold_up_the_next_channel(autojump_clock, two):
    home, _ = await two()
    (link,) = home.peers.standing_links()
    stream = await link.connection.open_stream()
    wire = encode(a_frame(Open, client=None))
    await stream.send_all(wire[:10])
    began = trio.current_time()
    async with home.open_channel("demo"):
        assert trio.current_time() - began < 0.1
    await stream.send_all(wire[10:])
    assert await stream.receive_some()


# -- services --


async def test_a_service_must_be_declared_to_be_served(autojump_clock, fleet):
    async with fleet.open("home") as home:
        with pytest.RaisesGroup(RefusedError):
            await home.serve("nameless", echo)


async def test_a_service_is_served_once_at_a_time(autojump_clock, fleet, nursery):
    async with fleet.open("home") as home:
        await nursery.start(home.serve, "demo", echo)
        with pytest.RaisesGroup(LocalProtocolError):
            await home.serve("demo", echo)
        nursery.cancel_scope.cancel()


async def test_channels_end_with_their_server_unless_they_have_another_nursery(
    autojump_clock, two, nursery
):
    home, away = await two(None)
    for handler_nursery, survives in ((None, False), (nursery, True)):
        scope = trio.CancelScope()

        async def serve(handler_nursery=handler_nursery, scope=scope, *, task_status):
            with scope:
                await away.serve(
                    "demo", echo, handler_nursery=handler_nursery, task_status=task_status
                )

        await nursery.start(serve)
        async with home.open_channel("demo") as channel:
            scope.cancel()
            await trio.sleep(1)
            if survives:
                await channel.send_all(b"still")
                assert await channel.receive_some() == b"still"
            else:
                with pytest.raises(ChannelBroken) as broken:
                    await channel.receive_some()
                assert broken.value.code is Code.CANCELLED


async def test_an_exposed_service_is_declared_told_and_remembered(autojump_clock, fleet, nursery):
    from fabric.config import HostPort

    web = a_service("web", "node:home", backend=HostPort("127.0.0.1", 8000))
    async with fleet.open("home") as home:
        async with fleet.open("away") as away:
            await connected(home, "away")
            change = away.services.next_change()
            await away.expose(web)
            assert change.is_set()
            await nursery.start(away.serve, "web", echo)
            await trio.sleep(1)
            async with home.open_channel("web") as channel:
                await channel.send_all(b"x")
                assert await channel.receive_some() == b"x"
            nursery.cancel_scope.cancel()
        async with fleet.open("away") as away:
            assert away.services.configs["web"] == web
            await away.unexpose("web")
            assert "web" not in away.services.configs
            with pytest.raises(RefusedError):
                await away.unexpose("web")
        async with fleet.open("away") as away:
            assert "web" not in away.services.configs


# -- a node that opens what it offers itself --


async def test_a_node_may_open_its_own_service(autojump_clock, fleet, nursery, logged):
    async with fleet.open("away") as away:
        await nursery.start(away.serve, "demo", echo)
        payload = bytes(range(256)) * 4096
        async with away.open_channel("demo") as channel, trio.open_nursery() as sending:
            assert channel.peer == "away"
            sending.start_soon(channel.send_all, payload)
            got = b""
            while len(got) < len(payload):
                got += await channel.receive_some(50_000)
            assert got == payload
            await channel.send_eof()
            assert await channel.receive_some() == b""
        await trio.sleep(1)
        assert len(logged("channel.closed", channel=channel.id, code="done")) == 2
        assert away.snapshot()["services"][0]["instances"] == ["away"]
        nursery.cancel_scope.cancel()


async def test_its_own_services_terms_hold_for_a_node_too(autojump_clock, fleet, nursery):
    async with fleet.open("away", services=opened_at("away", "node:home")) as away:
        await nursery.start(away.serve, "demo", echo)
        assert (await refusal(away)).code is Code.NOT_PERMITTED
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("opener_breaks", [True, False])
async def test_a_local_channel_breaks_with_its_code(autojump_clock, fleet, nursery, opener_breaks):
    seen = []

    async def handler(channel):
        try:
            await channel.receive_some()
            if not opener_breaks:
                channel.reset(Code.QUOTA_EXCEEDED)
            await receive_all(channel)
        except ChannelBroken as broken:
            seen.append(broken.code)

    async with fleet.open("away") as away:
        await nursery.start(away.serve, "demo", handler)
        with suppress(ChannelBroken):
            async with away.open_channel("demo") as channel:
                await channel.send_all(b"x")
                if opener_breaks:
                    await trio.sleep(1)
                    channel.reset(Code.QUOTA_EXCEEDED)
                else:
                    try:
                        await receive_all(channel)
                    except ChannelBroken as broken:
                        seen.append(broken.code)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert set(seen) == {Code.QUOTA_EXCEEDED}


async def test_a_local_sender_waits_for_its_reader(autojump_clock, fleet, nursery):
    async def sleep(channel):
        await trio.sleep_forever()

    async with fleet.open("away") as away:
        await nursery.start(away.serve, "demo", sleep)
        async with away.open_channel("demo") as channel:
            with trio.move_on_after(10) as scope:
                await channel.send_all(bytes(10 << 20))
            assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_a_local_refusal_has_its_code_too(autojump_clock, fleet, nursery):
    async def refuse(channel):
        await channel.refuse(Code.BACKEND_SILENT)

    async with fleet.open("away") as away:
        serve = functools.partial(away.serve, "demo", refuse, auto_accept=False)
        await nursery.start(serve)
        assert (await refusal(away)).code is Code.BACKEND_SILENT
        nursery.cancel_scope.cancel()
