# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that becomes an HTTP answer."""

from __future__ import annotations

import os


class ApiError(Exception):
    """An answer other than 200: `status` is the HTTP status, the text goes to the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def os_error_text(operation: str, error: OSError) -> str:
    """Name a failed file operation as Go does: `remove /path: read-only file system`."""
    return f"{operation} {error.filename}: {os.strerror(error.errno or 0).lower()}"
