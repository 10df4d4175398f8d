"""What a node knows when it starts, and what it keeps of how it came to know it."""

from fabric.testing.pairs import connected


async def test_what_was_taken_in_at_the_start_is_held_once(autojump_clock, fleet):
    async with fleet.open("home") as home, fleet.open("away"):
        await connected(home, "away")
    async with fleet.open("home") as home:
        remembered = home.knowledge.remembered
        assert home.knowledge.own_record() is not None
        assert [each.peer for each in remembered.peers]
        assert (remembered.records, remembered.roots) == ((), ())
        assert home.knowledge.take_effects() == []
