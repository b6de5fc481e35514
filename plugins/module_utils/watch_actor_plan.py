# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the four verbs of the actor have in common: a plan, made from what the actor saw itself, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class RefusedError(Exception):
    """The actor saw no reason for what it was asked, or may not do it; the text says why."""


def _nothing() -> None:
    return None


@dataclass
class Plan:
    """One act that was found right.

    `checked` is what the actor saw (sentences), `before` the state it changes, `release` what takes it back (its key
    "action" is "start-container", "remove-quarantine" or "none"). `act` does it and returns what was done; it raises
    ActError when it did not work. `close` is called in every case.
    """

    checked: list[str]
    before: dict[str, Any]
    release: dict[str, Any]
    act: Callable[[], list[str]]
    close: Callable[[], None] = field(default=_nothing)


class ActError(Exception):
    """An act that did not work; `done` is what of it was done all the same."""

    def __init__(self, text: object, done: list[str]) -> None:
        super().__init__(str(text))
        self.done = done
