# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the fetcher in its container: no network, no capabilities, no secrets, gone at the end (rows S2, I1,
I2).
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .engine import Engine, EngineError
from .fetcher import JOB_MAX_BYTES, JOB_VARIABLE, Job, answer_of
from .findings import Finding, FindingError, Severity, clean_text, refuse
from .seccomp import MAX_BYTES, named

CONTAINER = "rampart-fetcher"
LABEL = "rampart.component"
COMPONENT = "fetcher"
MEMORY_BYTES = 512 * 1024 * 1024
PIDS = 64
CPUS = 2
QUARANTINE_INSIDE = "/quarantine"
EGRESS_INSIDE = "/run/egress"
CA_INSIDE = "/run/rampart-ca.pem"
# Put in place by role confinement.
SECCOMP_PROFILE = Path("/etc/rampart/seccomp/rampart.json")
APPARMOR_PROFILE = "rampart-fetcher"
# What the container may take longer than the fetch itself: its start, its end, the engine.
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class FetcherSettings:
    """Where the fetcher's image, account, proxy socket and authorities are, and how long it may take (seconds).

    `seccomp` is the profile it runs under (where role confinement puts it); `sysfs` says whether the
    kernel has AppArmor.
    """

    image: str
    uid: int
    egress_socket: Path
    ca_bundle: Optional[Path]
    timeout: float
    seccomp: Path = SECCOMP_PROFILE
    sysfs: Path = Path("/sys")


def container_config(settings: FetcherSettings, job: Job, directory: Path) -> dict[str, Any]:
    """Return the engine's description of the fetcher's container for one job; `directory` is its part of
    quarantine. Raises FindingError (FETCH-CONFINEMENT) where its profiles are not there.
    """
    mounts = [
        _bind(directory, QUARANTINE_INSIDE, read_only=False),
        _bind(settings.egress_socket.parent, EGRESS_INSIDE, read_only=True),
    ]
    if settings.ca_bundle:
        mounts.append(_bind(settings.ca_bundle, CA_INSIDE, read_only=True))
    return {
        "Image": settings.image,
        "User": "{0}:{0}".format(settings.uid),
        "Env": ["{0}={1}".format(JOB_VARIABLE, job.as_json())],
        "Labels": {LABEL: COMPONENT},
        "Tty": False,
        "OpenStdin": False,
        "NetworkDisabled": True,
        "HostConfig": {
            "NetworkMode": "none",
            "IpcMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": security_options(settings),
            "Privileged": False,
            "Memory": MEMORY_BYTES,
            "MemorySwap": MEMORY_BYTES,
            "PidsLimit": PIDS,
            # The engine refuses more than the host has.
            "NanoCpus": min(CPUS, os.cpu_count() or 1) * 1_000_000_000,
            "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=16m"},  # noqa: S108 - the container's own, in memory
            # Mounts, not Binds: the engine would silently create a missing source of a bind.
            "Mounts": mounts,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        },
    }


def security_options(settings: FetcherSettings) -> list[str]:
    """Return the engine's security options of the fetcher. Raises FindingError (FETCH-CONFINEMENT).

    The seccomp profile has to be the collection's, byte for byte but for spacing; AppArmor's has to be loaded
    where the kernel has AppArmor.
    """
    profile = settings.seccomp
    try:
        with open(profile, encoding="ascii") as stream:
            text = stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        raise _unconfined(profile, "it cannot be read ({0})".format(type(error).__name__)) from error
    if named(text) != "rampart":
        raise _unconfined(profile, "it is not the seccomp profile of this collection")
    options = ["no-new-privileges:true", "seccomp={0}".format(text.strip())]
    if _first_line(settings.sysfs / "module/apparmor/parameters/enabled") == "Y":
        profiles = settings.sysfs / "kernel/security/apparmor/profiles"
        if "{0} (enforce)".format(APPARMOR_PROFILE) not in _lines(profiles):
            raise _unconfined(profiles, "AppArmor's profile {0} is not enforced".format(APPARMOR_PROFILE))
        options.append("apparmor={0}".format(APPARMOR_PROFILE))
    return options


def _unconfined(where: Path, reason: str) -> FindingError:
    remedy = "Run phase2_install.yml for this host (role confinement puts the profiles in place), then run again."
    return refuse("FETCH-CONFINEMENT", str(where), reason, remedy)


def _lines(path: Path) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(MAX_BYTES).splitlines()
    except OSError:
        return []


def _first_line(path: Path) -> str:
    return (_lines(path) or [""])[0].strip()


def _bind(source: Path, target: str, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}


