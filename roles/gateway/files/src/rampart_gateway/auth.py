# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is asking: API keys as keyed hashes, and server-side session ids."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from .config import User
from .errors import RefusalError

# 32 random bytes in base64url without padding, behind a prefix that secret scanners can look for.
_KEY = re.compile(r"rmp_[A-Za-z0-9_-]{43}")


def keyed_hash(key: bytes, data: bytes) -> str:
    """``hmac-sha256:<hex>`` of ``data``. Keyed: a stolen list or log cannot be searched by guessing."""
    return "hmac-sha256:" + hmac.new(key, data, hashlib.sha256).hexdigest()


class KeyRing:
    """The users' key hashes. Keys themselves are never stored, logged or compared."""

    def __init__(self, hash_key: bytes, users: Sequence[User]) -> None:
        self._hash_key = hash_key
        self._users = [(user.key_hash.encode("ascii"), user) for user in users]

    def identify(self, authorization: Sequence[str]) -> User:
        """The user whose key is in the request's Authorization headers.

        Exactly one header is accepted: of two, a proxy and we could each believe another.
        Raises ``RefusalError`` GW-UNAUTHENTICATED.
        """
        if len(authorization) != 1:
            raise RefusalError("GW-UNAUTHENTICATED")
        scheme, _rest, key = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or not _KEY.fullmatch(key):
            raise RefusalError("GW-UNAUTHENTICATED")
        offered = keyed_hash(self._hash_key, key.encode("ascii")).encode("ascii")
        found: User | None = None
        for known, user in self._users:  # no early exit: the time must not tell which user came close
            if hmac.compare_digest(known, offered):
                found = user
        if found is None:
            raise RefusalError("GW-UNAUTHENTICATED")
        return found


class Sessions:
    """Session ids given by the gateway: a new one after ``idle`` seconds without a request of that user.

    A session id sent by the client would let a user scatter or borrow traces, so none is read.
    Bounded by the number of configured users.
    """

    def __init__(self, idle: float = 1800.0) -> None:
        self._idle = idle
        self._open: dict[str, tuple[str, float]] = {}

    def of(self, user_id: str, now: float) -> str:
        """The user's session id at ``now`` (monotonic seconds)."""
        session, last = self._open.get(user_id, ("", 0.0))
        if not session or now - last > self._idle:
            session = "sess_" + secrets.token_hex(8)
        self._open[user_id] = (session, now)
        return session
