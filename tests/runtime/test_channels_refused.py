"""Refused channels: each no has its own code, at both ends, in logs and counters."""

import functools

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.core.codec import FrameReader, encode
from fabric.core.frames import Accepted, Open
from fabric.errors import ChannelBroken, LocalProtocolError, RefusedError
from fabric.runtime.admission import next_frame
from fabric.testing.factories import a_frame
from fabric.testing.pairs import a_service, connected, offered, receive_all, refusal
from fabric.trio_quic import StreamReset

CLIENT = "192.0.2.7:50123"


async def asked(home, **fields):
    """What ``away`` answers to an Open of ``home``, which does not ask itself first."""
    (link,) = home.overlay.peers.standing_links()
    stream = await link.connection.open_stream()
    await stream.send_all(encode(a_frame(Open, **fields)))
    return await next_frame(stream, FrameReader())


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


async def test_a_service_that_is_not_served_where_it_is_asked_for(autojump_clock, two, logged):
    home, _ = await two(None)
    refused = await asked(home, client=None)

    assert Code(refused.code) is Code.UNKNOWN_SERVICE
    assert refused.hop == "away"
    assert logged("channel.refused", direction="in", code=Code.UNKNOWN_SERVICE)


async def test_the_offering_node_enforces_open_to(autojump_clock, fleet, two, logged):
    """Whatever the opener believes, or does not ask itself."""
    fleet.grant("demo", "node:somebody-else")
    home, away = await two()
    refused = await asked(home, client=None)

    assert (Code(refused.code), refused.hop) == (Code.NOT_PERMITTED, "away")
    assert logged("channel.refused", direction="in", code=Code.NOT_PERMITTED, peer="home")
    assert away.metrics.channels_refused.series["demo", Code.NOT_PERMITTED, "in"] == 1


async def test_the_offering_node_keeps_what_is_not_for_the_edge(
    autojump_clock, fleet, two, logged
):
    fleet.members["home"] = evolve(fleet.members["home"], roles=frozenset({"ingress"}))
    fleet.grant("demo", "any", edge_exposable=False)
    home, _ = await two()
    refused = await asked(home, client=CLIENT)

    assert (Code(refused.code), refused.hop) == (Code.NOT_EDGE_EXPOSABLE, "away")
    assert logged("channel.refused", direction="in", code=Code.NOT_EDGE_EXPOSABLE, client=CLIENT)


async def test_a_client_address_is_believed_only_from_an_ingress(
    autojump_clock, fleet, two, logged
):
    """``home`` has made itself an ingress; its record does not say so."""
    fleet.grant("demo", "any", edge_exposable=True)
    home, _ = await two(home={"roles": frozenset({"ingress"})})
    refused = await asked(home, client=CLIENT)

    assert (Code(refused.code), refused.hop) == (Code.CLIENT_NOT_BELIEVED, "away")
    assert logged("channel.refused", direction="in", code=Code.CLIENT_NOT_BELIEVED)


async def test_a_client_address_from_an_ingress_is_carried(autojump_clock, fleet, two):
    seen = []

    async def handler(channel):
        seen.append((channel.client, channel.peer))

    fleet.members["home"] = evolve(fleet.members["home"], roles=frozenset({"ingress"}))
    fleet.grant("demo", "role:ingress", edge_exposable=True)
    home, _ = await two(handler)
    async with home.open_channel("demo", client=CLIENT) as channel:
        await receive_all(channel)

    assert seen == [(CLIENT, "home")]


@pytest.mark.parametrize(
    ("open_to", "client", "code"),
    [
        ("node:somebody-else", None, Code.NOT_PERMITTED),
        ("any", CLIENT, Code.CLIENT_NOT_BELIEVED),
    ],
)
async def test_the_opener_checks_first_and_asks_nobody(
    autojump_clock, fleet, two, logged, open_to, client, code
):
    fleet.grant("demo", open_to)
    home, _ = await two()
    refused = await refusal(home, client=client)

    assert (refused.code, refused.hop) == (code, "")
    assert not logged("channel.refused", direction="in")


async def test_what_is_not_permitted_is_so_although_nobody_is_there(autojump_clock, fleet):
    fleet.grant("demo", "node:somebody-else")
    async with fleet.open("home") as home:
        assert (await refusal(home)).code is Code.NOT_PERMITTED


async def test_a_full_service_refuses_the_next(autojump_clock, two):
    home, _ = await two(away={"services": {"demo": a_service(max_channels=1)}})
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
    assert away.channel(refused.channel_id)["state"] == "refused"
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
                await offered(home, "demo", "away")
                async with home.open_channel("demo") as channel:
                    with pytest.raises(ChannelBroken):
                        await channel.receive_some()


async def test_an_opener_that_gave_up_is_told_to_the_handler(autojump_clock, two):
    asked, seen = [], []

    async def accept_too_late(channel):
        if asked:
            return  # a probe: the service was asked for
        asked.append(channel.id)
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


async def answer_to(home, wire: bytes, *, fin: bool = False) -> bytes:
    (link,) = home.overlay.peers.standing_links()
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
    (link,) = home.overlay.peers.standing_links()
    stream = await link.connection.open_stream()
    wire = encode(a_frame(Open, client=None))
    await stream.send_all(wire[:10])
    began = trio.current_time()
    async with home.open_channel("demo"):
        assert trio.current_time() - began < 0.1
    await stream.send_all(wire[10:])
    assert await stream.receive_some()


async def test_a_channel_id_that_a_peer_uses_twice_mixes_nothing_up(autojump_clock, two, logged):
    home, away = await two()
    (link,) = home.overlay.peers.standing_links()
    streams = []
    for _ in range(2):
        stream = await link.connection.open_stream()
        await stream.send_all(encode(a_frame(Open, client=None)))
        await stream.receive_some()
        streams.append(stream)
    assert len(away.channels) == 2
    await streams[0].aclose()
    await trio.sleep(1)
    assert len(away.channels) == 1
    await streams[1].aclose()
    await trio.sleep(1)
    assert len(away.channels) == 0
    assert len(logged("channel.closed", direction="in")) == 2
    assert away.metrics.channels_opened.series["demo", "in"] == 2


async def test_opens_that_come_piecemeal_are_read_a_few_at_a_time(
    autojump_clock, two, monkeypatch
):
    monkeypatch.setattr("fabric.runtime.accepting.MOST_PARTIAL", 1)
    home, _away = await two()
    (link,) = home.overlay.peers.standing_links()
    beginnings = [await link.connection.open_stream() for _ in range(2)]
    for stream in beginnings:
        await stream.send_all(encode(a_frame(Open))[:10])
        await trio.sleep(0.1)
    with pytest.raises(StreamReset) as reset:
        await beginnings[1].receive_some()
    assert reset.value.code == Code.BUSY
