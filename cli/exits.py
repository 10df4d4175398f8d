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
    try:
        return _finish(app, list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:  # `| head` has seen enough, of an answer or of a refusal
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return PIPE_CLOSED


def _finish(app: cyclopts.App, given: list[str]) -> int:
    as_json = "--json" in given
    try:
        answer = app(
            given,
            exit_on_error=False,
            print_error=not as_json,
            result_action="return_value",
            backend="trio",
        )
    except cyclopts.CycloptsError as mistake:
        # For a person cyclopts has printed it already.
        return report(_usage(app, mistake), as_json=True) if as_json else Exit.USAGE
    except CommandError as error:
        return report(error, as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseExceptionGroup as group:  # a nursery wraps what ends a command
        first = next(leaves(group))
        if isinstance(first, KeyboardInterrupt):
            return INTERRUPTED
        if group.split(CommandError)[1] is not None:
            raise
        assert isinstance(first, CommandError)
        return report(first, as_json=as_json)
    return answer if isinstance(answer, int) else Exit.YES


def _usage(app: cyclopts.App, mistake: cyclopts.CycloptsError) -> UsageError:
    command = " ".join((*app.name, *(mistake.command_chain or ())))
    return UsageError("usage", str(mistake), f"`{command} --help` lists what it takes.")


def report(error: CommandError, *, as_json: bool) -> int:
    """Print why a command says no; return its exit code."""
    if as_json:
        print(json.dumps(error.document(), indent=2))
    else:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        if error.remedy:
            print(f"  remedy: {error.remedy}", file=sys.stderr)
    return error.exit
