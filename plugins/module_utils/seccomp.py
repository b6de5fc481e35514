# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seccomp profile of the containers: Docker's default minus a reviewed list, and how it is recognised (row I1).

Built on the controller from roles/confinement/files (docker_default.yml, seccomp_removals.yml). Hosts know
its digests by heart, so that a container under any other profile is told from one under ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Optional

# sha256 of each profile's canonical text. A unit test builds both anew and compares.
DIGESTS = {
    "rampart": "9c9850459d97ccc6965976dae6d8133be26ae1910bb5b65b42694c0a5ff26c73",
    "rampart-gpu": "17a404a349be7935fc273e15c74e515ee3d0d4c340ed54069664be8e3d529530",
}
MAX_BYTES = 1024 * 1024
ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
EPERM = 1


class ProfileError(ValueError):
    """The data does not describe a profile; the text says what is wrong with it."""


def build(default: dict[str, Any], reviewed: dict[str, Any], gpu: bool = False) -> dict[str, Any]:
    """Return the profile in the engine's form: `default` minus what `reviewed` removes.

    With `gpu` the removals that name a reason to keep them under `gpu` stay. Raises ProfileError for a removal
    without a reason, or of a call that the default does not allow.
    """
    allowed = set(default["allowed"])
    by_processor = {name: set(calls) for name, calls in default["architecture_only"].items()}
    known = allowed.union(*by_processor.values())
    for item in reviewed["removals"]:
        names = set(item["names"])
        if not str(item.get("reason") or "").strip():
            raise ProfileError("no reason is given for {0}".format(", ".join(sorted(names))))
        if names - known:
            raise ProfileError("the default does not allow {0}".format(", ".join(sorted(names - known))))
        if gpu and item.get("gpu"):
            continue
        allowed -= names
        for calls in by_processor.values():
            calls -= names
    conditional = reviewed["conditional"]
    for name, rule in conditional.items():
        if not str(rule.get("reason") or "").strip():
            raise ProfileError("no reason is given for {0}".format(name))
        allowed.discard(name)
    families, values = default["conditional"]["socket"]["families"], default["conditional"]["personality"]["values"]
    rules = [_rule(sorted(allowed))]
    for family, protocol in conditional["socket"]["allowed"]:
        if family not in families:
            raise ProfileError("the default does not allow sockets of family {0}".format(family))
        rules.append(_rule(["socket"], [_equals(0, family)] + ([] if protocol is None else [_equals(2, protocol)])))
    rules += [_rule(["socketpair"], [_equals(0, family)]) for family in conditional["socketpair"]["allowed"]]
    for value in conditional["personality"]["allowed"]:
        if value not in values:
            raise ProfileError("the default does not allow personality {0}".format(value))
        rules.append(_rule(["personality"], [_equals(0, value)]))
    mask = {"index": 0, "value": default["conditional"]["clone"]["mask"], "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    rules.append(_rule(["clone"], [mask]))
    rules.append(
        {"names": ["clone3"], "action": ERRNO, "errnoRet": default["conditional"]["clone3"]["errno"], "args": []}
    )
    for processor, calls in sorted(by_processor.items()):
        if calls:
            rules.append({**_rule(sorted(calls)), "includes": {"arches": [processor]}})
    # Neither second system call tables nor rules that a capability would open: see the reasons in `reviewed`.
    tables = [{"architecture": name, "subArchitectures": []} for name in default["architectures"]]
    return {"defaultAction": ERRNO, "defaultErrnoRet": EPERM, "archMap": tables, "syscalls": rules}


def _rule(names: list[str], args: Optional[list[dict[str, Any]]] = None) -> dict[str, Any]:
    return {"names": names, "action": ALLOW, "args": args or []}


def _equals(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}


def render(profile: dict[str, Any]) -> str:
    """Return a profile's canonical text: one line, keys sorted, no spaces."""
    return json.dumps(profile, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> Optional[str]:
    """Return the sha256 of a profile's canonical text, whatever its spacing was; None for what is no profile."""
    if len(text) > MAX_BYTES:
        return None
    try:
        profile = json.loads(text)
        canonical = render(profile)
    except (ValueError, RecursionError):
        return None
    return hashlib.sha256(canonical.encode()).hexdigest() if isinstance(profile, dict) else None


def named(text: str) -> Optional[str]:
    """Return the name of the profile that `text` is ("rampart", "rampart-gpu"), or None when it is none of ours."""
    found = digest(text)
    return next((name for name, known in DIGESTS.items() if found is not None and known == found), None)


def option(security_opt: Iterable[Any], key: str) -> Optional[str]:
    """Return the last value of an option among an engine's SecurityOpt ("seccomp=...", "apparmor:..."), or None."""
    value = None
    for item in security_opt:
        text = str(item)
        if text.startswith((key + "=", key + ":")):
            value = text[len(key) + 1 :]
    return value
