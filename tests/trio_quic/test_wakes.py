"""A process at rest pays for waking up: the pump does so for what is to be done, and not else."""

import trio

from fabric.testing.quic import open_streams


async def test_what_is_acknowledged_in_time_does_not_wake_the_pump_again(
    autojump_clock, virtual_pair, monkeypatch
):
    near, far = await open_streams(virtual_pair)
    await trio.sleep(1)
    transport, waits = virtual_pair.dialling._transport, []
    wait_readable = type(transport).wait_readable

    async def counted(waiting):
        waits.extend([waiting] if waiting is transport else [])
        await wait_readable(waiting)

    monkeypatch.setattr(type(transport), "wait_readable", counted)
    for _ in range(10):
        await near.send_all(b"are you there")
        await far.receive_some()
        await trio.sleep(1)
    # Once for each acknowledgement: what would have been sent anew without it is not looked at.
    assert len(waits) <= 12