def require_ready(engine: Engine, settings: FetcherSettings) -> None:
    """Refuse to begin without profiles, engine, image or proxy. Raises FindingError (FETCH-CONFINEMENT,
    FETCH-IMAGE-MISSING, ENGINE-DOWN, ...).
    """
    security_options(settings)
    if not _is_socket(settings.egress_socket):
        raise refuse(
            "FETCH-UNREACHABLE",
            str(settings.egress_socket),
            "the egress proxy's socket is not there",
            "Start the egress proxy and its relay (role egress_proxy), then run again.",
        )
    if settings.ca_bundle and not settings.ca_bundle.is_file():
        raise refuse(
            "FETCH-CA-BUNDLE",
            str(settings.ca_bundle),
            "the certificate authorities are not there",
            "Put the PEM file in place or leave ca_bundle out, then run again.",
        )
    try:
        image = engine.image_or_none(settings.image) if settings.image else None
    except EngineError as error:
        raise FindingError(error.as_finding()) from error
    if image is None:
        raise refuse(
            "FETCH-IMAGE-MISSING",
            settings.image or "(none named)",
            "the fetcher's image is not on this host",
            "Load the images (role images), then run again.",
        )


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def run_fetcher(engine: Engine, settings: FetcherSettings, job: Job, directory: Path) -> dict[str, Any]:
    """Run one job to its end; on return or error the container is gone. Return the fetcher's counts.

    Raises FindingError: the fetcher's own finding, FETCH-FAILED when it said none, FETCH-TIMEOUT, ENGINE-
    codes.
    """
    text = job.as_json()
    if len(text) > JOB_MAX_BYTES:
        raise refuse(
            "FETCH-JOB",
            job.repository,
            "the job of {0} blobs is too long to hand over".format(len(job.blobs)),
            "Publish this model from files instead: it has too many layers.",
        )
    try:
        remove_fetcher(engine)
        identity = engine.create_container(CONTAINER, container_config(settings, job, directory))
        try:
            engine.start_container(identity)
            status = _wait(engine, identity, settings)
            stdout, stderr = engine.logs(identity)
        finally:
            # Before anybody reads the quarantine: what wrote there must not run any more.
            engine.remove_container(identity)
    except EngineError as error:
        raise FindingError(error.as_finding("the fetcher's container")) from error
    answer = answer_of(stdout)
    if status == 0 and answer.get("ok") is True:
        return {key: answer[key] for key in ("bytes", "blobs", "cuts") if isinstance(answer.get(key), int)}
    raise FindingError(_finding_of(answer, status, stderr))


def _wait(engine: Engine, identity: str, settings: FetcherSettings) -> int:
    try:
        return engine.wait_container(identity, settings.timeout + GRACE_SECONDS)
    except EngineError as error:
        if not error.timed_out:
            raise
        raise refuse(
            "FETCH-TIMEOUT",
            "the fetcher's container",
            "it had not ended after {0:g} s and was removed".format(settings.timeout + GRACE_SECONDS),
            "Raise the timeout or use a faster line; what came so far is kept for the next run.",
        ) from error


def remove_fetcher(engine: Engine) -> None:
    """Remove the container a killed run left; one of this name that is not ours is refused. Raises
    EngineError.
    """
    left = engine.container_or_none(CONTAINER)
    if left is None:
        return
    labels = (left.get("Config") or {}).get("Labels") or {}
    if labels.get(LABEL) != COMPONENT:
        raise EngineError("ENGINE-ERROR", "a container that is not ours is called {0}".format(CONTAINER))
    engine.remove_container(CONTAINER)


def _finding_of(answer: dict[str, Any], status: int, stderr: str) -> Finding:
    """Return the fetcher's finding when it is one; its words are not trusted beyond that."""
    with contextlib.suppress(ValueError, AttributeError):
        finding = Finding.from_dict(answer["finding"]) if isinstance(answer.get("finding"), dict) else None
        if finding and finding.code.startswith("FETCH-"):
            return finding
    said = clean_text(stderr[-300:]) or "nothing"
    reason = "it ran out of memory or was killed" if status in (137, 143) else "it said: {0}".format(said)
    return Finding(
        "FETCH-FAILED",
        Severity.HIGH,
        "the fetcher's container",
        "status {0}; {1}".format(status, reason),
        "Check that the fetcher's image is the one of this collection, then run again.",
    )


def prepare_directory(quarantine: Path, name: str, uid: int) -> Path:
    """Return this job's directory in quarantine, the fetcher's alone. Raises OSError.

    What an earlier run left there is kept for resuming, unless it is no directory of the fetcher's.
    """
    directory = quarantine / name
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, uid, uid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return directory
