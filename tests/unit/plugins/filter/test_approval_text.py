# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: what goes along in a bundle is the entry as people wrote it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.filter.approval_text import FilterModule

pytestmark = pytest.mark.row("S2")
take = FilterModule().filters()["approval_text"]


@pytest.fixture
def entry(model: Callable[..., Any]) -> dict[str, Any]:
    made: dict[str, Any] = model("registry.ollama.ai/library/test:1", b"w").entry(environments=["dev"])
    return made


def block(entry: dict[str, Any], comment: str = "") -> str:
    lines = yaml.safe_dump(entry, sort_keys=False).splitlines()
    return "\n".join(["- {0}{1}".format(lines[0], comment), *("  " + line for line in lines[1:])]) + "\n"


@pytest.mark.parametrize("indent", ["", "  ", "      "])
@pytest.mark.parametrize("place", [0, 1])
def test_s2_the_text_is_as_it_was_written(entry: dict[str, Any], indent: str, place: int) -> None:
    wanted = block(entry, "  # looked at twice")
    other = block({**entry, "name": "other", "reference": "registry.ollama.ai/library/other:1"})
    items = [wanted, other] if place == 0 else [other, wanted]
    text = "# approvals\nmodels:\n" + "\n  # what follows is another one\n".join(
        "".join(indent + line + "\n" for line in item.splitlines()) for item in items
    )
    assert take(text + "\n# the end\n", "test:1", "dev") == wanted


def test_s2_an_entry_in_flow_style_is_taken_too(entry: dict[str, Any]) -> None:
    flow = yaml.safe_dump(entry, default_flow_style=True, width=100_000).strip()
    text = "models: [{0}, {1}]\n".format(flow, flow.replace("test:1", "other:1"))
    got = take(text, "test:1", "dev")
    assert got == "- {0}\n".format(flow)
    assert yaml.safe_load(got) == [entry]


@pytest.mark.parametrize(
    ("name", "environment", "code"),
    [
        ("other:1", "dev", "APPROVAL-MISSING"),
        ("test:1", "prod", "APPROVAL-MISSING"),
        ("test:1", "x", "APPROVAL-INVALID"),
    ],
)
def test_s2_what_is_not_approved_has_no_text(entry: dict[str, Any], name: str, environment: str, code: str) -> None:
    with pytest.raises(AnsibleFilterError, match=code):
        take("models:\n" + block(entry), name, environment)


@pytest.mark.parametrize("text", ["", "models: 5", "models: [", None, {"models": []}, "models: &a []"])
def test_s2_what_is_no_registry_is_refused(text: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="APPROVAL-"):
        take(text, "test:1", "dev")
