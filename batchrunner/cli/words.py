"""Texts and paths as a terminal may show them."""

from __future__ import annotations

from pathlib import Path


def printable(text: str) -> str:
    """Characters that would move the cursor or turn the text round are shown, not sent."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def shown(path: Path) -> str:
    """A path as people write it from where they are."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
