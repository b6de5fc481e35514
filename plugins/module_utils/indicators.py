# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Indicators of compromise in what a model says of itself: size, author, dates, digests, layers, names (row S7).

Everything looked at is written by whoever made the model, so an indicator is a reason to look closer, and none
is no proof of honesty. What is not told is a finding too, of low severity: it never counts as in order.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .findings import Check, Finding, FindingError, Severity, check, clean_text, refuse, summary
from .indicator_names import disguise, imitated
from .indicator_size import layers_of, size_indicators, untold
from .manifest import Manifest
from .names import ModelName, parse_name

CHECK_ID = "ioc-none"
DEFAULT_TOLERANCE = 0.10
# How many layers of a kind an honest model has at most; what is not listed is not counted.
_LAYERS_MOST = {"model": 1, "template": 1, "system": 1, "params": 1, "prompt": 1, "messages": 1, "license": 8}
_LAYERS_MOST.update({"adapter": 2, "projector": 2, "draft": 1, "embed": 1})
_DATE = re.compile(r"\A(\d{4}-\d{2}-\d{2})(?:[T ].*)?\Z", re.DOTALL)
_POLICY_KEYS = ("publishers", "authors", "families", "vouching_sources")


@dataclass(frozen=True)
class IocPolicy:
    """What is known and approved.

    `publishers`: `host/namespace` of approved publishers. `authors`: names of authors and organisations as models
    write them. `families`: {model's name: the day it was first published, or None}. `vouching_sources`:
    `host/namespace` whose models may lack an author, because the source answers for it.
    """

    publishers: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    families: Mapping[str, Optional[datetime.date]] = field(default_factory=dict)
    vouching_sources: tuple[str, ...] = ()


def policy_from(data: Any) -> IocPolicy:
    """Return the policy in a mapping (dates as YYYY-MM-DD). Raises FindingError (IOC-POLICY)."""
    if not isinstance(data, Mapping):
        raise _bad_policy("policy", "it is no mapping")
    for key in data:
        if key not in _POLICY_KEYS:
            raise _bad_policy("policy", "the key {0!r} is unknown".format(clean_text(key, 40)))
    lists: dict[str, tuple[str, ...]] = {}
    for key in ("publishers", "authors", "vouching_sources"):
        value = data.get(key) or []
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
            raise _bad_policy(key, "it is no list of texts")
        lists[key] = tuple(value)
    for key in ("publishers", "vouching_sources"):
        if any(item.strip("/").count("/") != 1 for item in lists[key]):
            raise _bad_policy(key, "an entry is no host/namespace")
    raw = data.get("families") or {}
    if not isinstance(raw, Mapping):
        raise _bad_policy("families", "it is no mapping of names to dates")
    families: dict[str, Optional[datetime.date]] = {}
    for name, day in raw.items():
        families[str(name).lower()] = date_of(day)
        if day is not None and families[str(name).lower()] is None:
            raise _bad_policy("families", "{0}: no date (YYYY-MM-DD)".format(clean_text(name, 40)))
    return IocPolicy(lists["publishers"], lists["authors"], families, lists["vouching_sources"])


def _bad_policy(subject: str, why: str) -> FindingError:
    return refuse("IOC-POLICY", subject, why, "Correct the policy of indicators (docs/indicators.md says how).")


