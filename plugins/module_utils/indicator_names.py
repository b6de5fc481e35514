# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that pretend to be another's: look-alike letters, one slip of the finger, mixed alphabets (row S7).

A skeleton is what a name looks like to a hasty eye. Two names with one skeleton and different spellings are one
name and its imitation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Optional

TEXT_MAX_CHARS = 200
# Shorter names are one slip from too many honest ones ("phi", "qwen", "yi").
SLIP_MIN_CHARS = 5

# What looks like a letter of ours; `i`, `l` and `1` are one shape.
_LOOK_ALIKES = str.maketrans(
    {
        "0": "o",
        "1": "l",
        "i": "l",
        "|": "l",
        "!": "l",
        "3": "e",
        "4": "a",
        "@": "a",
        "5": "s",
        "$": "s",
        "7": "t",
        "8": "b",
        "9": "g",
        # Cyrillic.
        "\u0430": "a",
        "\u0432": "b",
        "\u0435": "e",
        "\u043a": "k",
        "\u043c": "m",
        "\u043d": "h",
        "\u043e": "o",
        "\u0440": "p",
        "\u0441": "c",
        "\u0442": "t",
        "\u0443": "y",
        "\u0445": "x",
        "\u0456": "l",
        "\u0458": "j",
        "\u0455": "s",
        "\u0501": "d",
        "\u04bb": "h",
        "\u04cf": "l",
        "\u051b": "q",
        "\u051d": "w",
        # Greek.
        "\u03b1": "a",
        "\u03b2": "b",
        "\u03b5": "e",
        "\u03b9": "l",
        "\u03ba": "k",
        "\u03bd": "v",
        "\u03bf": "o",
        "\u03c1": "p",
        "\u03c4": "t",
        "\u03c5": "u",
        "\u03c7": "x",
        "\u03c9": "w",
        # Armenian.
        "\u0585": "o",
        "\u057d": "u",
        "\u0570": "h",
        "\u0578": "n",
        # Latin that is not ASCII.
        "\u0131": "l",
        "\u0251": "a",
        "\u0261": "g",
        "\u029f": "l",
    }
)
_GROUPS = (("rn", "m"), ("vv", "w"))
_SEPARATORS = re.compile(r"[\s._/-]+")
# "3.2", "3n", "-2.5", "-r1", "-v3" at a name's end.
_VERSION_TAIL = re.compile(r"(?:-?[0-9][0-9.]*[a-z]?|-[a-z][0-9][0-9.]*)\Z")
# Alphabets with letters that are drawn like Latin ones. Others (Chinese beside Latin) are mixed by honest people.
_CONFUSED_SCRIPTS = frozenset(("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "GEORGIAN"))


def skeleton(text: str) -> str:
    """Return what `text` looks like: no case, no accents, no separators, look-alikes as one."""
    plain = unicodedata.normalize("NFKD", text[:TEXT_MAX_CHARS]).casefold()
    plain = "".join(char for char in plain if not unicodedata.combining(char) and unicodedata.category(char) != "Cf")
    plain = _SEPARATORS.sub("", plain).translate(_LOOK_ALIKES)
    for shape, letter in _GROUPS:
        plain = plain.replace(shape, letter)
    return plain


def disguise(text: str) -> Optional[str]:
    """Say how the spelling of `text` is disguised (alphabets mixed in a word, invisible characters), or None."""
    for char in text[:TEXT_MAX_CHARS]:
        if unicodedata.category(char) in ("Cf", "Cc"):
            return "it holds the invisible character U+{0:04X}".format(ord(char))
    for word in text[:TEXT_MAX_CHARS].split():
        scripts = {unicodedata.name(char, "").partition(" ")[0] for char in word if char.isalpha()}
        mixed = sorted(scripts & _CONFUSED_SCRIPTS)
        if len(mixed) > 1:
            return "one word mixes {0} letters".format(" and ".join(script.capitalize() for script in mixed))
    return None


def imitated(text: str, known: Iterable[str]) -> Optional[tuple[str, bool]]:
    """Return (the known name that `text` imitates, whether it looks the same), or None.

    Looking the same is a common skeleton; else it is one letter more, less, other or swapped. A known name
    imitates nothing, nor does another version of one (llama3.2 beside llama3.1).
    """
    names = list(known)
    folded = _folded(text)
    if folded in {_folded(name) for name in names}:
        return None
    looks = skeleton(text)
    for name in names:
        if looks and looks == skeleton(name):
            return name, True
    core = _core(folded)
    cores = {_core(_folded(name)): name for name in names}
    if core in cores:
        return None
    for other, name in cores.items():
        if min(len(core), len(other)) >= SLIP_MIN_CHARS and _one_slip(core, other):
            return name, False
    return None


def _folded(text: str) -> str:
    return " ".join(text[:TEXT_MAX_CHARS].casefold().split())


def _core(folded: str) -> str:
    """Return a name without its version: `llama3.2` is `llama`."""
    return _VERSION_TAIL.sub("", _SEPARATORS.sub("-", folded)).strip("-") or folded


def _one_slip(one: str, other: str) -> bool:
    """Whether one letter inserted, left out, replaced or two neighbours swapped turn `one` into `other`."""
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1:
        return False
    start = 0
    while start < len(one) and one[start] == other[start]:
        start += 1
    if len(one) < len(other):
        return one[start:] == other[start + 1 :]
    swapped = one[start : start + 2] == other[start : start + 2][::-1]
    return one[start + 1 :] == other[start + 1 :] or (swapped and one[start + 2 :] == other[start + 2 :])
