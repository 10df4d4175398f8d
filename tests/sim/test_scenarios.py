"""Small fabrics in bad weather: what was promised of large ones holds for them too."""

import math

import pytest

from fabric.core.exchange import Exchange
from fabric.testing.sim import Runs, Setting, Weather, play, summed_up

BAD = Weather(loss=0.1)


def found(name: str, seed: int = 1, **changes):
    """Return what a scenario finds in a small fabric in bad weather, but for *changes*."""
    setting = Setting(**{"nodes": 18, "weather": BAD, "cut": 30.0, **changes})
    return play(name, setting.warm_fleet(), setting, seed).found


def missed(result) -> list:
    return [each for each in result.figures() if not each.holds]


@pytest.mark.parametrize("seed", range(2))
def test_a_wave_reaches_everybody_at_no_more_than_six_copies_each(seed) -> None:
    result = found("wave", seed, nodes=30)

    assert result.reached == 30
    assert not missed(result)
    assert 0 < result.sends <= 5


def test_two_halves_hold_the_same_soon_after_they_meet_removals_included() -> None:
    result = found("partition", skew=3600.0)

    assert result.differed
    assert not missed(result)
    assert result.alive < math.inf


def test_without_anti_entropy_they_never_would(monkeypatch) -> None:
    monkeypatch.setattr(Exchange, "begin", lambda self, now: [])

    result = found("partition", nodes=8)

    assert result.differed
    assert result.same == math.inf


def test_a_death_is_known_to_all_and_nobody_else_is_taken_for_dead() -> None:
    result = found("death")

    assert not missed(result)
    assert 4.0 < result.first <= result.everybody


def test_a_pause_of_five_seconds_is_nobodys_death() -> None:
    result = found("pause")

    assert result.suspicions > result.false_suspicions, "it was noticed"
    assert not missed(result)


def test_a_process_that_stays_away_would_have_been_taken_for_dead() -> None:
    assert found("pause", nodes=8, pause=20.0).false_deaths


def test_who_comes_back_with_an_empty_disk_learns_all_from_a_seed() -> None:
    result = found("restarts", weather=Weather(loss=0.1, twins=0.3), skew=3600.0)

    assert (result.kept, result.lost) == (1, 1)
    assert not missed(result)


def test_a_fabric_at_rest_sends_a_probe_or_its_answer_per_link_and_second() -> None:
    result = found("steady", nodes=8, weather=Weather())

    assert not missed(result)
    assert result.cost.per_second().frames == pytest.approx(result.links, rel=0.1)
    assert result.false_suspicions == 0


def test_three_members_that_flood_a_fabric_do_not_stop_it() -> None:
    result = found("flood", nodes=12, flood=3.0)

    assert not missed(result)
    assert result.kept_out == 1.0
    assert result.minted


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # a test runner has threads
def test_results_of_several_processes_are_those_of_one() -> None:
    setting = Setting(nodes=8)

    alone = Runs(setting).play("wave", range(3))

    assert Runs(setting, jobs=2).play("wave", range(3)) == alone
    assert [each.seed for each in alone] == [0, 1, 2]
    line = next(each for each in summed_up(alone) if each.name == "all do")
    assert line.worst == max(each.found.everybody for each in alone)
    assert alone[line.worst_seed].found.everybody == line.worst
