"""How every command ends: yes, no, usage, unreachable; told to a person or to a script."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import cyclopts

from cli.exit_codes import Exit
from fabric.errors import UnreachableError
from fabric.runtime.supervise import leaves

Json: TypeAlias = dict[str, Any]
"""A JSON object as an admin socket gives it: the one loosely typed thing in this package."""


INTERRUPTED = 128 + 2
"""Exit code of a command ended by ^C, as shells count SIGINT."""

PIPE_CLOSED = 128 + 13
"""Exit code of a command whose reader went away, as shells count SIGPIPE."""


class CommandError(Exception):
    """A command's answer is no. The operator acts on :attr:`remedy`."""

    exit = Exit.NO

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

    def document(self) -> Json:
        """The same as data: what ``--json`` prints instead of an answer."""
        return {"error": {"code": self.code, "message": self.message, "remedy": self.remedy}}


class UsageError(CommandError):
    """The command line itself cannot be meant."""

    exit = Exit.USAGE


class NotReachedError(CommandError, UnreachableError):
    """Nobody answered: no local fabric, no process, no socket."""

    exit = Exit.UNREACHABLE


def finish(app: cyclopts.App, arguments: Sequence[str] | None = None) -> int:
    """Run *app* over *arguments* (default: the process's) and return the exit code.

    The process boundary of each operator command: whatever a command refuses is printed here,
    on stderr for people and on stdout as JSON where ``--json`` was asked for.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        answer = app(given, exit_on_error=False, result_action="return_value", backend="trio")
    except cyclopts.CycloptsError:
        return Exit.USAGE  # cyclopts has printed the mistake
    except CommandError as error:
        return report(error, as_json="--json" in given)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return PIPE_CLOSED
    except BaseExceptionGroup as group:  # a nursery wraps what ends a command
        first = next(leaves(group))
        if isinstance(first, KeyboardInterrupt):
            return INTERRUPTED
        if group.split(CommandError)[1] is not None:
            raise
        assert isinstance(first, CommandError)
        return report(first, as_json="--json" in given)
    return answer if isinstance(answer, int) else Exit.YES


def report(error: CommandError, *, as_json: bool) -> int:
    """Print why a command says no; return its exit code."""
    if as_json:
        print(json.dumps(error.document(), indent=2))
    else:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        if error.remedy:
            print(f"  remedy: {error.remedy}", file=sys.stderr)
    return error.exit
