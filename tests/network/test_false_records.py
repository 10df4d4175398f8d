"""What an admitted peer may not say: refused under its code, and told where it means an attack."""

import msgpack
import pytest
import trio

from fabric.codes import Code
from fabric.core.envelope import Envelope
from fabric.core.frames import MOST_ENVELOPE
from fabric.testing.records import payload_with, signed

BARRED_FOR = 600.0
"""Virtual seconds for which a forger is kept out."""


@pytest.fixture
async def three(live):
    """Return a running fabric in which ``mallory`` is a member like any other."""
    live.add("home")
    live.add("far", area="abroad")
    live.add("mallory", area="overseas")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records], serves=["demo"])
    await live.start("far", seeds=["home"])
    await live.start("mallory", seeds=["home"])
    await live.until(lambda: live.is_settled(demo="home"))
    return live


async def slipped(live, *said):
    """Let mallory send *said* to home, over their link; return what home refused it for."""
    before = dict(live["home"].metrics.records_refused.series)
    live.slip("mallory", "home", *said)
    await trio.sleep(1)
    after = live["home"].metrics.records_refused.series
    grown = {code: count - before.get((code,), 0) for (code,), count in after.items()}
    return {code: count for code, count in grown.items() if count}


def is_linked(live):
    return "mallory" in live.peers_of("home")


async def test_authority_that_a_node_signed_itself_is_refused_and_alarmed(
    autojump_clock, three, logged
):
    live, fabric = three, three.fabric
    key = fabric.node_key("mallory")
    said = [
        signed(fabric.node("mallory", generation=2, roles=("ingress",)), key),
        signed(fabric.service("mine"), key),
        signed(fabric.policy(fanout=1), key),
        signed(fabric.control_endpoints(), key),
        signed(fabric.intent("home"), key),
    ]
    assert await slipped(live, *said) == {Code.SELF_AUTHORED: 5}
    assert logged("directory.alarm", code=Code.SELF_AUTHORED)
    assert "self_authored" in live.health("home")
    assert live["home"].knowledge.readings.service("mine") is None
    assert "self_authored" not in live.health("far")  # it is passed on to nobody
    assert is_linked(live)  # it is told apart from a forgery: anybody may have taken it for good


async def test_a_word_about_another_node_is_refused(autojump_clock, three):
    live, fabric = three, three.fabric
    key = fabric.node_key("mallory")
    said = [
        signed(fabric.offers("far", "demo", sequence=2**40), key),
        signed(fabric.endpoint("home", "192.0.2.1:4433", sequence=2**40), key),
    ]
    assert await slipped(live, *said) == {Code.WRONG_AUTHOR: 2}
    assert live["home"].registry.state_of("demo").instances == ("home",)
    assert is_linked(live)


async def test_a_record_larger_than_its_kind_may_be_is_refused(autojump_clock, three):
    live, fabric = three, three.fabric
    word = payload_with(fabric.offers("mallory", sequence=2**31), padding="x" * (9 << 10))
    # an edict that large cannot even be made here: another program's is too large to be looked at
    edict = msgpack.packb([b"{" + b"x" * (65 << 10), [["a key", bytes(64)]]])
    said = [signed(word, fabric.node_key("mallory")), edict]
    assert await slipped(live, *said) == {Code.RECORD_TOO_LARGE: 2}
    assert is_linked(live)


async def test_a_record_in_another_spelling_is_refused(autojump_clock, three):
    live, fabric = three, three.fabric
    key = fabric.node_key("mallory")
    payload = payload_with(fabric.offers("mallory", "demo", sequence=2**31))
    spaced = payload.replace(b",", b", ")
    doubled = payload.replace(b'{"', b'{"v":1,"', 1)
    said = [signed(each, key) for each in (spaced, doubled)]
    assert await slipped(live, *said) == {Code.RECORD_NOT_CANONICAL: 2}


async def test_what_is_no_record_at_all_is_refused(autojump_clock, three):
    live, fabric = three, three.fabric
    said = [b"", b"\x00" * 100, signed(b'{"kind":"node"}', fabric.node_key("mallory"))]
    assert await slipped(live, *said) == {Code.RECORD_MALFORMED: 3}
    assert is_linked(live)


async def test_a_record_of_another_fabric_is_refused(autojump_clock, three):
    live, fabric = three, three.fabric
    other = fabric.service("demo", generation=2, open_to=(), fabric=b"another fabric!!")
    assert await slipped(live, other) == {Code.RECORD_OF_ANOTHER_FABRIC: 1}


