"""Trust roots that are rotated while a node sleeps, and what goes with the keys that go."""

import pytest
import trio

from fabric.codes import Code
from fabric.core.records import KeyState, Role, RootKey
from fabric.testing.papers import Papers
from fabric.testing.records import a_key_of, id_of, public, role_keys

NEW_KEY = a_key_of("directory/new")
"""Of the directory, and known from the last rotation on."""


def a_root(fabric, version, *, has_new_key=False, **states):
    """Return a trust root; *states* are by role and number: ``directory_0=KeyState.RETIRED``."""
    first = fabric.root()
    keys, holders = dict(first.keys), list(fabric.keys(Role.DIRECTORY))
    if has_new_key:
        keys[id_of(NEW_KEY)] = RootKey(key=public(NEW_KEY))
        holders.append(NEW_KEY)
    for name, state in states.items():
        role, number = name.split("_")
        key = fabric.keys(Role(role))[int(number)]
        keys[id_of(key)] = RootKey(key=public(key), state=state)
    roles = dict(first.roles) | {Role.DIRECTORY: role_keys(holders)}
    return fabric.signed(fabric.root(version=version, keys=keys, roles=roles))


def rotate(live, at, last, **states):
    """Publish every version from the second to *last*, which alone has the new key."""
    for version in range(2, last):
        live.tell(at, a_root(live.fabric, version))
    live.tell(at, a_root(live.fabric, last, has_new_key=True, **states))


def version_at(live, name):
    return live[name].knowledge.trust.root.version


@pytest.fixture
async def three(live):
    live.add("home", "away")
    live.add("sleeper", area="abroad")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records])
    await live.start("away", seeds=["home"], serves=["demo"])
    await live.start("sleeper", seeds=["home"])
    await live.until(lambda: live.is_settled(demo="away"))
    await trio.sleep(1)
    return live


def anew(live, *names, generation=2):
    """Return records of *names* and of demo, signed by the new key."""
    fabric = live.fabric
    areas = {"sleeper": "abroad", "newcomer": "abroad"}
    nodes = [
        fabric.node(name, generation=generation, area=areas.get(name, "home")) for name in names
    ]
    return [
        fabric.signed(each, NEW_KEY)
        for each in (*nodes, fabric.service("demo", generation=generation))
    ]


async def test_a_rotation_reaches_everybody_at_once(autojump_clock, three):
    live = three
    rotate(live, "away", 2)
    await live.until(lambda: {version_at(live, name) for name in live.lives} == {2}, within=2)
    live.tell("home", *anew(live, "home", "away", "sleeper"))
    await live.until(live.is_settled, within=5)


async def test_a_node_that_slept_through_three_rotations_is_led_along_in_hello(
    autojump_clock, three, logged
):
    live = three
    await live.kill("sleeper")
    rotate(live, "home", 4, directory_0=KeyState.COMPROMISED)
    live.tell("home", *anew(live, "home", "away", "sleeper"))
    await live.until(lambda: live.agree("home", "away"), within=5)

    await live.start("sleeper", knows=[], seeds=["home"])
    await live.until(lambda: live.is_settled(demo="away"), within=15)
    assert version_at(live, "sleeper") == 4
    assert await live.opens("sleeper") == "away"
    assert [line["version"] for line in logged("trust_root.adopted")][-1] == 4
    # and it keeps them: the next start begins with the last
    await trio.sleep(1)
    await live.kill("sleeper")
    live.partition(["sleeper"], ["home", "away"])
    await live.start("sleeper", knows=[])
    assert version_at(live, "sleeper") == 4


def papers_of_a_newcomer(live):
    """Return where its operator put the record of ``newcomer``, signed by the new key."""
    live.add("newcomer", area="abroad", is_listed=False)
    papers = Papers(live.fleet.folder / "of-newcomer", live.fabric)
    papers.put(live.fabric.node("newcomer", area="abroad"), NEW_KEY)
    return papers.records


async def test_a_newcomer_whose_record_is_signed_by_a_key_of_a_later_root_is_let_in(
    autojump_clock, three
):
    """Its operator gave it the first root, as everybody has it, and the latest record."""
    live = three
    rotate(live, "home", 6)
    newcomer = await live.start("newcomer", knows=[papers_of_a_newcomer(live)], seeds=["home"])
    await live.until(lambda: live.is_settled(demo="away"), within=10)
    assert version_at(live, "newcomer") == 6
    assert newcomer.knowledge.own_record() is not None


