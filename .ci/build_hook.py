"""Let a wheel and an editable install carry the browser's Socket.IO client.

Used by hatchling alone.
"""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

import vendor


class VendorHook(BuildHookInterface[Any]):
    """Fetch the client before the wheel's files are collected."""

    def dependencies(self) -> list[str]:
        """Ask for a packaged npm where the machine has none."""
        return [] if vendor.find_npm() else [vendor.NODE_REQUIREMENT]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the client in its place; a source distribution goes without it."""
        if self.target_name != "wheel":
            return
        try:
            vendor.fetch("page", Path(self.root))
        except vendor.VendorError as error:
            self.app.abort(str(error))
