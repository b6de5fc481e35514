# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role describes each of its variables: with its default, and whether it is a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.parent.parent.name for path in ROOT.glob("roles/*/tasks/main.yml"))
SECRET = re.compile(r"(?:\A|_)(?:api_?key|key|secret|password|passphrase|token)(?P<more>.*)\Z")

pytestmark = pytest.mark.row("T2")


def read(role: str, name: str) -> dict[str, Any]:
    path = ROOT / "roles" / role / name
    found: dict[str, Any] = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    return found


def entry_points(role: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(role, "meta/argument_specs.yml")["argument_specs"]
    return found


def options(role: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (entry point, name, description) of every option of a role."""
    return [
        (point, name, option)
        for point, spec in entry_points(role).items()
        for name, option in (spec.get("options") or {}).items()
    ]


@pytest.mark.parametrize("role", ROLES)
def test_the_described_default_is_the_default(role: str) -> None:
    defaults = read(role, "defaults/main.yml")
    missing = object()
    differing = [
        "{0} {1}: described is {2!r}, it is {3!r}".format(
            point, name, option.get("default", "nothing"), defaults.get(name, "nothing")
        )
        for point, name, option in options(role)
        if option.get("default", missing) != defaults.get(name, missing)
    ]
    assert differing == []


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_described(role: str) -> None:
    assert sorted(set(read(role, "defaults/main.yml")) - {name for _point, name, _option in options(role)}) == []


@pytest.mark.parametrize("role", ROLES)
def test_what_may_hold_a_secret_is_kept_out_of_the_output(role: str) -> None:
    """A name that ends in key, secret, password or token holds one, unless it names a file. What only speaks of one
    (key_days, key_role) has to say that it is no secret.
    """
    wrong = []
    for point, name, option in options(role):
        match = SECRET.search(name)
        if match is None:
            continue
        secret = not match["more"] and option.get("type") != "path"
        if option.get("no_log") is not secret:
            wrong.append("{0} {1}: no_log has to be {2}".format(point, name, str(secret).lower()))
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_the_way_back_is_an_entry_point_like_any_other(role: str) -> None:
    """Who calls tasks_from: undo has its variables checked before anything is removed."""
    has = (ROOT / "roles" / role / "tasks" / "undo.yml").exists()
    assert ("undo" in entry_points(role)) is has


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a_key", "secret"),
        ("a_api_key", "secret"),
        ("a_apikey", "secret"),
        ("a_token", "secret"),
        ("a_password", "secret"),
        ("a_passphrase", "secret"),
        ("a_key_role", "about one"),
        ("a_revoked_keys_file", "about one"),
        ("a_monkey", "none"),
        ("a_tokenless", "about one"),
    ],
)
def test_the_rule_of_names_sees_what_it_is_for(name: str, what: str) -> None:
    match = SECRET.search(name)
    assert what == ("none" if match is None else "about one" if match["more"] else "secret")
