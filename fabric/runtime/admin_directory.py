"""What the admin socket answers about the fabric: records, members, services, waves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from fabric.codes import Code
from fabric.core.envelope import Envelope
from fabric.core.records import Key
from fabric.net.asgi_answers import Answer
from fabric.runtime.admin_json import encode_in_turns
from fabric.runtime.publishing import TAKEN, envelope_in
from fabric.runtime.snapshot import Row

if TYPE_CHECKING:
    from starlette.requests import Request


class DirectoryNode(Protocol):
    """What the admin socket needs of a node to tell what it knows of the fabric."""

    def directory_rows(self, kind: str = "") -> Iterator[Row]:
        """A row for each key that is held, of *kind* or of all. May raise RefusedError."""

    def trace(self, key: Key) -> Row | None:
        """All that the node can say of *key*; None where it holds nothing."""

    def member_rows(self) -> Iterator[Row]:
        """A row for each member, this node too."""

    def wave_rows(self) -> Sequence[Row]:
        """The last waves, the latest first."""

    def registry_report(self) -> Row:
        """The runtime report, and a row for each service."""

    def publish(self, envelope: Envelope) -> Row:
        """Take *envelope* in and spread it. Raises RefusedError where it does not count."""


@frozen(eq=False)
class DirectoryRoutes:
    """Each takes Starlette's request and returns an ASGI answer."""

    node: DirectoryNode

    def table(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Any]]]]:
        """Method, path and function of each."""
        return [
            ("GET", "/v1/directory", self.directory),
            ("GET", "/v1/directory/{kind}/{subject:path}", self.trace),
            ("GET", "/v1/members", self.members),
            ("GET", "/v1/registry", self.registry),
            ("GET", "/v1/waves", self.waves),
            ("POST", "/v1/records", self.publish),
        ]

    async def directory(self, request: Request) -> Answer:
        kind = request.query_params.get("kind", "")
        return await _tables(records=self.node.directory_rows(kind))

    async def trace(self, request: Request) -> Answer:
        key = Key(request.path_params["kind"], request.path_params["subject"])
        found = self.node.trace(key)
        if found is None:
            return Answer.of_refusal(404, Code.UNKNOWN_RECORD, f"No {key} is held here.")
        return Answer.of_json(found)

    async def members(self, request: Request) -> Answer:
        return await _tables(members=self.node.member_rows())

    async def registry(self, request: Request) -> Answer:
        return await _tables(**self.node.registry_report())

    async def waves(self, request: Request) -> Answer:
        return await _tables(waves=list(self.node.wave_rows()))

    async def publish(self, request: Request) -> Answer:
        became = self.node.publish(envelope_in(await request.body()))
        return Answer.of_json(became, 201 if became["outcome"] == TAKEN else 200)


async def _tables(**tables: Any) -> Answer:  # noqa: ANN401 -- JSON, and what makes rows of it
    return Answer(await encode_in_turns(tables), "application/json")
