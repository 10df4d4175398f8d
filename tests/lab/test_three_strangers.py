"""Three strangers at once while a transfer runs: what they cost, and which guard saves us.

(a) 20,000 mutated copies of live packets a second, with the right connection ids; (b) 2,000 valid
Initials a second from 10,000 addresses and ports; (c) 50 completed handshakes a second with
unknown keys, which open every stream that they may and fill it.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from fabric.testing.quic import ACCEPTOR, an_identity
from fabric.trio_quic import ConnectionClosed, open_endpoint
from tests.lab.played import a_free_port, open_role
from tests.lab.rates import others_s, rate, wait_for_an_idle_machine
from tests.lab.strangers_cost import (
    ATTACK_S,
    MAY_GROW,
    QUIET_S,
    TRIES,
    Outcome,
    begin_count,
    has_survived,
)
from tests.lab.tcp_ends import MIB

pytestmark = pytest.mark.slow

PASSWORD = b"one of us".ljust(32, b".")


async def connect_known(port, known):
    """Return the seconds until a known peer is admitted; 99 if it is not."""
    took = [99.0]
    try:
        with trio.move_on_after(10):
            took.append(await _admitted_after(port, known))
    except* ConnectionClosed:
        pass  # not admitted in time, by the acceptor's own word
    return took[-1]


async def _admitted_after(port, known):
    started = trio.current_time()
    async with open_endpoint("127.0.0.1", known, identity=an_identity(3).identity) as endpoint:
        connection = await endpoint.connect(
            ("127.0.0.1", port), pin=an_identity(ACCEPTOR).public, timeout=10
        )
        stream = await connection.open_stream()
        await stream.send_all(PASSWORD)
        welcomed = await stream.receive_some() == b"welcome"
        return trio.current_time() - started if welcomed else 99.0


async def attack(strangers, settings):
    """Run the transfer alone, then beside *strangers*."""
    known, capture = a_free_port(), a_free_port()
    extras = {"mutate": {"capture": capture}}
    roles = []

    def others_worked_s():
        return others_s([role.process for role in roles])

    async with AsyncExitStack() as stack:

        async def begin(role, **options):
            roles.append(await stack.enter_async_context(open_role(role, **options)))

        await begin("accept", known=["127.0.0.1", known], **settings)
        acceptor = roles[0]
        port = acceptor.said[0]["port"]
        await begin("transfer", port=port, eavesdropper=capture)
        await trio.sleep(1.5)
        start = len(acceptor.said)
        await trio.sleep(QUIET_S)
        quiet = acceptor.said[start:]
        for name in strangers:
            await begin(name, port=port, **extras.get(name, {}))
        count = begin_count(dict(zip(strangers, roles[2:], strict=True)))
        start, before = len(acceptor.said), others_worked_s()
        await trio.sleep(ATTACK_S / 2)
        known_s = await connect_known(port, known)
        await trio.sleep(ATTACK_S / 2)
        attacked = acceptor.said[start:]
        did = count()
        others = (others_worked_s() - before) / (attacked[-1]["at"] - attacked[0]["at"])
    outcome = Outcome(
        quiet_rate=rate(quiet),
        attacked_rate=rate(attacked),
        grown=max(sample["rss"] for sample in attacked) - quiet[-1]["rss"],
        known_s=known_s,
        others=others,
        strangers=did,
    )
    print(f"\n{'+'.join(strangers)} {settings or 'guarded'}: {outcome}")
    return outcome


def outcome_of(*strangers, **settings):
    async def bounded():
        await wait_for_an_idle_machine()
        with trio.fail_after(60):
            return await attack(strangers, settings)

    return trio.run(bounded)


def survives(*strangers):
    return any(has_survived(outcome_of(*strangers)) for _ in range(TRIES))


def test_a_transfer_survives_all_three_strangers_at_once():
    assert survives("mutate", "initials", "handshakes")


@pytest.mark.parametrize("stranger", ["mutate", "initials", "handshakes"])
def test_a_transfer_survives_each_stranger_alone(stranger):
    assert survives(stranger)


def test_without_retry_and_cap_it_does_not_survive_the_initials():
    outcome = outcome_of("initials", retry_above=0, stranger_cap=0)
    assert outcome.kept < 0.5
    assert outcome.grown > 100 * MIB


def test_without_the_budget_it_does_not_survive_the_handshakes():
    outcome = outcome_of("handshakes", stranger_bytes=0, handshake_timeout=1000.0)
    assert outcome.grown > 2 * MAY_GROW
