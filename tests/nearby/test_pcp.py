"""The bytes of PCP and NAT-PMP: what the RFCs say, whole, cut, and changed."""

import struct

import pytest

from agent.nearby import pcp
from agent.nearby.pcp import Granted, Refused

NONCE = bytes(range(12))
V4 = bytes(10) + b"\xff\xff"
PCP_ANSWER = (
    struct.pack("!BBBBII12x", 2, 0x81, 0, 0, 3600, 99)
    + NONCE
    + b"\x11\0\0\0\x12\x34\x56\x78"
    + V4
    + bytes((8, 8, 4, 4))
)
NATPMP_ANSWER = struct.pack("!BBHIHHI", 0, 129, 0, 99, 0x1234, 0x5678, 3600)


def test_a_pcp_request_is_the_one_of_the_rfc() -> None:
    request = pcp.pcp_map_request("192.168.1.9", NONCE, pcp.UDP, 0x1234, ("0.0.0.0", 0x5678), 7200)
    client = V4 + bytes((192, 168, 1, 9))
    assert request[:24] == b"\x02\x01\0\0" + (7200).to_bytes(4, "big") + client
    assert request[24:] == NONCE + b"\x11\0\0\0\x12\x34\x56\x78" + V4 + bytes(4)


def test_a_pcp_answer_names_the_address() -> None:
    assert pcp.read_pcp_map(PCP_ANSWER, NONCE, pcp.UDP, 0x1234) == Granted("8.8.4.4", 0x5678, 3600)


def test_options_behind_a_pcp_answer_are_passed_over() -> None:
    assert isinstance(pcp.read_pcp_map(PCP_ANSWER + bytes(8), NONCE, pcp.UDP, 0x1234), Granted)


def test_an_answer_over_ipv6_names_an_ipv6_address() -> None:
    answer = PCP_ANSWER[:-16] + bytes.fromhex("20010db8") + bytes(11) + b"\x01"
    assert pcp.read_pcp_map(answer, NONCE, pcp.UDP, 0x1234) == Granted("2001:db8::1", 0x5678, 3600)


@pytest.mark.parametrize("nonce", [bytes(12), NONCE[::-1]])
def test_an_answer_with_another_nonce_is_none(nonce: bytes) -> None:
    assert pcp.read_pcp_map(PCP_ANSWER, nonce, pcp.UDP, 0x1234) is None


def test_an_answer_about_something_else_is_none() -> None:
    assert pcp.read_pcp_map(PCP_ANSWER, NONCE, pcp.TCP, 0x1234) is None
    assert pcp.read_pcp_map(PCP_ANSWER, NONCE, pcp.UDP, 0x1235) is None
    assert pcp.read_natpmp_map(NATPMP_ANSWER, pcp.TCP, 0x1234) is None
    assert pcp.read_natpmp_map(NATPMP_ANSWER, pcp.UDP, 0x1235) is None


def test_a_part_of_an_answer_is_none() -> None:
    for length in range(len(PCP_ANSWER)):
        assert pcp.read_pcp_map(PCP_ANSWER[:length], NONCE, pcp.UDP, 0x1234) is None
    for length in range(len(NATPMP_ANSWER)):
        assert pcp.read_natpmp_map(NATPMP_ANSWER[:length], pcp.UDP, 0x1234) is None
    assert pcp.read_natpmp_map(NATPMP_ANSWER + b"\0", pcp.UDP, 0x1234) is None
    assert pcp.read_pcp_map(PCP_ANSWER + bytes(1044), NONCE, pcp.UDP, 0x1234) is None


def test_no_byte_of_an_answer_makes_a_reader_fail() -> None:
    for whole in (PCP_ANSWER, NATPMP_ANSWER):
        for at in range(len(whole)):
            for value in (0, 1, 0x80, 0xFF):
                changed = whole[:at] + bytes([value]) + whole[at + 1 :]
                pcp.read_pcp_map(changed, NONCE, pcp.UDP, 0x1234)
                pcp.read_natpmp_map(changed, pcp.UDP, 0x1234)
                pcp.read_natpmp_address(changed)


def test_a_gateway_that_knows_natpmp_alone_says_so() -> None:
    old = struct.pack("!BBHI", 0, 0x81, 1, 99)
    refused = pcp.read_pcp_map(old, NONCE, pcp.UDP, 0x1234)
    assert isinstance(refused, Refused)
    assert refused.other_version


def test_a_refusal_has_words() -> None:
    answer = PCP_ANSWER[:3] + b"\x02" + PCP_ANSWER[4:]
    assert pcp.read_pcp_map(answer, NONCE, pcp.UDP, 0x1234) == Refused("it is not allowed")
    answer = NATPMP_ANSWER[:2] + b"\0\x04" + NATPMP_ANSWER[4:]
    assert pcp.read_natpmp_map(answer, pcp.UDP, 0x1234) == Refused("it has no port left")
    assert pcp.read_natpmp_map(answer[:8], pcp.UDP, 0x1234) == Refused("it has no port left")


def test_natpmp_names_address_and_port() -> None:
    assert pcp.natpmp_address_request() == b"\0\0"
    assert pcp.natpmp_map_request(pcp.TCP, 0x1234, 0x5678, 7200) == struct.pack(
        "!BBHHHI", 0, 2, 0, 0x1234, 0x5678, 7200
    )
    assert pcp.read_natpmp_map(NATPMP_ANSWER, pcp.UDP, 0x1234) == Granted(None, 0x5678, 3600)
    address = struct.pack("!BBHI4s", 0, 128, 0, 99, bytes((8, 8, 4, 4)))
    assert pcp.read_natpmp_address(address) == "8.8.4.4"
    assert all(pcp.read_natpmp_address(address[:length]) is None for length in range(len(address)))
