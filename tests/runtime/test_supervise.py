"""Supervision: an hour of outage in milliseconds, and no mercy for bugs."""

import random

import pytest
import trio
from structlog.testing import capture_logs

from fabric.codes import Code
from fabric.core.backoff import Backoff
from fabric.core.planes import Planes
from fabric.errors import LocalProtocolError, RemoteProtocolError, UnreachableError
from fabric.runtime.supervise import STABLE_AFTER, keep_plane, keep_running, leaves


async def test_an_hour_of_outage_is_retried_without_hammering(autojump_clock):
    attempts = []

    async def dial():
        attempts.append(trio.current_time())
        raise UnreachableError("nobody there")

    with capture_logs() as logs, trio.move_on_after(3600):
        await keep_running("peer away", dial, Backoff(random.Random(7), floor=1, ceiling=60))

    assert 60 < len(attempts) < 240  # full jitter under 60 s: 30 s apart on average
    assert {entry["event"] for entry in logs} == {"task.restarting"}
    assert {entry["task"] for entry in logs} == {"peer away"}


@pytest.mark.parametrize(
    "weather",
    [
        OSError("disk"),
        UnreachableError("path"),
        RemoteProtocolError(Code.MALFORMED_FRAME),
        ExceptionGroup("of a nursery", [ExceptionGroup("deeper", [OSError("x")])]),
    ],
    ids=["os", "unreachable", "remote", "grouped"],
)
async def test_weather_restarts_the_task(autojump_clock, weather):
    runs = []

    async def body():
        runs.append(trio.current_time())
        if len(runs) == 1:
            raise weather
        await trio.sleep_forever()

    with trio.move_on_after(10):
        await keep_running("task", body, Backoff(random.Random(0)))
    assert len(runs) == 2


@pytest.mark.parametrize("bug", [LocalProtocolError("sent too early"), TypeError("x")])
async def test_a_bug_is_not_weather(autojump_clock, bug):
    async def body():
        raise bug

    with pytest.RaisesGroup(type(bug), allow_unwrapped=True):
        await keep_running("task", body, Backoff(random.Random(0)))


async def test_weather_beside_a_bug_does_not_hide_it(autojump_clock):
    async def body():
        raise ExceptionGroup("both", [OSError("x"), ZeroDivisionError()])

    with pytest.RaisesGroup(ZeroDivisionError):
        await keep_running("task", body, Backoff(random.Random(0)))


async def test_cancellation_ends_it(autojump_clock):
    with trio.move_on_after(1) as scope:
        await keep_running("task", trio.sleep_forever, Backoff(random.Random(0)))
    assert scope.cancelled_caught


async def test_a_task_that_lasted_starts_over_with_short_delays(autojump_clock):
    backoff = Backoff(random.Random(0), floor=1, ceiling=1000)
    for _ in range(8):
        backoff.next_delay()
    ends = []

    async def body():
        ends.append(trio.current_time())
        if len(ends) == 1:
            await trio.sleep(STABLE_AFTER)
        else:
            await trio.sleep_forever()
        ends.append(trio.current_time())

    with trio.move_on_after(3600):
        await keep_running("task", body, backoff)
    assert ends[2] - ends[1] <= 1


async def test_a_plane_shows_what_its_supervisor_does(autojump_clock):
    planes, seen = Planes(), []

    def state():
        (plane,) = planes.view(trio.current_time())
        return plane.state.value

    async def body():
        seen.append(state())
        raise OSError

    async with trio.open_nursery() as nursery:
        backoff = Backoff(random.Random(0), floor=100, ceiling=100)
        nursery.start_soon(keep_plane, planes, "peers", body, backoff)
        await trio.sleep(0.001)
        seen.append(state())
        nursery.cancel_scope.cancel()
    seen.append(state())
    assert seen == ["running", "restarting", "stopped"]


def test_leaves_come_in_the_order_in_which_they_were_raised():
    one, two, three = OSError(1), OSError(2), OSError(3)
    group = ExceptionGroup("a", [one, ExceptionGroup("b", [two]), three])

    assert list(leaves(group)) == [one, two, three]
