# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a look asks of the engine, asked in one child process that has little time and little memory.

What answers behind the socket may be slow, endless or hostile. In the child none of that can hold up or fill
up the look: after its time it is killed, and all that is then known is that the engine did not answer.
"""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from .engine import EngineError
from .findings import clean_text
from .isolation_report import dig
from .nsenter import EnterError, in_child

SECONDS = 10.0
# What the child may take on top of what it has: an answer of 32 MiB and what JSON makes of it.
MEMORY_BYTES = 512 * 1024 * 1024
CONTAINERS_MAX = 3000
NETWORKS_MAX = 1000
LABEL = "rampart.component"
NONE_NETWORK = "none"


class Asked(Protocol):
    """The part of the engine's client that is needed here; each method raises EngineError."""

    def container_or_none(self, name: str) -> Optional[dict[str, Any]]:
        """Return what the engine knows of a container, or None."""

    def containers(self, all_states: bool = True) -> list[dict[str, Any]]:
        """Return the summaries of the containers."""

    def networks(self) -> list[dict[str, Any]]:
        """Return the networks."""

    def info(self) -> dict[str, Any]:
        """Return the system-wide information."""


@dataclass(frozen=True)
class Summary:
    """One running container in the engine's list: `networks` without the one called none."""

    identity: str
    name: str
    component: str
    image: str
    networks: tuple[str, ...]


@dataclass
class Answers:
    """What the engine answered. What it did not is in `reasons`, by the name of the field, and None.

    `inspected` holds the description of a container by name or id, None where there is none. `running` are the
    containers that run, `networks` {name, driver, internal} of each network, `swarm` the state of swarm mode.
    """

    inspected: dict[str, Optional[dict[str, Any]]] = field(default_factory=dict)
    running: Optional[list[Summary]] = None
    networks: Optional[list[dict[str, Any]]] = None
    swarm: Optional[str] = None
    reasons: dict[str, str] = field(default_factory=dict)

    def container_or_none(self, name: str) -> Optional[dict[str, Any]]:
        """Return what the engine knows of a container, or None. Raises EngineError where it did not say."""
        if name not in self.inspected:
            raise EngineError("ENGINE-DOWN", self.reasons.get("inspected", "it was not asked for {0}".format(name)))
        return self.inspected[name]

    def component(self, role: str, image: Optional[str] = None) -> Optional[dict[str, Any]]:
        """Return the one running container that carries a role's label, or else its image without any label.

        None when there is none, and when there are several: which of them it is nobody can tell.
        """
        listed = self.running or []
        found = [item for item in listed if item.component == role]
        if not found and image:
            found = [item for item in listed if not item.component and item.image == image]
        return self.inspected.get(found[0].identity) if len(found) == 1 else None

    def reason(self, name: str) -> str:
        """Return why a field is None."""
        return self.reasons.get(name, "the engine did not say")


def ask(
    engine: Asked, names: dict[str, str], images: Optional[dict[str, str]] = None, seconds: float = SECONDS
) -> Answers:
    """Ask the engine for the named containers {role: name}, for its list, networks and swarm. Never raises.

    A role whose name is not there is also looked for by its label, then by its image id in `images`; every
    running container with a component's label is described too (by its id).
    """
    try:
        answer = in_child(lambda: _talk(engine, names, images or {}), seconds)
    except (EnterError, OSError) as error:
        return _nothing("no whole answer of the engine: {0}".format(clean_text(error, 200)))
    try:
        return Answers(
            inspected=dict(answer["inspected"]),
            running=None if answer["running"] is None else [_summary(item) for item in answer["running"]],
            networks=answer["networks"],
            swarm=answer["swarm"],
            reasons={str(key): clean_text(value, 200) for key, value in answer["reasons"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return _nothing("the child's answer is odd: {0}".format(type(error).__name__))


def _nothing(reason: str) -> Answers:
    return Answers(reasons=dict.fromkeys(("inspected", "running", "networks", "swarm"), reason))


def _summary(item: dict[str, Any]) -> Summary:
    return Summary(item["identity"], item["name"], item["component"], item["image"], tuple(item["networks"]))


# --- in the child -----------------------------------------------------------------------------------------
def _talk(engine: Asked, names: dict[str, str], images: dict[str, str]) -> dict[str, Any]:
    """Return the fields of Answers as plain data; each question is one of its own."""
    _bound_memory()
    found: dict[str, Any] = {"inspected": {}, "running": None, "networks": None, "swarm": None, "reasons": {}}

    def attempt(name: str, question: Any) -> None:
        try:
            question()
        except MemoryError:
            found["reasons"][name] = "the engine's answer is too large"
        # A hostile answer may break anything, json's recursion too; the reason is all that is passed on.
        except Exception as error:  # noqa: BLE001
            found["reasons"][name] = str(error) or type(error).__name__

    def inspect() -> None:
        for name in names.values():
            found["inspected"][name] = engine.container_or_none(name)

    def listing() -> None:
        found["running"] = [_reduced(item) for item in engine.containers(all_states=False)[:CONTAINERS_MAX]]

    def others() -> None:
        for identity in _wanted(found, names, images):
            found["inspected"][identity] = engine.container_or_none(identity)

    def networks() -> None:
        found["networks"] = [
            {"name": _text(item.get("Name")), "driver": _text(item.get("Driver")),
             "internal": item.get("Internal") is True}
            for item in engine.networks()[:NETWORKS_MAX]
        ]  # fmt: skip

    def swarm() -> None:
        state = dig(engine.info(), "Swarm", "LocalNodeState")
        if not isinstance(state, str):
            raise EngineError("ENGINE-ERROR", "the engine does not name its swarm state")
        found["swarm"] = _text(state)

    attempt("inspected", inspect)
    if "inspected" in found["reasons"]:
        # An engine that does not answer one question is not kept waiting for with the next.
        found["inspected"].clear()
        found["reasons"].update(dict.fromkeys(("running", "networks", "swarm"), found["reasons"]["inspected"]))
        return found
    attempt("running", listing)
    if found["running"] is not None:
        attempt("inspected_others", others)
    attempt("networks", networks)
    attempt("swarm", swarm)
    return found


def _bound_memory() -> None:
    """Let this process grow by MEMORY_BYTES at most."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        used = int(stream.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = used + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _reduced(item: dict[str, Any]) -> dict[str, Any]:
    """Return what is needed of a container's summary, each in its type."""
    names, networks = item.get("Names"), dig(item, "NetworkSettings", "Networks")
    return {
        "identity": _text(item.get("Id")),
        "name": _text(names[0]).lstrip("/") if isinstance(names, list) and names else "",
        "component": _text(dig(item, "Labels", LABEL)),
        "image": _text(item.get("ImageID")),
        "networks": sorted(_text(name) for name in networks if name != NONE_NETWORK)
        if isinstance(networks, dict)
        else [],
    }


def _text(value: Any) -> str:
    return clean_text(value, 200) if isinstance(value, str) else ""


def _wanted(found: dict[str, Any], names: dict[str, str], images: dict[str, str]) -> list[str]:
    """Return the ids of the running containers that have to be described besides the named ones."""
    missing = {role for role, name in names.items() if found["inspected"].get(name) is None}
    wanted = [
        item["identity"]
        for item in found["running"]
        if re.match(r"^[0-9a-f]{12,64}\Z", item["identity"])
        and (
            item["component"] in missing
            or item["component"] in ("fetcher", "egress")
            or (not item["component"] and item["image"] in {images[role] for role in missing if role in images})
        )
    ]
    return wanted[:16]
