"""`python -m tests.bench`: measure ourselves and our rivals by turns, print a table, write JSON.

Figures are named in docs/reference/benchmarks.md. A rival that is not installed is named with
the line that installs it, and the run goes on without it. PROTOTYPE names a folder with a driver
prototype to measure `quic.*` against as well.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import catalogue, contenders
from tests.bench.contender import Contender, take_turns
from tests.bench.report import OURS, entries, table, write_json


def main() -> int:
    """0 when each wanted figure of ours was measured, 1 when one was not, 2 for a wrong option."""
    options = parse(sys.argv[1:])
    figures = catalogue.matching(options.only)
    wanted = {figure.name for figure in figures}
    everyone = contenders.everyone(os.environ.get("PROTOTYPE"))
    present = installed(everyone, wanted)
    readings = list(
        take_turns(present, wanted, rounds=options.rounds, seconds=options.seconds, say=say)
    )
    notes = contenders.notes(everyone)
    rows = entries(figures, readings, notes)
    print(table(rows, notes))
    write_json(options.json, rows)
    unmeasured = wanted - {reading.figure for reading in readings if reading.who == OURS}
    for name in sorted(unmeasured):
        say(f"{name}: not measured")
    return 1 if unmeasured else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", default="*", help="figures, as a pattern or the start of a name")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each load (default 1)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="medians are over so many (default 3)"
    )
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where to write")
    options = parser.parse_args(arguments)
    if not catalogue.matching(options.only):
        parser.error(f"--only: no figure matches {options.only}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds: must be above 0")
    return options


def installed(everyone: Sequence[Contender], wanted: set[str]) -> list[Contender]:
    """Those that can be measured; says why the others cannot, each with its remedy."""
    present = []
    for contender in everyone:
        if wanted & contender.figures:
            if why := contender.missing():
                say(f"without {contender.name}: {why}")
            else:
                present.append(contender)
    return present


def say(line: str) -> None:
    """Progress goes where it does not mix with the table."""
    print(line, file=sys.stderr, flush=True)


def raise_descriptor_limit() -> None:
    """For all that is started here: each idle channel is a descriptor in each process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda told, _: sys.exit(128 + told))  # every room is left in order
    raise_descriptor_limit()
    sys.exit(main())
