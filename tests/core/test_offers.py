"""On what terms a service may be opened."""

import pytest

from fabric.codes import Code
from fabric.core.access import parse_selector
from fabric.core.offers import Terms
from fabric.testing.factories import a_subject

INGRESS = a_subject(roles=frozenset({"ingress"}))


def terms(*selectors: str, edge: bool = False) -> Terms:
    return Terms(open_to=tuple(map(parse_selector, selectors)), edge_exposable=edge)


@pytest.mark.parametrize(
    ("offered", "opener", "client", "objection"),
    [
        pytest.param(terms("any"), a_subject(), None, None, id="permitted"),
        pytest.param(terms(), a_subject(), None, Code.NOT_PERMITTED, id="open-to-nobody"),
        pytest.param(terms("node:x"), a_subject(), None, Code.NOT_PERMITTED, id="other-node"),
        pytest.param(terms("any", edge=True), INGRESS, "192.0.2.1:1", None, id="edge"),
        pytest.param(terms("any"), INGRESS, None, None, id="ingress-for-itself"),
        pytest.param(
            terms("any"), INGRESS, "192.0.2.1:1", Code.NOT_EDGE_EXPOSABLE, id="not-for-the-edge"
        ),
        pytest.param(
            terms("any", edge=True),
            a_subject(),
            "192.0.2.1:1",
            Code.CLIENT_NOT_BELIEVED,
            id="client-from-no-ingress",
        ),
        pytest.param(
            terms("area:x", edge=True), INGRESS, "192.0.2.1:1", Code.NOT_PERMITTED, id="both"
        ),
    ],
)
def test_the_terms_decide(
    offered: Terms, opener: object, client: str | None, objection: Code | None
) -> None:
    assert offered.objection(opener, client=client) is objection
