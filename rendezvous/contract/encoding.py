"""Bytes in JSON: base64url without padding (RFC 4648 section 5). Used wherever a key or a
signature is written down.
"""

import base64
import binascii


def to_text(data: bytes) -> str:
    """Encode bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_text(text: str, length: int | None = None) -> bytes:
    """Decode base64url without padding; ValueError unless canonical and, where given, of
    `length` bytes.
    """
    if not text.isascii():
        raise ValueError("not base64url")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None
    if to_text(data) != text or (length is not None and len(data) != length):
        raise ValueError("not base64url of the right length")
    return data