async def test_a_node_that_is_dialled_is_led_along_by_refusals_and_another_try(
    autojump_clock, three, network, logged
):
    """A Hello has room for three such roots: the record of who dials is good by the sixth."""
    live, last = three, 6
    records = papers_of_a_newcomer(live)
    live.partition(["sleeper"], ["home", "away"])
    await live.until(lambda: not live.peers_of("sleeper"))
    rotate(live, "home", last)
    await live.start("newcomer", knows=[records], seeds=["home"])
    await live.until(lambda: version_at(live, "newcomer") == last, within=10)
    await live.kill("newcomer")

    assert version_at(live, "sleeper") == 1
    await live.start("newcomer", knows=[records], seeds=["sleeper"])
    await live.until(lambda: "sleeper" in live.peers_of("newcomer"), within=30)
    assert version_at(live, "sleeper") == last
    assert logged("peer.refused", side="acceptor", code=Code.UNKNOWN_SIGNER)


async def test_what_a_retired_key_signed_stays_and_nothing_new_of_it_is_taken(
    autojump_clock, three
):
    live, fabric = three, three.fabric
    rotate(live, "home", 2, directory_0=KeyState.RETIRED)
    await live.until(lambda: {version_at(live, name) for name in live.lives} == {2}, within=2)

    await trio.sleep(10)
    assert live.is_settled(demo="away")
    assert await live.opens("sleeper") == "away"
    live.slip("away", "home", fabric.service("demo", generation=2, open_to=()))
    await live.until(lambda: live.refused("home", Code.KEY_RETIRED), within=2)
    assert await live.opens("home") == "away"

    # what is on a node's own disk is as good
    await live.kill("sleeper")
    await live.start("sleeper", knows=[])
    await live.until(lambda: live.is_settled(demo="away"), within=15)
    assert await live.opens("sleeper") == "away"


async def test_what_a_compromised_key_signed_is_gone_until_it_is_signed_anew(
    autojump_clock, three
):
    live = three
    second = a_root(live.fabric, 2, has_new_key=True, directory_0=KeyState.COMPROMISED)
    live.tell("home", second)
    # the record of home itself, by which it was admitted, is gone at away: nobody is a member
    await live.until(lambda: not any(map(live.peers_of, live.lives)), within=5)
    for node in live.nodes:
        assert node.knowledge.readings.service("demo") is None
        assert "no_own_record" in live.health(node.name)

    for name in live.lives:  # by hand: no link is left
        if version_at(live, name) == 1:
            live.tell(name, second)
        live.tell(name, *anew(live, "home", "away", "sleeper"))
    await live.until(lambda: live.is_settled(demo="away"), within=60)
    assert await live.opens("sleeper") == "away"


async def test_signed_anew_first_a_compromised_key_goes_and_nobody_notices(autojump_clock, three):
    live, fabric = three, three.fabric
    other = fabric.keys(Role.DIRECTORY)[1]
    live.tell("home", *(fabric.signed(each, other) for each in everything_anew(live)))
    await live.until(live.agree, within=5)
    links = links_of(live)

    live.tell("home", a_root(fabric, 2, directory_0=KeyState.COMPROMISED))
    await live.until(lambda: {version_at(live, name) for name in live.lives} == {2}, within=2)
    await trio.sleep(10)
    assert live.is_settled(demo="away")
    assert links_of(live) == links
    live.slip("away", "home", fabric.service("demo", generation=3, open_to=()))
    await live.until(lambda: live.refused("home", Code.KEY_COMPROMISED), within=2)


def links_of(live):
    return {id(link) for node in live.nodes for link in node.overlay.peers.standing_links()}


def everything_anew(live):
    fabric = live.fabric
    return [
        fabric.node("home", generation=2),
        fabric.node("away", generation=2),
        fabric.node("sleeper", generation=2, area="abroad"),
        fabric.service("demo", generation=2),
    ]


async def test_two_roots_of_one_version_are_told_to_all_and_block_the_next(autojump_clock, three):
    live, fabric = three, three.fabric
    live.tell("home", a_root(fabric, 2))
    await live.until(lambda: {version_at(live, name) for name in live.lives} == {2}, within=2)
    live.slip("away", "home", a_root(fabric, 2, orchestrator_0=KeyState.RETIRED))
    await live.until(
        lambda: all("root_conflict" in live.health(name) for name in live.lives), within=5
    )
    live.slip("away", "home", a_root(fabric, 3))
    await trio.sleep(1)
    assert version_at(live, "home") == 2
    assert await live.opens("sleeper") == "away"


async def test_a_root_that_does_not_follow_is_refused(autojump_clock, three):
    live = three
    live.slip("away", "home", a_root(live.fabric, 3))
    await live.until(lambda: live.refused("home", Code.ROOT_NOT_CONSECUTIVE), within=2)
    assert version_at(live, "home") == 1
