"""S19: no text of others moves the cursor, turns the line round or makes two lines of one."""

import unicodedata

import pytest

from batchrunner.cli.words import printable
from batchrunner.envelope import shown

TEXTS = [
    "\x1b]52;c;Y2FuYXJ5\x07",
    "\x1b[2J\x1b[H",
    "\x9b2J",
    "done\rfailed",
    "one\ntwo\u2028three\u2029four\x85five",
    "\u202egnp.exe\u202c",
    "\u2066x\u2069\u200f\u061c",
    "a\x00b\x7fc",
    "bell\x07 tab\t",
    "\ufeffbom",
]


@pytest.mark.parametrize("show", [printable, shown], ids=["ours", "the provider's"])
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_what_a_terminal_gets(show, text):
    found = show(text)
    assert not [sign for sign in found if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp", "Cs")]
    assert len(found.splitlines()) <= 1


def test_words_stay_as_they_are():
    text = "一只金色的猫 🐈 «été» Ωμέγα"
    assert printable(text) == shown(text) == text
