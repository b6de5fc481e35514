"""Stands between a sensor under test and the actor, so that neither ever touches what is not the test's own.

The machine is shared: what others run in the laboratory may well look like a breach. A request goes on to the actor
only if its container or process is on the list that the test keeps; every answer is written to standard output with its
time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

from ansible_collections.rampart.ollama.plugins.module_utils.watch_protocol import Answer, Request, WatchError, call


def allowed(request: Request, names: set[str]) -> bool:
    """Whether the target of a request is the test's own: a container on the list, or a process that is or is in one."""
    if request.verb in ("container", "network"):
        return request.target["container"] in names
    if request.verb != "process":
        return False
    pid = request.target["pid"]
    with contextlib.suppress(OSError):
        inside = re.findall(r"[0-9a-f]{64}", Path(f"/proc/{pid}/cgroup").read_text())
        return str(pid) in names or any(item in names for item in inside)
    return False


def main() -> None:
    """Serve: fence.py SOCKET ACTOR LIST UID."""
    path, actor, listing, uid = sys.argv[1:5]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        os.chmod(path, 0o666)
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
        listener.listen(64)
        print(json.dumps({"ready": True}), flush=True)
        while True:
            connection, _address = listener.accept()
            with connection, contextlib.suppress(OSError, WatchError):
                request = Request.decode(connection.recv(65536))
                if allowed(request, set(json.loads(Path(listing).read_text()))):
                    answer = call(actor, request, 10)
                else:
                    answer = Answer("refused", "not the test's own")
                line = {"time": time.time(), "verb": request.verb, "target": request.target,
                        "code": request.finding.code, "subject": request.finding.subject,
                        "outcome": answer.outcome, "reason": answer.reason}  # fmt: skip
                print(json.dumps(line), flush=True)
                connection.sendall(answer.encode())


if __name__ == "__main__":
    main()
