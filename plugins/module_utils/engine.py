# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of the Docker Engine API over its Unix socket, standard library only.

It speaks only what Rampart needs, bounds every answer it reads, and turns whatever goes wrong into an
EngineError whose text starts with a code: ENGINE-DOWN (no engine behind the socket), ENGINE-NOT-FOUND (404),
ENGINE-ERROR (the rest).
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import deque
from typing import Any, Optional
from urllib.parse import quote, urlencode

from .findings import Finding, Severity, clean_text

DEFAULT_SOCKET = "/var/run/docker.sock"
# The newest API this client was written against; an older engine (Debian 12: 1.41) lowers it, a newer one
# does not.
NEWEST_API = (1, 45)
ANSWER_MAX_BYTES = 32 * 1024 * 1024
LOGS_MAX_BYTES = 64 * 1024


class EngineError(Exception):
    """The engine could not be reached or refused; `code` is ENGINE-DOWN, ENGINE-NOT-FOUND or ENGINE-ERROR."""

    def __init__(self, code: str, text: str, status: Optional[int] = None, timed_out: bool = False) -> None:
        super().__init__("{0}: {1}".format(code, text))
        self.code = code
        self.status = status
        self.timed_out = timed_out

    def as_finding(self, subject: str = "Docker Engine") -> Finding:
        """Return the error as a finding about `subject`."""
        remedy = {
            "ENGINE-DOWN": "Start Docker (systemctl start docker) and run again.",
            "ENGINE-NOT-FOUND": "Create or load the named object, then run again.",
        }.get(self.code, "Read the engine's log (journalctl -u docker) and run again.")
        return Finding(self.code, Severity.HIGH, subject, str(self).split(": ", 1)[-1], remedy)


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket instead of a host and port."""

    def __init__(self, path: str, timeout: Optional[float]) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


class Engine:
    """The Docker Engine behind one Unix socket; the API version is negotiated at first use.

    `timeout` (seconds) bounds each socket operation. Every method raises EngineError, and nothing else, when
    the engine cannot be reached or refuses.
    """

    def __init__(self, socket_path: str = DEFAULT_SOCKET, timeout: float = 30.0) -> None:
        self.socket_path = socket_path
        self.timeout = timeout
        self._api: Optional[str] = None

    # --- looking
    # -------------------------------------------------------------------------------------------------
    @property
    def api_version(self) -> str:
        """The API version used, such as "1.41": the engine's own, capped by what this client knows."""
        if self._api is None:
            _status, headers, _body = self._exchange("GET", "/_ping", None, self.timeout)
            match = re.match(r"^(\d{1,3})\.(\d{1,3})$", headers.get("Api-Version") or "")
            if not match:
                raise EngineError(
                    "ENGINE-ERROR", "{0} does not answer like a Docker Engine".format(self.socket_path)
                )
            offered = (int(match.group(1)), int(match.group(2)))
            self._api = "{0}.{1}".format(*min(offered, NEWEST_API))
        return self._api

    def ping(self) -> str:
        """Return the negotiated API version, or raise EngineError when there is no engine."""
        return self.api_version

    def version(self) -> dict[str, Any]:
        """Return the engine's version document (`Version`, `ApiVersion`, `Os`, ...)."""
        return self._object("GET", "/version")

    def info(self) -> dict[str, Any]:
        """Return the engine's system-wide information (`docker info`)."""
        return self._object("GET", "/info")

    def containers(self, all_states: bool = True, labels: Optional[list[str]] = None) -> list[dict[str, Any]]:
        """Return the summaries of the containers, stopped ones too by default; `labels` narrow ("a" or
        "a=b").
        """
        query = {"all": "1" if all_states else "0"}
        if labels:
            query["filters"] = json.dumps({"label": labels})
        return self._list("GET", "/containers/json", query)

    def inspect_container(self, name: str) -> dict[str, Any]:
        """Return everything the engine knows of one container, by name or id."""
        return self._object("GET", "/containers/{0}/json".format(_part(name)))

    def container_or_none(self, name: str) -> Optional[dict[str, Any]]:
        """Return `inspect_container`, or None when there is no such container."""
        return self._or_none("/containers/{0}/json".format(_part(name)))

    def images(self) -> list[dict[str, Any]]:
        """Return the summaries of the images (`Id`, `RepoTags`, `RepoDigests`, ...)."""
        return self._list("GET", "/images/json")

    def inspect_image(self, name: str) -> dict[str, Any]:
        """Return everything the engine knows of one image, by name or id."""
        return self._object("GET", "/images/{0}/json".format(_part(name)))

    def image_or_none(self, name: str) -> Optional[dict[str, Any]]:
        """Return `inspect_image`, or None when there is no such image."""
        return self._or_none("/images/{0}/json".format(_part(name)))

    def networks(self) -> list[dict[str, Any]]:
        """Return the networks (without their members: see `inspect_network`)."""
        return self._list("GET", "/networks")

    def inspect_network(self, name: str) -> dict[str, Any]:
        """Return one network with its members under `Containers`."""
        return self._object("GET", "/networks/{0}".format(_part(name)))

    def logs(self, name: str, max_bytes: int = LOGS_MAX_BYTES, lines: int = 200) -> tuple[str, str]:
        """Return the last (stdout, stderr) of a container without a terminal, each at most `max_bytes`
        long.
        """
        path = "/containers/{0}/logs?{1}".format(
            _part(name), urlencode({"stdout": "1", "stderr": "1", "tail": str(lines)})
        )
        body = self._request("GET", path, None, self.timeout)
        return demultiplex(body, max_bytes)

    # --- acting
    # --------------------------------------------------------------------------------------------------
    def create_container(self, name: str, config: dict[str, Any]) -> str:
        """Create a container from an engine-API `config` (Image, Cmd, HostConfig ...) and return its id."""
        path = "/containers/create?{0}".format(urlencode({"name": name}))
        created = self._object("POST", path, config)
        identity = created.get("Id")
        if not isinstance(identity, str) or not identity:
            raise EngineError("ENGINE-ERROR", "the engine created {0} but named no id".format(name))
        return identity

    def start_container(self, name: str) -> None:
        """Start a container; one that already runs is left as it is."""
        self._request("POST", "/containers/{0}/start".format(_part(name)), None, self.timeout)

    def stop_container(self, name: str, grace_seconds: int = 10) -> None:
        """Stop a container (TERM, then KILL after `grace_seconds`); one that is stopped is left as it is."""
        path = "/containers/{0}/stop?t={1}".format(_part(name), int(grace_seconds))
        self._request("POST", path, None, self.timeout + grace_seconds)

    def wait_container(self, name: str, timeout: float) -> int:
        """Wait until the container has ended and return its exit status. Raises EngineError after `timeout`
        seconds.
        """
        path = "/containers/{0}/wait".format(_part(name))
        answer = _decode(self._request("POST", path, None, timeout))
        status = answer.get("StatusCode") if isinstance(answer, dict) else None
        if not isinstance(status, int):
            raise EngineError("ENGINE-ERROR", "the engine named no exit status for {0}".format(name))
        return status

    def remove_container(self, name: str, force: bool = True) -> bool:
        """Remove a container with its anonymous volumes; False when there was none."""
        query = urlencode({"force": "1" if force else "0", "v": "1"})
        try:
            self._request("DELETE", "/containers/{0}?{1}".format(_part(name), query), None, self.timeout)
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    # --- the wire
    # ------------------------------------------------------------------------------------------------
    def _or_none(self, path: str) -> Optional[dict[str, Any]]:
        try:
            return self._object("GET", path)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def _object(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        answer = _decode(self._request(method, path, body, self.timeout))
        if not isinstance(answer, dict):
            raise EngineError("ENGINE-ERROR", "{0} {1} answered no object".format(method, path))
        return answer

    def _list(self, method: str, path: str, query: Optional[dict[str, str]] = None) -> list[dict[str, Any]]:
        full = path if not query else "{0}?{1}".format(path, urlencode(query))
        answer = _decode(self._request(method, full, None, self.timeout))
        if answer is None:
            return []
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise EngineError("ENGINE-ERROR", "{0} {1} answered no list".format(method, path))
        return answer

    def _request(self, method: str, path: str, body: Optional[dict[str, Any]], timeout: float) -> bytes:
        versioned = "/v{0}{1}".format(self.api_version, path)
        status, _headers, answer = self._exchange(method, versioned, body, timeout)
        # 304: already started or already stopped, which is what was asked for.
        if status < 300 or status == 304:
            return answer
        message = _message(answer) or "status {0}".format(status)
        code = "ENGINE-NOT-FOUND" if status == 404 else "ENGINE-ERROR"
        raise EngineError(code, "{0} {1}: {2}".format(method, path.split("?")[0], message), status)

    def _exchange(
        self, method: str, path: str, body: Optional[dict[str, Any]], timeout: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = _UnixConnection(self.socket_path, timeout)
        payload = None if body is None else json.dumps(body).encode()
        headers = {"Host": "docker", "Connection": "close"}
        if payload is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=payload, headers=headers)
            response = connection.getresponse()
            answer = response.read(ANSWER_MAX_BYTES + 1)
        except socket.timeout as error:
            raise EngineError(
                "ENGINE-ERROR",
                "{0} did not answer within {1:g} s".format(self.socket_path, timeout),
                timed_out=True,
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise EngineError(
                "ENGINE-DOWN",
                "no Docker Engine answers on {0} ({1})".format(self.socket_path, clean_text(reason, 120)),
            ) from error
        finally:
            connection.close()
        if len(answer) > ANSWER_MAX_BYTES:
            raise EngineError("ENGINE-ERROR", "the answer to {0} is too long".format(path.split("?")[0]))
        return response.status, response.headers, answer


def demultiplex(stream: bytes, max_bytes: int = LOGS_MAX_BYTES) -> tuple[str, str]:
    """Split the engine's log stream into (stdout, stderr), each cut to its last `max_bytes` bytes.

    Frames are 8 bytes (stream number, three zeros, big-endian length) and their payload; a cut last frame is
    kept.
    """
    parts: dict[int, deque[bytes]] = {1: deque(), 2: deque()}
    sizes = {1: 0, 2: 0}
    position = 0
    while position + 8 <= len(stream):
        number = stream[position]
        length = int.from_bytes(stream[position + 4 : position + 8], "big")
        if number not in (0, 1, 2) or stream[position + 1 : position + 4] != b"\0\0\0":
            break
        payload = stream[position + 8 : position + 8 + length]
        position += 8 + length
        key = 2 if number == 2 else 1
        parts[key].append(payload)
        sizes[key] += len(payload)
        while sizes[key] - len(parts[key][0]) >= max_bytes:
            sizes[key] -= len(parts[key].popleft())
    texts = [b"".join(parts[key])[-max_bytes:].decode("utf-8", "replace") for key in (1, 2)]
    return texts[0], texts[1]


def _part(name: str) -> str:
    """Return a name or id quoted for a path; an empty one would address another route."""
    if not name:
        raise EngineError("ENGINE-ERROR", "an empty name addresses nothing")
    # "/" stays: image names have it ("rampart/relay:0.1.0") and the engine's router expects it unquoted.
    return quote(name, safe="/:@")


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EngineError("ENGINE-ERROR", "the engine answered something that is no JSON") from error


def _message(body: bytes) -> str:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return clean_text(body.decode("utf-8", "replace"), 300)
    return clean_text(data.get("message", ""), 300) if isinstance(data, dict) else ""
