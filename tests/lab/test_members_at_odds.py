"""A member that floods: others go on converging, at a cost that is bounded whatever it sends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from attrs import define, field

from fabric.core.codec.envelopes import envelope_to_json
from tests.lab.conftest import START_WITHIN
from tests.lab.daemons import until
from tests.lab.tcp_ends import MIB

pytestmark = pytest.mark.slow

FLOOD = Path(__file__).with_name("members_at_odds.py")
CHANGED = Path(__file__).with_name("fabricd_changed.py")

HONEST = ("one", "two", "three")
WITNESS = "four"
"""Honest too, and asked nothing: what it uses is what the flood costs."""

CREDULOUS = "five"
"""As the witness, but without the guards: what it uses is what they are worth."""

FLOODED_S = 10.0
SPREAD_WITHIN = 3.0
"""Seconds until a record that one honest node is handed is with all the others."""

MOST_CPU = 0.4
"""Of one core, for one flooding member."""

MOST_GROWN = 20 * MIB


@define(eq=False)
class Flooded:
    """Four honest nodes and one that floods them all, each linked to each."""

    lab: object
    role: str
    cpu: float = field(init=False)
    """Of one core, that the witness used."""
    credulous_cpu: float = field(init=False)
    grown: int = field(init=False)
    took: list = field(factory=list)

    @property
    def witness(self):
        return self.lab.daemons[WITNESS]

    @property
    def credulous(self):
        return self.lab.daemons[CREDULOUS]

    @property
    def flooder(self):
        return self.lab.daemons["flooder"]

    @property
    def sent(self):
        return self.flooder.lines("flood.sent")[-1]["records"]

    async def start(self):
        for name in (*HONEST, WITNESS, CREDULOUS, "flooder"):
            self.lab.declare(name)
        self.credulous.entry = str(CHANGED), json.dumps({"credulous": True})
        go = self.lab.folder / "go"
        self.flooder.entry = str(FLOOD), self.role, str(go)
        with trio.fail_after(2 * START_WITHIN):
            await self.lab.start()
            await self.flooder.logged("flood.ready")
        await self.measure(go)

    async def measure(self, go):
        """Flood for a while; meanwhile hand new records to one node and wait for the others."""
        resident = self.witness.rss
        go.touch()
        began = trio.current_time()
        used, credulous_used = self.witness.cpu_s, self.credulous.cpu_s
        while trio.current_time() - began < FLOODED_S:
            self.took.append(await self._spread(len(self.took)))
            await trio.sleep(0.5)
        seconds = trio.current_time() - began
        self.cpu = (self.witness.cpu_s - used) / seconds
        self.credulous_cpu = (self.credulous.cpu_s - credulous_used) / seconds
        self.grown = self.witness.rss - resident
        print(
            f"{self.role}: {self.sent / FLOODED_S:.0f} records/s written, "
            f"{self.cpu:.1%} of a core ({self.credulous_cpu:.1%} without guards), "
            f"+{self.grown / MIB:.1f} MiB, spread in {max(self.took):.2f} s at most"
        )

    async def _spread(self, number):
        service = self.lab.papers.fabric.service(f"new-{number}")
        envelope = self.lab.papers.fabric.signed(service)
        began = trio.current_time()
        first, *others = (self.lab.daemons[each] for each in HONEST)
        await first.admin.publish(json.loads(envelope_to_json(envelope)))
        for each in others:
            await until(lambda each=each: each.trace(f"service/new-{number}"))
        return trio.current_time() - began


async def flooded(lab, role):
    flooded = Flooded(lab, role)
    await flooded.start()
    for number in range(len(flooded.took)):
        assert await flooded.witness.trace(f"service/new-{number}")
    return flooded


WORTH = 5
"""Times as much work of the kind that a flood causes is done without the guards, at least."""

CAUSES = {
    "forge": ("fabric_records_refused_total", {"reason": "forged"}),
    "invent": ("fabric_records_refused_total", {"reason": "unknown_signer"}),
    "mint": ("fabric_records_sent_total", {}),
    "coin": ("fabric_records_sent_total", {}),
}
"""Signatures verified in vain, and copies passed on."""


@pytest.mark.parametrize("role", list(CAUSES))
async def test_others_converge_while_a_member_floods_them(lab, role):
    lab.expected |= {"directory.alarm"}
    found = await flooded(lab, role)
    metric, labels = CAUSES[role]
    done = await found.witness.count(metric, **labels)
    credulous = await found.credulous.count(metric, **labels)
    print(f"{metric} {labels}: {done:.0f}, without guards {credulous:.0f}")
    assert max(found.took) < SPREAD_WITHIN
    assert found.cpu < MOST_CPU
    assert found.grown < MOST_GROWN
    assert credulous > WORTH * done
    rows = (await found.witness.admin.members())["members"]
    codes = {row["name"]: row["code"] for row in rows}
    assert (codes["flooder"] == "peer_barred") == (role == "forge")
