"""A timer rings when its moment has come, however often that was moved."""

import trio
from trio.testing import MockClock

from fabric.runtime.timer import Timer


async def test_it_rings_at_the_moment_that_was_set_last(nursery, autojump_clock: MockClock):
    rung, timer = [], Timer()
    nursery.start_soon(timer.run, lambda: rung.append(trio.current_time()))
    began = trio.current_time()
    timer.set(began + 5)
    timer.set(began + 3)
    await trio.sleep(10)
    assert rung == [began + 3]
    nursery.cancel_scope.cancel()


async def test_a_moment_that_is_put_off_does_not_ring_before(nursery, autojump_clock: MockClock):
    rung, timer = [], Timer()
    began = trio.current_time()
    timer.set(began + 3)
    nursery.start_soon(timer.run, lambda: rung.append(trio.current_time()))
    await trio.sleep(1)
    timer.set(began + 8)
    await trio.sleep(20)
    assert rung == [began + 8]
    nursery.cancel_scope.cancel()


async def test_it_may_be_set_again_by_what_it_rings_for(nursery, autojump_clock: MockClock):
    rung, timer = [], Timer()

    def ring() -> None:
        rung.append(trio.current_time())
        if len(rung) < 3:
            timer.set(trio.current_time() + 2)

    began = trio.current_time()
    timer.set(began)
    nursery.start_soon(timer.run, ring)
    await trio.sleep(30)
    assert rung == [began, began + 2, began + 4]
    nursery.cancel_scope.cancel()
