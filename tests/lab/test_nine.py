"""Nine nodes, of whom three see one neighbour each, and nobody left who could sign anything.

::

    hill             vale                 shore
    ninth -- far --- pass -- vale-1, 2 -- shore-1, 2, 3, and the publisher while there is one
           far-2 --'

`far` and `far-2` reach nobody but `pass`, and the ninth nobody but `far`; the others all reach
each other. So what happens at one end has three links to go. All links are made by the nodes
themselves, from the one address that each is told.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trio
from attrs import define, field

from fabric.core.codec.envelopes import envelope_to_json
from fabric.core.identity import node_id_of
from fabric.core.records import Key, NodeRecord
from fabric.net.tls import load_key
from services.authority import About, Authority, AuthorityError, Grant
from tests.lab.daemons import Lab, free_port, until

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("fabricd_changed.py")

SHOWN_WITHIN = 10.0
"""Seconds until all nine show all that has happened."""

LEARNT_WITHIN = 40.0
"""Seconds for nine processes to start and to learn everything from the publisher."""

LOOK_EVERY = 0.1
"""Seconds: who is asked all the time has no time for anything else."""

AREAS = {
    "far": "hill",
    "far-2": "hill",
    "pass": "vale",
    "vale-1": "vale",
    "vale-2": "vale",
    "shore-1": "shore",
    "shore-2": "shore",
    "shore-3": "shore",
}
SEED_OF = {"far": "pass", "far-2": "pass", "ninth": "far"}
"""Whose address each is told; the others, the publisher's."""

BEHIND_WALLS = {"far": ("pass", "ninth"), "far-2": ("pass",), "ninth": ("far",)}
"""Whom each reaches."""