def date_of(value: Any) -> Optional[datetime.date]:
    """Return the day of a date, or of a text that begins with YYYY-MM-DD, or None."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    match = _DATE.match(value) if isinstance(value, str) else None
    try:
        return datetime.date.fromisoformat(match.group(1)) if match else None
    except ValueError:
        return None


def indicators(
    entry: Mapping[str, Any],
    gguf_info: Mapping[str, Any],
    manifest: Optional[Manifest],
    now: datetime.date,
    tolerance: float = DEFAULT_TOLERANCE,
    policy: Optional[IocPolicy] = None,
    first: bool = False,
    published: Optional[datetime.date] = None,
) -> list[Finding]:
    """Return the indicators of compromise of one model, in a fixed order.

    `entry` is an approval, complete or not; `gguf_info` what `ollama_gguf_info` says of its weights, any key of
    which may be missing; `manifest` None takes the layers from the entry's blobs. `tolerance` is a share of the
    expected size (0.1 is 10 %). `first` is the first approval: there is no approved size to hold the size
    against yet. `published` is the registry's date of the tag, where one is known. Raises FindingError
    (IOC-POLICY) for a tolerance that is none.
    """
    if not 0 <= tolerance < 1:
        raise _bad_policy("tolerance", "it is no share from 0 up to 1")
    policy = policy or IocPolicy()
    subject = clean_text(entry.get("reference") or entry.get("name") or "model", 120)
    return [
        *size_indicators(subject, entry, gguf_info, manifest, tolerance, first),
        *_author(subject, entry, gguf_info, policy),
        *_dates(subject, entry, gguf_info, now, policy, published),
        *_digests(subject, entry),
        *_layers(subject, entry, manifest),
        *_names(subject, entry, gguf_info, policy),
    ]


def ioc_check(findings: Iterable[Finding]) -> Check:
    """Return the check `ioc-none`: failed by a finding of at least medium severity, unknown by a lesser one."""
    seen = [finding for finding in findings if finding.code.startswith("IOC-")]
    serious = [finding for finding in seen if finding.severity.rank >= Severity.MEDIUM.rank]
    if not seen:
        return check(CHECK_ID, True, "no indicator of compromise")
    return check(CHECK_ID, False if serious else None, summary(serious or seen, 3))


def _author(subject: str, entry: Mapping[str, Any], info: Mapping[str, Any], policy: IocPolicy) -> list[Finding]:
    told = [(key, clean_text(info[key], 120)) for key in ("author", "organization") if info.get(key)]
    listed = {" ".join(author.split()).casefold() for author in policy.authors}
    if not told:
        name = _parsed(entry)
        place = "{0}/{1}".format(name.host, name.namespace).casefold() if name else ""
        if place and place in {source.strip("/").casefold() for source in policy.vouching_sources}:
            return []
        return [untold("IOC-AUTHOR-UNKNOWN", subject, "who made it", ["author", "organization"])]
    found = []
    for key, value in told:
        if value.casefold() not in listed:
            remedy = "Find out who that is; add the name to the policy's authors if it is the publisher you approve."
            evidence = "{0} {1!r} is not among the approved ones".format(key, value)
            found.append(Finding("IOC-AUTHOR-UNLISTED", Severity.MEDIUM, subject, evidence, remedy))
    return found


def _parsed(entry: Mapping[str, Any]) -> Optional[ModelName]:
    try:
        return parse_name(entry.get("reference"))
    except FindingError:
        return None


def _dates(
    subject: str,
    entry: Mapping[str, Any],
    info: Mapping[str, Any],
    now: datetime.date,
    policy: IocPolicy,
    published: Optional[datetime.date],
) -> list[Finding]:
    verified = date_of(entry.get("verified_date"))
    if verified is None:
        return [untold("IOC-DATE-UNKNOWN", subject, "when it was verified", ["verified_date"])]
    found = []
    today = date_of(now) or now
    # East of here it is tomorrow already.
    if verified > today + datetime.timedelta(days=1):
        evidence = "verified on {0}, today is {1}".format(verified, today)
        found.append(_date_finding("IOC-DATE-FUTURE", subject, evidence))
    name = _parsed(entry)
    names = [name.model.lower() if name else "", str(info.get("architecture") or "").lower()]
    born = next((policy.families[key] for key in names if policy.families.get(key)), None)
    if born is not None and verified < born:
        evidence = "verified on {0}, its family was published on {1}".format(verified, born)
        found.append(_date_finding("IOC-DATE-BEFORE-FAMILY", subject, evidence))
    if published is not None and verified < published:
        evidence = "verified on {0}, the registry dates it {1}".format(verified, published)
        found.append(_date_finding("IOC-DATE-BEFORE-PUBLISHED", subject, evidence))
    made = date_of(info.get("date"))
    if made is not None and made > verified:
        evidence = "verified on {0}, its metadata say {1}".format(verified, made)
        found.append(_date_finding("IOC-DATE-AFTER-VERIFICATION", subject, evidence))
    return found


def _date_finding(code: str, subject: str, evidence: str) -> Finding:
    remedy = "One of the two dates is wrong: find out which, and verify the model again if it is the entry's."
    return Finding(code, Severity.MEDIUM, subject, evidence, remedy)


def _digests(subject: str, entry: Mapping[str, Any]) -> list[Finding]:
    blobs = entry.get("blobs")
    lacking = [] if entry.get("digest") else ["the manifest"]
    if not isinstance(blobs, (list, tuple)) or not blobs:
        lacking.append("any blob")
    elif not all(isinstance(blob, Mapping) and blob.get("digest") for blob in blobs):
        lacking.append("some blobs")
    if not lacking:
        return []
    remedy = "Complete the entry from the registry's manifest (docs/models_registry.md); nothing is fetched until then."
    evidence = "no digest of {0} is recorded".format(" nor of ".join(lacking))
    return [Finding("IOC-DIGEST-MISSING", Severity.HIGH, subject, evidence, remedy)]


def _layers(subject: str, entry: Mapping[str, Any], manifest: Optional[Manifest]) -> list[Finding]:
    kinds = [layer.kind for layer in manifest.layers] if manifest else [kind for _blob, kind in layers_of(entry)]
    if not kinds or "" in kinds:
        return [untold("IOC-LAYERS-UNKNOWN", subject, "its layers", ["media types"])]
    counts = Counter(kinds)
    odd = ["{0} of {1}".format(counts[kind], kind) for kind, most in _LAYERS_MOST.items() if counts[kind] > most]
    if not counts["model"] and not counts["tensor"]:
        odd.append("none with weights")
    if counts["model"] and counts["tensor"]:
        odd.append("weights in two formats")
    if not odd:
        return []
    remedy = "Look at each layer: a second template, prompt or weights may be the one that counts."
    return [Finding("IOC-LAYERS-ODD", Severity.MEDIUM, subject, "layers: " + ", ".join(odd), remedy)]


def _names(subject: str, entry: Mapping[str, Any], info: Mapping[str, Any], policy: IocPolicy) -> list[Finding]:
    found = []
    texts = [(key, entry.get(key)) for key in ("name", "reference", "source", "verified_by")]
    texts += [(key, info.get(key)) for key in ("name", "author", "organization")]
    for key, value in texts:
        why = disguise(value) if isinstance(value, str) else None
        if why:
            evidence = "{0} {1!r}: {2}".format(key, clean_text(value, 80), why)
            found.append(_imitation("IOC-NAME-DISGUISED", Severity.HIGH, subject, evidence))
    name = _parsed(entry)
    namespaces = {publisher.strip("/").casefold(): publisher.strip("/") for publisher in policy.publishers}
    pairs: list[tuple[str, str, Iterable[str]]] = []
    if name and "{0}/{1}".format(name.host, name.namespace).casefold() not in namespaces:
        pairs.append(("namespace", name.namespace, [publisher.partition("/")[2] for publisher in namespaces.values()]))
    if name:
        pairs.append(("model", name.model, policy.families))
    pairs += [(key, str(info[key]), policy.authors) for key in ("author", "organization") if info.get(key)]
    for key, value, known in pairs:
        likeness = imitated(value, known)
        if likeness:
            other, same = likeness
            evidence = "{0} {1!r} {2} {3!r}".format(
                key, clean_text(value, 80), "looks like" if same else "is one slip away from", other
            )
            code, severity = ("IOC-NAME-IMITATES", Severity.HIGH) if same else ("IOC-NAME-RESEMBLES", Severity.MEDIUM)
            found.append(_imitation(code, severity, subject, evidence))
        elif key == "namespace" and value.casefold() in {other.casefold() for other in known}:
            evidence = "the namespace {0!r} is an approved publisher's, but at another host".format(value)
            found.append(_imitation("IOC-NAME-RESEMBLES", Severity.MEDIUM, subject, evidence))
    return found


def _imitation(code: str, severity: Severity, subject: str, evidence: str) -> Finding:
    remedy = "Make sure who published it, at the publisher's own site; then correct the name or refuse the model."
    return Finding(code, severity, subject, evidence, remedy)
