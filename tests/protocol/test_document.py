"""PROTOCOL.md says what the code does."""

from tests.support.protocol_tables import DOCUMENT, TABLES, renewed


def test_the_tables_of_the_document_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert all(f"<!-- table: {name} -->" in text for name in TABLES)
    assert renewed(text) == text, "run: python -m tests.support.protocol_tables"
