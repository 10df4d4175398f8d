"""What links tell becomes what planes know: whole nodes on a network in memory."""

import trio

from fabric.core.liveness_events import State
from fabric.core.suspicion import UNOPPOSED, least_silence
from fabric.testing.pairs import connected


async def test_a_node_that_is_broken_off_without_a_farewell_is_found_to_be_dead(
    autojump_clock, fleet
):
    """Its links say that it shuts down. Whether it is there nobody has said, so it is asked."""
    async with fleet.open("home") as home:
        async with trio.open_nursery() as nursery:
            away = await nursery.start(fleet.keep_running, "away")
            await connected(home, "away")
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
        await trio.sleep(UNOPPOSED * least_silence(2) + 5)
        assert home.overlay.liveness.core.state_of(away.node_id) is State.DEAD