async def test_a_replayed_record_changes_nothing(autojump_clock, three):
    live, fabric = three, three.fabric
    old = fabric.signed(fabric.service("demo"))
    live.tell("home", fabric.service("demo", generation=2, open_to=("area:home",)))
    await live.until(live.agree, within=2)

    assert await slipped(live, old, old) == {Code.SUPERSEDED: 2}
    assert live["home"].knowledge.readings.service("demo").record.generation == 2
    # what is held is no news, and passed on no more
    sent = live["home"].metrics.records_sent.series.get((), 0)
    assert await slipped(live, fabric.service("demo", generation=2, open_to=("area:home",))) == {}
    assert live["home"].metrics.records_sent.series.get((), 0) == sent


async def test_a_leap_of_numbers_is_refused_and_alarmed(autojump_clock, three, logged):
    live, fabric = three, three.fabric
    assert await slipped(live, fabric.service("demo", generation=2**21 + 2)) == {
        Code.GENERATION_LEAP: 1
    }
    assert logged("directory.alarm", code=Code.GENERATION_LEAP)
    live.tell("home", fabric.service("demo", generation=2))


async def test_two_records_of_one_number_are_told_to_all_and_the_last_good_one_counts(
    autojump_clock, three, logged
):
    live, fabric = three, three.fabric
    live.tell("home", fabric.service("demo", generation=2, open_to=("area:home", "area:abroad")))
    await live.until(live.agree, within=2)
    live.slip("mallory", "home", fabric.service("demo", generation=3, open_to=()))
    live.slip("mallory", "far", fabric.service("demo", generation=3, open_to=("any",)))
    for name in ("home", "far"):
        await live.until(lambda name=name: "equivocated" in live.health(name), within=10)
    assert live.agree("home", "far")
    for name in ("home", "far"):
        assert live[name].knowledge.readings.service("demo").record.generation == 2
    assert await live.opens("far") == "home"


async def test_a_forgery_closes_the_link_and_bars_its_sender_for_ten_minutes(
    autojump_clock, three, logged
):
    live, fabric = three, three.fabric
    good = fabric.signed(fabric.service("demo", generation=2, open_to=()))
    forged = Envelope(good.payload.replace(b'"epoch":0', b'"epoch":1'), good.signatures)
    began = trio.current_time()
    assert await slipped(live, forged) == {Code.FORGED: 1}

    assert not is_linked(live)
    (line,) = logged("directory.alarm", code=Code.FORGED)
    assert line["peer"] == fabric.node_id("mallory")
    assert logged("peer.disconnected", peer="mallory", code=Code.FORGED)
    assert logged("peer.disconnected", peer="home", code=Code.FORGED)
    assert await live.opens("far") == "home"

    # it comes again, and is told why it has to wait
    await live.until(lambda: logged("peer.refused", side="dialler", code=Code.PEER_BARRED))
    assert logged("peer.refused", side="acceptor", code=Code.PEER_BARRED)
    await live.stop("far")  # it has nothing to do with the rest
    await trio.sleep(BARRED_FOR - 20 - (trio.current_time() - began))
    assert not is_linked(live)
    await live.until(lambda: is_linked(live), within=60)
    assert trio.current_time() - began > BARRED_FOR
    assert live["mallory"].overlay.gossip.alarms == {}


async def test_a_signature_of_a_key_that_is_not_known_bars_nobody(autojump_clock, three):
    live, fabric = three, three.fabric
    stranger = signed(fabric.offers("stranger", "demo"), fabric.node_key("stranger"))
    assert await slipped(live, stranger) == {Code.UNKNOWN_SIGNER: 1}
    assert is_linked(live)


async def test_an_envelope_too_large_for_its_frame_ends_the_link(autojump_clock, three, logged):
    live = three
    mallory, home = live["mallory"], live["home"]
    link = mallory.overlay.peers.link_to(home.node_id)
    # a frame of ours cannot say it: the bytes are written as another program might
    body = msgpack.packb([8, 0, {"items": [[b"x" * (MOST_ENVELOPE + 1), 3, bytes(8), 0]]}])
    await link._send(len(body).to_bytes(4, "big") + body)
    await live.until(lambda: logged("peer.disconnected", code=Code.MALFORMED_FRAME), within=2)
    await live.until(lambda: is_linked(live), within=30)
