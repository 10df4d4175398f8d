"""A daemon's process: its arguments, its configuration, its limits, and how it ends.

Kept light: argparse rather than cyclopts, which brings rich. A node at rest is to be small.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog
import trio
from attrs import frozen

from cli.exit_codes import Exit
from cli.running import run_node
from fabric import __version__
from fabric.config import NodeConfig, load_config
from fabric.core.identity import INGRESS
from fabric.errors import ConfigError
from fabric.net.tls import load_key
from fabric.runtime import logs
from fabric.runtime.supervise import leaves

log = structlog.get_logger()


@frozen
class Program:
    """A daemon by name, and what it asks of a configuration."""

    name: str
    about: str
    only_ingress: bool = False

    def load(self, path: Path) -> NodeConfig:
        """Raise :exc:`ConfigError` with every mistake of the file, this program's own included."""
        config = load_config(path)
        if self.only_ingress and (mistakes := list(_missing_in_an_ingress(config))):
            raise ConfigError(mistakes)
        return config


FABRICD = Program("fabricd", "Run one node of the fabric.")
FABRIC_INGRESS = Program(
    "fabric-ingress", "Run a node that lets TCP clients into the fabric.", only_ingress=True
)


def run(program: Program, arguments: Sequence[str] | None = None) -> int:
    """Run *program* until a signal or its admin socket ends it; return the exit code."""
    options = _parser(program).parse_args(arguments)
    path: Path = options.config
    try:
        config = program.load(path)
    except ConfigError as error:
        print(*error.mistakes, sep="\n", file=sys.stderr)
        return Exit.NO
    if options.check_config:
        print(f"{path}: no mistakes")
        public = load_key(config.key_file).public.hex()
        print(f'public_key = "{public}"  # for `fabricctl node add {config.name} --key`')
        return Exit.YES
    logs.configure(config.log, node=config.name)
    raise_descriptor_limit()
    gc.freeze()  # 39,000 objects of imports for life: without, a full collection stops us 25 ms
    return _run_to_the_end(config, lambda: program.load(path))


def _run_to_the_end(config: NodeConfig, read_again: Callable[[], NodeConfig]) -> int:
    reasons: list[str] = []
    try:
        trio.run(run_node, config, read_again)
    except* ConfigError as group:
        reasons += [mistake for leaf in leaves(group) for mistake in _mistakes(leaf)]
    except* OSError as group:
        reasons += [f"{config.quic.listen}: {leaf}" for leaf in leaves(group)]
    if reasons:
        log.error("node.failed", reasons=reasons)
        return Exit.NO
    return Exit.YES


def _mistakes(error: BaseException) -> list[str]:
    return error.mistakes if isinstance(error, ConfigError) else [str(error)]


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program.name,
        description=program.about,
        epilog="SIGTERM drains and ends, a second one ends at once; SIGHUP reads the file again. "
        "Exit codes: 0 yes, 1 no, 2 usage.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the node's TOML file"
    )
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="tell every mistake of the file, or its node's public key if there is none; then end",
    )
    parser.add_argument("--version", action="version", version=f"{program.name} {__version__}")
    return parser


def _missing_in_an_ingress(config: NodeConfig) -> Iterator[str]:
    if INGRESS not in config.roles:
        yield f'node.roles: fabric-ingress needs the role; add "{INGRESS}"'
    if not config.listeners:
        yield "listeners: nobody could come in; add [[listeners]] with listen and service"


def raise_descriptor_limit() -> None:
    """Let the process open as many files as its hard limit says: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
