# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S7: names that look like an approved one are found; other honest names are left alone."""

from __future__ import annotations

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.indicator_names import (
    TEXT_MAX_CHARS,
    disguise,
    imitated,
    skeleton,
)

pytestmark = pytest.mark.row("S7")

KNOWN = ["mistral", "mixtral", "llama3.1", "llava", "qwen2.5", "gemma3", "phi3", "deepseek-r1", "smollm2", "mistralai"]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("mistra1", "mistral"),
        ("m1stral", "mistral"),
        ("mistrai", "mistral"),
        ("MISTRA|", "mistral"),
        ("m!stral", "mistral"),
        ("mistral-ai", "mistralai"),
        ("mistral_ai", "mistralai"),
        ("mistral.ai", "mistralai"),
        ("srnollm2", "smollm2"),
        ("qvven2.5", "qwen2.5"),
        ("g3mma3", "gemma3"),
        ("deepseek-rl", "deepseek-r1"),
        ("d33pseek-r1", "deepseek-r1"),
        ("m\u0456stral", "mistral"),  # Cyrillic i
        ("m\u03b9stral", "mistral"),  # Greek iota
        ("\uff4d\uff49\uff53\uff54\uff52\uff41\uff4c", "mistral"),  # full-width letters
        ("mistr\u00e1l", "mistral"),
        ("mis\u200btral", "mistral"),  # zero-width space
    ],
)
def test_s7_what_looks_the_same(text: str, known: str) -> None:
    assert imitated(text, KNOWN) == (known, True)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("mistrral", "mistral"),
        ("mistrl", "mistral"),
        ("misttal", "mistral"),
        ("imstral", "mistral"),
        ("mistrla", "mistral"),
        ("xmistral", "mistral"),
        ("mistrals", "mistral"),
        ("deepseak-v3", "deepseek-r1"),
    ],
)
def test_s7_what_is_one_slip_away(text: str, known: str) -> None:
    assert imitated(text, KNOWN) == (known, False)


@pytest.mark.parametrize(
    "text",
    [
        *KNOWN,
        "Mistral",
        "llama3.2",
        "llama3.2b",
        "qwen3",
        "qwen2",
        "phi4",
        "gemma3n",
        "deepseek-v3",
        "deepseek-coder",
        "mistral-nemo",
        "mistral-small3.2",
        "codestral",
        "granite3.3",
        "yi",
        "olmo2",
        "x" * 10_000,
        "",
        "-",
        "7b",
    ],
)
def test_s7_other_names_are_left_alone(text: str) -> None:
    assert imitated(text, KNOWN) is None


def test_s7_nothing_is_imitated_where_nothing_is_known() -> None:
    assert imitated("mistra1", []) is None


@pytest.mark.parametrize(
    "text",
    [
        "m\u0456stral",
        "\u0410pple",
        "\u03a9mega",
        "mis\u200btral",
        "mistral\u202e",
        "mis\x00tral",
        "a\u00adb",
        "\ufeffm",
    ],
)
def test_s7_a_disguise_is_named(text: str) -> None:
    assert disguise(text)


@pytest.mark.parametrize(
    "text",
    [
        "mistral",
        "Soci\u00e9t\u00e9 G\u00e9n\u00e9rale",
        "\u042f\u043d\u0434\u0435\u043a\u0441",
        "\u0391\u03b8\u03ae\u03bd\u03b1",
        "\u041c\u043e\u0441\u043a\u0432\u0430 Moscow",
        "Qwen\u901a\u4e49\u5343\u95ee",
        "security@example.org",
        "",
    ],
)
def test_s7_one_alphabet_a_word_is_no_disguise(text: str) -> None:
    assert disguise(text) is None


def test_s7_hostile_lengths_are_cut() -> None:
    assert len(skeleton("\ufdfa" * 1_000_000)) <= TEXT_MAX_CHARS * 18
    assert disguise("a" * TEXT_MAX_CHARS + "\u200b" * 1_000_000) is None
    assert imitated("a" * 1_000_000, ["a" * 1_000_000]) is None