@define(eq=False)
class Nine:
    """The processes, and an authority that ends before it matters."""

    lab: Lab
    authority: Authority = field(init=False)
    tombstone: dict = field(init=False)

    @authority.default
    def _new(self):
        return Authority.create(self.lab.folder / "authority", now=self._now)

    def __getitem__(self, name):
        return self.lab.daemons[name]

    @property
    def _now(self):
        return self.lab.papers.fabric.now

    @property
    def eight(self):
        return [self[name] for name in AREAS]

    @property
    def nine(self):
        return [*self.eight, self["ninth"]]

    # -- beforehand --
    def declare(self):
        """Give each the trust root, its own record and one seed; the publisher has all records."""
        for name, area in {"publisher": "shore", **AREAS, "ninth": "hill"}.items():
            self._declare(name, area)
        grant = Grant(offer_by=("role:egress",), open_to=("any",), core=True)
        self.authority.add_service("demo", grant, now=self._now)
        for name in (*AREAS, "ninth"):
            self._hand(name, self._taken_along(name), self[SEED_OF.get(name, "publisher")])
        self._file("ninth").unlink()  # signed beforehand, and told to nobody else
        self._hand("publisher", self.authority.folder.path / "records")
        for name in self.lab.daemons:
            self[name].entry = str(SCRIPT), json.dumps(self._told(name))

    def _declare(self, name, area):
        roles = ("egress",) if name in ("vale-2", "shore-2") else ()
        daemon = self.lab.declare(name, *roles)
        key = load_key(daemon.folder / "node.key").public
        self.authority.add_node(name, key, About(area=area, roles=roles), now=self._now)

    def _hand(self, name, records, *seeds):
        self[name].document["node"] |= {
            "trust_root": str(self.authority.folder.root_file),
            "records": [str(records)],
            "seeds": [each.udp_address for each in seeds],
        }

    def _taken_along(self, name):
        return shutil.copy(self._file(name), self[name].folder / "record.json")

    def _told(self, name):
        walls = BEHIND_WALLS.get(name)
        reaches = [int(self[each].udp_address.rpartition(":")[2]) for each in walls or ()]
        return {"mute": str(self.mute), **({"reaches": reaches} if walls else {})}

    @property
    def mute(self):
        """While this file is there, anti-entropy is silent."""
        return self.lab.folder / "mute"

    def id_of(self, name):
        return node_id_of(load_key(self[name].folder / "node.key").public)

    def _file(self, name):
        return self.authority.file_of(self._record(name))

    def _record(self, name):
        return Key(NodeRecord.KIND, self.id_of(name))

    async def start(self, backend):
        """Start all but the ninth, and wait until the eight hold all that there is."""
        async with trio.open_nursery() as nursery:
            for daemon in (self["publisher"], *self.eight):
                nursery.start_soon(daemon.start)
        await until(lambda: self._is_exposed(backend))
        await until(self._is_learnt)

    async def _is_exposed(self, backend):
        """Let `vale-2` offer the service as soon as it has heard that it may."""
        if await self["vale-2"].trace("service/demo") is None:
            return False
        await self["vale-2"].admin.expose("demo", backend)
        return True

    async def _is_learnt(self):
        """Whether all hold the same: root, service, nine nodes, where they are, who offers."""
        held = [await each.records() for each in (*self.eight, self["publisher"])]
        await trio.sleep(LOOK_EVERY)
        offers = f"offers/{self.id_of('vale-2')}"
        return offers in held[0] and len(held[0]) == 21 and all(each == held[0] for each in held)

    async def publish_no_more(self):
        """Sign one last tombstone; then nobody can sign anything."""
        revoked = self.authority.revoke(self._record("publisher"), now=self._now)
        self.tombstone = json.loads(envelope_to_json(revoked))
        self.authority.close()
        await self["publisher"].kill()
        self.authority.folder.keys.rename(self.lab.folder / "in-a-vault")
        with Authority.open(self.authority.folder.path) as late, pytest.raises(AuthorityError):
            late.add_service("another", Grant(), now=self._now)

    # -- what happens --
    async def let_it_happen(self, backend):
        """Let all of it happen at once; return when each process says that it is ready."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self["ninth"].start)
            nursery.start_soon(self._move, self["vale-1"])
            nursery.start_soon(self._empty, self["far-2"])
            await self["vale-2"].admin.unexpose("demo")
            await self["shore-2"].admin.expose("demo", backend)
            await self["shore-3"].admin.publish(self.tombstone)

    async def hold_behind_walls(self):
        """Fail where a wall has a hole."""
        for name, reached in BEHIND_WALLS.items():
            peers = (await self[name].snapshot())["peers"]
            links = {each["name"] for each in peers if each["state"] == "connected"}
            assert links <= set(reached), f"{name} is linked to {links}"

    async def _move(self, daemon):
        await daemon.kill()
        daemon.document["quic"]["listen"] = f"127.0.0.1:{free_port()}"
        await daemon.start()

    async def _empty(self, daemon):
        await daemon.kill()
        shutil.rmtree(daemon.state)
        await daemon.start()

    # -- what is seen --
    async def missing(self, daemon):
        """What *daemon* does not show of all that happened."""
        told = {
            "the ninth node": (f"node/{self.id_of('ninth')}", self._is_ninth),
            "where it is": (f"endpoint/{self.id_of('ninth')}", self._is_at("ninth")),
            "the new address": (f"endpoint/{self.id_of('vale-1')}", self._is_at("vale-1")),
            "the end of the offer": (f"offers/{self.id_of('vale-2')}", offers([])),
            "the new offer": (f"offers/{self.id_of('shore-2')}", offers(["demo"])),
            "the tombstone": (f"node/{self.id_of('publisher')}", is_revoked),
        }
        missing = set()
        for what, (record, is_shown) in told.items():
            row = await daemon.trace(record)
            if row is None or not row["counts"] or not is_shown(row):
                missing.add(what)
        return missing

    def _is_ninth(self, row):
        return row["name"] == "ninth" and not row["revoked"]

    def _is_at(self, name):
        place = self[name].udp_address
        return lambda row: [each["address"] for each in row["says"]["candidates"]] == [place]

    async def shown(self, took, began):
        """Note in *took* when each node shows all of it."""
        async with trio.open_nursery() as nursery:
            for daemon in self.nine:
                nursery.start_soon(self._shown_by, daemon, took, began)

    async def _shown_by(self, daemon, took, began):
        while await self.missing(daemon):
            await trio.sleep(LOOK_EVERY)
        took[daemon.name] = round(trio.current_time() - began, 2)


def offers(services):
    return lambda row: row["says"].get("services", []) == services


def is_revoked(row):
    return row["revoked"]


@pytest.fixture
async def nine(lab, start_backend):
    """Yield eight nodes that know everything, and a ninth that has not started."""
    nine = Nine(lab)
    nine.declare()
    with trio.fail_after(LEARNT_WITHIN):
        await nine.start(await start_backend())
    await nine.publish_no_more()
    return nine


async def test_all_nine_show_all_that_happened_within_ten_seconds(nine, start_backend):
    """Two of them begin with an empty cache, and nobody is there who could publish anything."""
    backend = await start_backend()
    began, took = trio.current_time(), {}
    await nine.let_it_happen(backend)
    happened = trio.current_time() - began
    with trio.move_on_after(SHOWN_WITHIN) as waiting:
        await nine.shown(took, began + happened)
    print(f"happened in {happened:.2f} s; shown after {took}")
    assert not waiting.cancelled_caught, {
        each.name: await nine.missing(each) for each in nine.nine if each.name not in took
    }
    await nine.hold_behind_walls()
    way = max([await way_to(each, nine) for each in nine.eight], key=len)
    print(f"the record of the ninth came {' <- '.join(way)}")
    assert len(way) > 2
    assert way[-2:] == ["pass", "far"]  # who met it, and was told by nobody
    with trio.fail_after(SHOWN_WITHIN):
        await until(lambda: all_hold_the_same(nine))


async def way_to(daemon, nine):
    """By whom the wave with the ninth's record came to *daemon*, which is the first."""
    way = [daemon.name]
    row = await daemon.trace(f"node/{nine.id_of('ninth')}")
    while row["by"] == "wave" and row["from_peer"] != "ninth":
        way.append(row["from_peer"])
        before, row = row, await nine[way[-1]].trace(f"node/{nine.id_of('ninth')}")
        assert row["hops"] == before["hops"] - 1
        assert row["wave_id"] == before["wave_id"]
    return way


async def all_hold_the_same(nine):
    held = [await each.records() for each in nine.nine]
    await trio.sleep(LOOK_EVERY)
    return all(each == held[0] for each in held)


async def test_without_anti_entropy_they_do_not(nine, start_backend):
    """Waves go on, and bring nothing to those who were not there at the time."""
    nine.mute.touch()
    took, backend = {}, await start_backend()
    await nine.let_it_happen(backend)
    with trio.move_on_after(SHOWN_WITHIN) as waiting:
        await nine.shown(took, trio.current_time())
    assert waiting.cancelled_caught, took
    missing = {each.name: await nine.missing(each) for each in nine.nine}
    print(f"shown after {took}; missing: {missing}")
    await nine.hold_behind_walls()
    assert "the tombstone" not in missing["pass"]
    assert "the ninth node" not in missing["far"]
    assert missing["ninth"]
    assert missing["far-2"]

    nine.mute.unlink()
    with trio.fail_after(SHOWN_WITHIN):  # nothing else was missing
        await nine.shown(took, trio.current_time())
    print(f"repaired after {took}")
