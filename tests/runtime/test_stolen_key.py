"""Somebody else has the key of a node, which goes on running."""

import trio

from fabric.core.frames import Left
from fabric.core.liveness_events import State
from fabric.core.roll_call import INTERVAL
from fabric.core.shapes import UINT64
from fabric.core.testimony import Context, statement

ROLL_CALL = INTERVAL + 5
"""Seconds until the owner has heard what is said in its name, and has answered."""


def farewell(node, incarnation):
    """Return a farewell in the name of *node*, as whoever has its key may sign it."""
    words = statement(Context.LEFT, node.me.fabric_id, node.node_id, incarnation)
    return Left(
        subject=node.node_id, incarnation=incarnation, signature=bytes(node.me.sign(words))
    )


async def test_a_farewell_in_its_name_keeps_no_running_node_from_being_used(autojump_clock, two):
    home, away = await two()
    believed = home.overlay.liveness.core.view_of(away.node_id).incarnation + 1
    for incarnation in (UINT64, believed):
        assert away.overlay.peers.post(home.node_id, farewell(away, incarnation))
        await trio.sleep(ROLL_CALL)

        assert home.overlay.liveness.core.state_of(away.node_id) is State.ALIVE
        async with home.open_channel("demo") as channel:
            assert channel.peer == "away"
