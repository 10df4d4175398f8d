"""``fabricd``: one node of the fabric, in whatever roles its configuration gives it."""

from __future__ import annotations

import sys

# structlog imports rich where it is installed, for tracebacks in colour: 4 MB resident that a
# daemon, which prints no tables, would carry for life. So for this process rich is not installed.
sys.modules["rich"] = None  # type: ignore[assignment]  # what import takes for "not there"

from cli.daemon import FABRICD, run  # noqa: E402 - after the line above, on purpose


def main() -> None:
    sys.exit(run(FABRICD))


if __name__ == "__main__":
    main()
