# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S1: the way to a registry is the one that was set; a proxy's password is shown to nobody."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils.proxied_https import Route, choose_route

pytestmark = pytest.mark.row("S1")

HOST = "registry.ollama.ai"
SECRET = "s3cret-of-the-proxy"


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_s1_without_a_proxy_it_goes_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_route(HOST, None) == Route(HOST, 443)
    # Only the variable for HTTPS counts.
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    assert choose_route(HOST + ":8443", None) == Route(HOST, 8443)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_s1_the_environments_proxy_and_its_exceptions(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://proxy.example.org:3128")
    assert choose_route(HOST, None).proxy == ("proxy.example.org", 3128)
    assert choose_route(HOST, "").proxy is None
    assert choose_route(HOST, "http://other.example.org").proxy == ("other.example.org", 80)
    monkeypatch.setenv("NO_PROXY", "example.net, .ollama.ai")
    assert choose_route(HOST, None).proxy is None
    assert choose_route("hf.co", None).proxy == ("proxy.example.org", 3128)


def test_s1_a_proxys_password_is_in_the_route_and_in_no_picture_of_it() -> None:
    route = choose_route(HOST, "http://us%40er:{0}@proxy.example.org:3128".format(SECRET))
    assert base64.b64decode(route.authorization.removeprefix("Basic ")) == b"us@er:" + SECRET.encode()
    assert SECRET not in repr(route)
    assert route.authorization not in repr(route)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:{0}@127.0.0.1:1",
        "socks5://user:{0}@127.0.0.1:1",
        "http://user:{0}@127.0.0.1:notaport",
        "http://user:{0}@:3128",
        "http://[user:{0}@",
    ],
)
@pytest.mark.parametrize("origin", ["argument", "environment"])
def test_s1_a_proxy_that_is_none_is_refused_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, origin: str
) -> None:
    url = url.format(SECRET)
    if origin == "environment":
        monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(FindingError) as caught:
        choose_route(HOST, url if origin == "argument" else None)
    assert caught.value.finding.code == "FETCH-PROXY"
    assert SECRET not in str(caught.value)
