"""Invite links: what is written is read, and whatever else is pasted is refused with a sentence."""

import pytest

from agent.invite import Invite, read_invite
from rendezvous.contract.identity import fingerprint

KEY = b"k" * 32


@pytest.mark.parametrize("name", ["alice", "Zoë & Co", "علی رضا", "a#b?c", "%41"])
@pytest.mark.parametrize("look", [b"", b"l" * 16])
def test_an_invite_link_comes_back_whole(name: str, look: bytes) -> None:
    invite = Invite("https://tmge.example:8443", name, fingerprint(KEY), look)
    assert read_invite(f"  {invite.link()}\n") == invite
    assert " " not in invite.link()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "http://",
        "ftp://h/invite#name=a&fp=" + fingerprint(KEY),
        "http://h/other#name=a&fp=" + fingerprint(KEY),
        "http://u@h/invite#name=a&fp=" + fingerprint(KEY),
        "http://h:99999/invite#name=a&fp=" + fingerprint(KEY),
        "http://h/invite#fp=" + fingerprint(KEY),
        "http://h/invite#name=a%20&fp=" + fingerprint(KEY),
        "http://h/invite#name=a&fp=" + fingerprint(KEY)[:-1],
        "http://h/invite#name=a",
        "http://h/invite#name=a&look=x&fp=" + fingerprint(KEY),
        "http://h/invite#name=" + "a" * 700,
    ],
)
def test_what_is_no_invite_link_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        read_invite(text)
