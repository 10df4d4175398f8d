"""``fabric-ingress``: a node that lets TCP clients in, and does nothing else."""

from __future__ import annotations

import sys

# structlog imports rich where it is installed, for tracebacks in colour: 4 MB resident that a
# daemon, which prints no tables, would carry for life. So for this process rich is not installed.
sys.modules["rich"] = None  # type: ignore[assignment]  # what import takes for "not there"

from cli.daemon import FABRIC_INGRESS, run  # noqa: E402 - after the line above, on purpose


def main() -> None:
    sys.exit(run(FABRIC_INGRESS))


if __name__ == "__main__":
    main()
