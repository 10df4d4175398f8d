"""Who may open what, and who is believed to offer it."""

import pytest

from fabric.codes import Code
from fabric.core.access import parse_selector
from fabric.core.codec import decode, encode
from fabric.core.frames import MOST_OFFERS, Offers
from fabric.core.identity import NodeName
from fabric.core.offers import OfferBook, Terms, offers_of, terms_in
from fabric.testing.factories import a_subject

ALICE, BOB = NodeName("alice"), NodeName("bob")
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


def test_terms_survive_being_told() -> None:
    mine = {"demo": terms("any", edge=True), "logs": terms("area:home", "label:tier=gold")}

    frame = decode(encode(offers_of(mine))[4:])

    assert isinstance(frame, Offers)
    assert terms_in(frame) == mine


def test_a_selector_of_a_newer_release_selects_nobody() -> None:
    frame = Offers(names=("demo",), open_to=(("site:lab", "node:bob"),), edge_exposable=(False,))

    assert terms_in(frame)["demo"] == terms("node:bob")


def test_no_more_is_told_than_a_frame_takes() -> None:
    many = {f"s{i:03}": terms("any") for i in range(MOST_OFFERS + 10)}

    assert len(offers_of(many).names) == MOST_OFFERS


def a_book() -> OfferBook:
    return OfferBook(
        declared={"demo": terms("area:home")},
        expected={ALICE: frozenset({"demo"}), BOB: frozenset()},
    )


def test_the_configuration_goes_before_what_a_peer_tells() -> None:
    book = a_book()
    book.hear(ALICE, offers_of({"demo": terms("any", edge=True)}))

    assert book.terms("demo", ALICE) == terms("area:home")


def test_what_the_configuration_does_not_say_is_learnt_from_the_offerer() -> None:
    book = a_book()
    assert not book.knows("logs")
    book.hear(BOB, offers_of({"logs": terms("any")}))

    assert book.knows("logs")
    assert book.terms("logs", BOB) == terms("any")
    assert book.terms("logs", ALICE) is None
    assert book.instances("logs") == [BOB]


def test_told_and_expected_offers_add_up() -> None:
    book = a_book()
    book.hear(BOB, offers_of({"demo": terms("any")}))

    assert book.instances("demo") == [ALICE, BOB]
    assert book.offered_by(ALICE) == {"demo"}


def test_a_new_frame_replaces_what_was_told_before() -> None:
    book = a_book()
    book.hear(BOB, offers_of({"logs": terms("any")}))
    book.hear(BOB, offers_of({"metrics": terms("any")}))

    assert book.offered_by(BOB) == {"metrics"}


def test_a_peer_that_left_is_remembered_by_the_configuration_alone() -> None:
    book = a_book()
    book.hear(ALICE, offers_of({"logs": terms("any")}))
    book.forget(ALICE)

    assert book.offered_by(ALICE) == {"demo"}
    assert not book.knows("logs")
