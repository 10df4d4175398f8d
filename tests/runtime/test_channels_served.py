"""Services: declared, served, exposed, and opened by the very node that offers them."""

import functools
from contextlib import suppress

import pytest
import trio

from fabric.codes import Code
from fabric.config import HostPort
from fabric.errors import ChannelBroken, LocalProtocolError, RefusedError
from fabric.testing.pairs import a_service, connected, echo, offered, receive_all, refusal


async def test_a_service_without_a_record_is_served_and_told_to_nobody(
    autojump_clock, two, nursery
):
    home, away = await two(None)
    await nursery.start(away.serve, "nameless", echo)
    await trio.sleep(5)
    (row,) = [row for row in away.snapshot()["services"] if row["name"] == "nameless"]
    assert (row["offered_here"], row["withheld"]) == (False, "offer_not_permitted")
    assert (await refusal(home, "nameless")).code is Code.UNKNOWN_SERVICE
    assert (await refusal(away, "nameless")).code is Code.UNKNOWN_SERVICE


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
        await offered(home, "demo", "away")
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
    fleet.grant("web", "node:home")
    web = a_service("web", backend=HostPort("127.0.0.1", 8000))
    async with fleet.open("home") as home:
        async with fleet.open("away") as away:
            await connected(home, "away")
            change = away.services.next_change()
            await away.expose(web)
            assert change.is_set()
            await nursery.start(away.serve, "web", echo)
            await offered(home, "web", "away")
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


async def test_what_the_file_has_a_backend_for_cannot_be_exposed_over_it(autojump_clock, fleet):
    fleet.grant("web", "any")
    async with fleet.open("away") as away:
        configured = a_service("web", backend=HostPort("127.0.0.1", 8000))
        away.exposures.configured = {"web": configured}
        with pytest.raises(RefusedError) as refused:
            await away.expose(a_service("web", backend=HostPort("127.0.0.1", 9000)))
        assert refused.value.code is Code.CONFIGURED_SERVICE
        assert away.services.configs.get("web") is None


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
        told = logged("channel.closed", channel=channel.id, code="done", log_level="info")
        assert len(told) == 2
        assert away.snapshot()["services"][0]["instances"] == ["away"]
        nursery.cancel_scope.cancel()


async def test_its_own_services_terms_hold_for_a_node_too(autojump_clock, fleet, nursery):
    fleet.grant("demo", "node:home")
    async with fleet.open("away") as away:
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
