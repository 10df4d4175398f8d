"""``fabricctl sim``: play a fabric of many nodes in virtual time, in any weather."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cli.exit_codes import Exit
from cli.exits import UsageError
from cli.output import show
from cli.tables import columns
from fabric.testing.sim import SCENARIOS, Line, Runs, Setting, Unit, Weather, summed_up

Share = Annotated[float, Parameter(validator=validators.Number(gte=0, lt=1))]
Seconds = Annotated[float, Parameter(validator=validators.Number(gte=0))]
Some = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def sim(
    *,
    nodes: Annotated[int, Parameter(validator=validators.Number(gte=4, lte=5000))] = 100,
    loss: Share = 0.05,
    delay: str = "20-80",
    seed: int = 1,
    seeds: Some = 1,
    scenario: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    cut: Seconds = 60.0,
    pause: Seconds = 5.0,
    flood: Annotated[float, Parameter(validator=validators.Number(gte=1))] = 10.0,
    skew: Seconds = 0.0,
    twins: Share = 0.0,
    jobs: Some = 1,
    json: bool = False,
) -> int:
    """Play a fabric of many nodes in virtual time: waves, partitions, deaths, pauses, floods.

    The same options print the same bytes, on any machine. Exits 1 if a target is missed.

    Parameters
    ----------
    nodes:
        How many nodes, in four areas.
    loss:
        Share of the datagrams that are lost.
    delay:
        Milliseconds that a datagram takes one way: LEAST-MOST.
    seed:
        What everything that is left to chance is drawn from.
    seeds:
        How many seeds to play, from --seed upward; the table shows their median and worst.
    scenario:
        wave, partition, death, pause, restarts, steady or flood; may be given several times.
        Without it, all of them.
    cut:
        Seconds that the partition lasts.
    pause:
        Seconds that the process which pauses does not run.
    flood:
        Seconds that the flood lasts.
    skew:
        Seconds by which the nodes' clocks are wrong at most.
    twins:
        Share of the frames that arrive twice, as over two connections.
    jobs:
        Processes that play seeds at once.
    """
    names = tuple(dict.fromkeys(scenario)) or tuple(SCENARIOS)
    for name in names:
        if name not in SCENARIOS:
            known = ", ".join(SCENARIOS)
            raise UsageError(
                "not_a_scenario", f"{name!r} is no scenario.", f"Take one of {known}."
            )
    weather = Weather(loss=loss, delay=_range(delay), twins=twins)
    setting = Setting(nodes=nodes, weather=weather, skew=skew, cut=cut, pause=pause, flood=flood)
    drawn = range(seed, seed + seeds)
    with _progress() as tell:
        tell(f"making a fabric of {nodes} nodes")
        runs = Runs(setting, jobs, lambda name, number: tell(f"playing {name}, seed {number}"))
        found = {name: summed_up(runs.play(name, drawn)) for name in names}
    show(_document(found, setting, drawn), _page(found, setting, drawn), json=json)
    missed = any(line.holds is False for lines in found.values() for line in lines)
    return Exit.NO if missed else Exit.YES


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yield what tells a terminal what is being played; it is gone at the end.

    It draws when it is told, by no thread: the runs are forked.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _doing: None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda doing: live.update(Text(doing), refresh=True)


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition("-")
    try:
        pair = float(least) / 1000, float(most) / 1000
    except ValueError:
        pair = (1.0, 0.0)
    if not 0 <= pair[0] <= pair[1] <= 10:
        raise UsageError("not_a_delay", f"{text!r} is no delay.", "Write LEAST-MOST, as in 20-80.")
    return pair


# -- printing --
def _document(found: dict[str, list[Line]], setting: Setting, seeds: range) -> dict[str, Any]:
    return {
        "nodes": setting.nodes,
        "loss": setting.weather.loss,
        "delay_ms": [round(1000 * each, 3) for each in setting.weather.delay],
        "skew_s": setting.skew,
        "twins": setting.weather.twins,
        "cut_s": setting.cut,
        "pause_s": setting.pause,
        "flood_s": setting.flood,
        "seeds": [seeds.start, seeds.stop - 1],
        "scenarios": {name: [_row(line) for line in lines] for name, lines in found.items()},
    }


def _row(line: Line) -> dict[str, Any]:
    return {
        "figure": line.name,
        "unit": line.unit.value,
        "p50": _number(line.p50),
        "p99": _number(line.p99),
        "worst": _number(line.worst),
        "worst_seed": line.worst_seed,
        "below": line.below,
        "at_most": line.most,
        "holds": line.holds,
    }


def _number(value: float) -> float | None:
    """Round *value* for JSON, which knows no infinity: what never came is null."""
    return None if math.isinf(value) else round(value, 4)


def _page(found: dict[str, list[Line]], setting: Setting, seeds: range) -> RenderableType:
    weather = setting.weather
    least, most = (f"{1000 * each:g}" for each in weather.delay)
    head = (
        f"{setting.nodes} nodes, {100 * weather.loss:g} % loss, {least} to {most} ms one way, "
        f"seed{'s' if len(seeds) > 1 else ''} {seeds.start}"
        + (f" to {seeds.stop - 1}" if len(seeds) > 1 else "")
    )
    parts: list[RenderableType] = [Text(head)]
    for name, lines in found.items():
        parts += ["", _table(name, lines, many=len(seeds) > 1)]
    return Group(*parts)


def _table(name: str, lines: list[Line], *, many: bool) -> RenderableType:
    spread = (">p50", ">p99", ">worst", ">seed") if many else (">found",)
    table = columns(name, *spread, ">target", "")
    for line in lines:
        values = [line.p50, line.p99, line.worst] if many else [line.worst]
        cells = [_cell(value, line.unit) for value in values]
        cells += [str(line.worst_seed)] if many else []
        table.add_row(line.name, *cells, _target(line), _verdict(line))
    return table


def _cell(value: float, unit: Unit) -> str:
    if math.isinf(value):
        return "never"
    if unit is Unit.SECONDS:
        return f"{value:.2f} s"
    number = f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"
    return f"{number} {unit.value}" if unit is Unit.BYTES_PER_SECOND else f"{number}{unit.value}"


def _target(line: Line) -> str:
    if line.below is not None:
        return "< " + _cell(line.below, line.unit)
    return "" if line.most is None else "<= " + _cell(line.most, line.unit)


def _verdict(line: Line) -> Text:
    if line.holds is None:
        return Text("")
    return Text("ok", "green") if line.holds else Text("missed", "bold red")
