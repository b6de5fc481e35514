# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What evidence and promotions are about: models, images and the collection, each a name with a sha256 (row S9).

Names: `model/<host>/<namespace>/<model>:<tag>` (the manifest), `image/<name>` (the config, which is a loaded
image's id), `image-archive/images.tar` (the archive that hosts load), `collection/rampart.ollama` (its files).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_digest, parse_name
from ansible_collections.rampart.ollama.plugins.plugin_utils import approvals, attestation, collection_digest

ARCHIVE = "image-archive/images.tar"
COLLECTION = f"collection/{collection_digest.NAME}"
LOCK_MAX_BYTES = 1024 * 1024
SERVING = ("relay", "ollama", "gateway")
"""The images whose containers run while a host serves; the fetcher's and the proxy's run only during a fetch."""


def model_subjects(models: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    """Return the subjects of (reference, manifest digest) pairs. Ollama compares names without regard to case,
    so they are written in lower case.

    Raises FindingError: NAME-*, DIGEST-INVALID, PROMOTION-DIGEST (one name, two digests).
    """
    found: dict[str, str] = {}
    for name, digest in models:
        _add(found, f"model/{parse_name(name).key}", _hex(digest))
    return found


def image_subjects(lock: Any, source: str) -> dict[str, str]:
    """Return the subjects of an images.json. Raises FindingError (IMAGES-NOT-BUILT) for what is none."""
    images = lock.get("images") if isinstance(lock, Mapping) else None
    archive = lock.get("archive_sha256") if isinstance(lock, Mapping) else None
    if not isinstance(images, Mapping) or not images or not attestation.is_sha256(archive):
        raise _no_images(source, "it names no images and no archive")
    found = {ARCHIVE: str(archive)}
    for name, image in images.items():
        try:
            found[f"image/{name}"] = _hex(image.get("id") if isinstance(image, Mapping) else None)
        except FindingError:
            raise _no_images(source, f"image {clean_text(name, 40)} has no id") from None
    return found


def _no_images(source: str, why: str) -> FindingError:
    return refuse(
        "IMAGES-NOT-BUILT",
        source,
        why,
        "Bring images.tar and images.json of the build host into images_artifacts_dir; build nothing anew.",
    )


def read_lock(path: str | Path) -> Any:
    """Return the content of an images.json. Raises FindingError (IMAGES-NOT-BUILT)."""
    if not Path(path).exists():
        raise _no_images(str(path), "it is not there")
    try:
        return attestation.strict_json(attestation.read_bytes(path), str(path), LOCK_MAX_BYTES)
    except FindingError as error:
        raise _no_images(str(path), error.finding.evidence) from None


def recorded(record: Mapping[str, Any], source: str) -> dict[str, str]:
    """Return the subjects of phase 2's evidence: what was verified on the host.

    Raises FindingError: EVIDENCE-UNBOUND (it names none), EVIDENCE-UNVERIFIED (a model was not whole, or not read).
    """
    bound = record.get("subjects")
    models = _recorded_models(bound, source)
    try:
        return {**models, **image_subjects(bound.get("images") if isinstance(bound, Mapping) else None, source)}
    except FindingError as error:
        raise unbound(source, error.finding.evidence) from None


def require_same(record: Mapping[str, Any], source: str, installed: Mapping[str, str]) -> None:
    """Compare what a later phase hardened or tested with what phase 2 had `installed`: the models that were served,
    and the images that its containers ran.

    Raises FindingError: EVIDENCE-UNBOUND, EVIDENCE-UNVERIFIED, EVIDENCE-MIXED.
    """
    bound = record.get("subjects")
    seen = _recorded_models(bound, source)
    running = bound.get("running") if isinstance(bound, Mapping) else None
    if not isinstance(running, Mapping) or not set(SERVING) <= set(running):
        raise unbound(source, f"it does not say which images ran as {', '.join(SERVING)}")
    try:
        seen.update({f"image/{name}": _hex(digest) for name, digest in running.items()})
    except FindingError as error:
        raise unbound(source, error.finding.evidence) from None
    due = {name for name in installed if name.startswith("model/")} | set(seen)
    for name in sorted(due):
        if installed.get(name) == seen.get(name):
            continue
        before, after = (part.get(name, "none")[:16] for part in (installed, seen))
        raise refuse(
            "EVIDENCE-MIXED",
            source,
            f"{name} was {before} in phase 2 and {after} here, so what was tested is not what would be signed",
            "Run the phases again from phase 2, without --tags, then sign.",
        )


def _recorded_models(bound: Any, source: str) -> dict[str, str]:
    models = bound.get("models") if isinstance(bound, Mapping) else None
    if not isinstance(models, list) or not models:
        raise unbound(source, "it does not say which models and images were there")
    pairs = []
    for model in models:
        # What was taken from a record of former readings was not read for this evidence.
        whole = isinstance(model, Mapping) and model.get("verified") is True and not model.get("not_reread_since")
        if not whole:
            shown = clean_text(model.get("name") if isinstance(model, Mapping) else model, 80)
            raise refuse(
                "EVIDENCE-UNVERIFIED",
                source,
                f"the model {shown} was not verified to its last byte",
                "Mend what ollama_model_verify says in mode full, then run the phases again from phase 2.",
            )
        pairs.append((model.get("name"), model.get("digest")))
    try:
        return model_subjects(pairs)
    except FindingError as error:
        raise unbound(source, error.finding.evidence) from None


def unbound(source: str, why: str) -> FindingError:
    """Return the refusal of evidence that does not say what it is evidence of."""
    return refuse(
        "EVIDENCE-UNBOUND", source, why, "Run the phases again with this version of the collection, then sign."
    )


def expected(models: Iterable[str], registry: str, environment: str, lock: Any, source: str) -> dict[str, str]:
    """Return what an environment is about to get: its approved models, the images, the collection that runs.

    `registry` is the text of models_registry.yaml, `lock` the content of images.json. Raises FindingError:
    APPROVAL-*, IMAGES-NOT-BUILT, COLLECTION-UNREADABLE.
    """
    known = approvals.load_registry(registry)
    entries = [approvals.find_approval(known, name, environment) for name in models]
    return {
        **model_subjects((entry["reference"], entry["digest"]) for entry in entries),
        **image_subjects(lock, source),
        COLLECTION: collection_digest.collection_digest(),
    }


def differences(wanted: Mapping[str, str], proven: Mapping[str, str], whose: str) -> list[Finding]:
    """Return one finding (PROMOTION-DIGEST) for each wanted subject that `proven` does not hold byte for byte."""
    findings = []
    for name in sorted(wanted):
        if proven.get(name) == wanted[name]:
            continue
        there = proven.get(name)
        seen = f"{whose} has {there[:16]}..." if there else f"{whose} does not name it"
        findings.append(
            Finding(
                "PROMOTION-DIGEST",
                Severity.CRITICAL,
                name,
                f"about to be used: {wanted[name][:16]}..., {seen}",
                "Use what was tested and signed, or have this very version tested, signed and promoted.",
            )
        )
    return findings


def merge(parts: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """Return the subjects of all hosts as one set, given (host, subjects).

    Raises FindingError (EVIDENCE-MIXED) when two hosts hold different bytes under one name.
    """
    found: dict[str, str] = {}
    for host, part in parts:
        for name, digest in part.items():
            if found.setdefault(name, digest) != digest:
                raise refuse(
                    "EVIDENCE-MIXED",
                    host,
                    f"it has another {name} than the hosts before it",
                    "Bring all hosts of the environment to the same version, test them all, then sign.",
                )
    return found


def _add(found: dict[str, str], name: str, digest: str) -> None:
    if found.setdefault(name, digest) != digest:
        raise refuse("PROMOTION-DIGEST", name, "two digests for one name", "Keep one approval for each reference.")


def _hex(digest: Any) -> str:
    return parse_digest(digest).partition(":")[2]
