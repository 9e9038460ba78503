"""Cookies: what a responder under load asks of those who open to it."""

from agent.protocol.handshake import COOKIE, attempt
from tests.support.handshakes import BOB_ID, MAC, SOURCE, carries, flips, initiator, responder


def test_a_cookie_gets_the_next_initiation_through() -> None:
    alice, bob = initiator(), responder()
    first = alice.initiation(0.0)
    assert not bob.cookie_valid(first, SOURCE, 0.0)
    assert alice.receive_cookie(bob.cookie_reply(first, SOURCE, 0.0), 0.1)
    second = alice.initiation(0.2)
    assert second[:-MAC] == first[:-MAC]
    assert attempt(second) == attempt(first)
    assert bob.accepts(second)
    assert bob.cookie_valid(second, SOURCE, 0.2)
    assert bob.read(second).peer.name == "alice"


def test_a_cookie_is_good_for_its_source_alone() -> None:
    alice, bob = initiator(), responder()
    alice.receive_cookie(bob.cookie_reply(alice.initiation(0.0), SOURCE, 0.0), 0.0)
    assert not bob.cookie_valid(alice.initiation(0.0), b"192.0.2.2:4000", 0.0)


def test_an_initiation_with_any_byte_changed_shows_no_valid_cookie() -> None:
    alice, bob = initiator(), responder()
    alice.receive_cookie(bob.cookie_reply(alice.initiation(0.0), SOURCE, 0.0), 0.0)
    for forged in flips(alice.initiation(0.0)):
        assert not bob.cookie_valid(forged, SOURCE, 0.0)


def test_a_cookie_is_good_for_two_minutes_and_dead_after_four() -> None:
    alice, bob = initiator(), responder()
    packet = alice.initiation(0.0)
    bob.cookie_reply(packet, b"someone else", 0.0)
    assert alice.receive_cookie(bob.cookie_reply(packet, SOURCE, 119.0), 119.0)
    packet = alice.initiation(119.0)
    for now, valid in [(119.0, True), (121.0, True), (239.0, True), (241.0, False)]:
        assert bob.cookie_valid(packet, SOURCE, now) is valid


def test_a_responder_at_rest_for_long_honours_no_old_cookie() -> None:
    alice, bob = initiator(), responder()
    assert alice.receive_cookie(bob.cookie_reply(alice.initiation(0.0), SOURCE, 0.0), 0.0)
    assert not bob.cookie_valid(alice.initiation(0.0), SOURCE, 1000.0)


def test_an_old_cookie_is_shown_no_more() -> None:
    alice, bob = initiator(), responder()
    alice.receive_cookie(bob.cookie_reply(alice.initiation(0.0), SOURCE, 0.0), 0.0)
    assert alice.initiation(119.0)[-MAC:] != bytes(MAC)
    assert alice.initiation(120.0)[-MAC:] == bytes(MAC)


def test_a_cookie_reply_with_any_byte_changed_or_missing_is_refused() -> None:
    alice, bob = initiator(), responder()
    reply = bob.cookie_reply(alice.initiation(0.0), SOURCE, 0.0)
    lengths = [reply[:length] for length in range(len(reply))]
    for forged in [*flips(reply), *lengths, reply + b"\0"]:
        assert not alice.receive_cookie(forged, 0.0)
    assert alice.initiation(0.0)[-MAC:] == bytes(MAC)
    assert reply[0] == COOKIE
    assert alice.receive_cookie(reply, 0.0)


def test_a_cookie_reply_to_another_attempt_is_refused() -> None:
    reply = responder().cookie_reply(initiator(seed=1).initiation(0.0), SOURCE, 0.0)
    assert not initiator(seed=3).receive_cookie(reply, 0.0)


def test_a_response_still_ends_an_attempt_that_has_a_cookie() -> None:
    alice, bob = initiator(), responder()
    response, at_bob = bob.respond(bob.read(alice.initiation(0.0)), "bob", BOB_ID)
    alice.receive_cookie(bob.cookie_reply(alice.initiation(0.0), SOURCE, 0.0), 0.0)
    assert carries(alice.receive_response(response).send, at_bob.receive)
