# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""lab.yml is refused with a name for what is wrong, and paths stay short."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from labkit.errors import LabError
from labkit.settings import Paths, find_paths, load_settings, parse_settings

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def document() -> dict[str, Any]:
    """The real lab.yml."""
    text = (CHECKOUT / "tests" / "lab" / "lab.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return copy.deepcopy(loaded)


def test_the_real_file_is_valid_and_names_the_hosts() -> None:
    settings = load_settings(find_paths(CHECKOUT))
    assert set(settings.hosts) == {"d13", "d12", "neighbour"}
    assert settings.hosts["d13"].ipv4 == "10.77.0.13"
    assert settings.internet.resolver == "198.51.100.53"


def test_inventories_name_only_hosts_of_the_laboratory(document: dict[str, Any]) -> None:
    for file in ("tests/lab/inventory.yml", "inventories/demo/hosts.yml"):
        inventory = yaml.safe_load((CHECKOUT / file).read_text(encoding="utf-8"))
        named = {host for group in inventory["all"]["children"].values() for host in group["hosts"]}
        assert named
        assert named <= set(document["hosts"])


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["hosts", "d13", "ipv4"], "10.78.0.13", "outside the network"),
        (["hosts", "d12", "ipv6"], "fd77::13", "taken twice"),
        (["hosts", "d13", "image"], "host-11", "not listed"),
        (["hosts", "d13", "start"], "sometimes", "always, default or asked"),
        (["hosts", "d13", "colour"], "red", "colour"),
        (["images", "host-13", "base"], "debian:11-slim", "not listed"),
        (["network"], None, "not a mapping"),
    ],
)
def test_a_slip_is_named(document: dict[str, Any], path: list[str], value: object, said: str) -> None:
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(LabError, match=said) as caught:
        parse_settings(document)
    assert caught.value.code == "LAB-SETTINGS"


def test_a_missing_key_is_named(document: dict[str, Any]) -> None:
    del document["admin"]
    with pytest.raises(LabError, match="admin"):
        parse_settings(document)


def test_the_socket_path_fits_however_long_the_checkout_path_is() -> None:
    paths = Paths(checkout=Path("/" + "long/" * 60), cache=Path("/cache"))
    assert len(str(paths.socket)) < 100
    assert len(str(paths.run / "exec" / "containerd" / "containerd-debug.sock")) < 100


def test_two_checkouts_have_two_laboratories() -> None:
    cache = Path("/cache")
    assert Paths(Path("/a"), cache).identity != Paths(Path("/b"), cache).identity


def test_the_cache_can_be_moved(tmp_path: Path) -> None:
    assert find_paths(tmp_path, {"HOME": "/home/x"}).cache == Path("/home/x/.cache/rampart")
    assert find_paths(tmp_path, {"HOME": "/home/x", "RAMPART_CACHE": "/big"}).cache == Path("/big")
