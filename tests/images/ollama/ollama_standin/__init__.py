# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the Ollama server: its HTTP API and store, with llama.cpp's llama-server as the engine.

For laboratories where the image `ollama/ollama` cannot be pulled. Not for production.
"""

from __future__ import annotations

# The version of the server it stands in for; the build metadata says that it is not that server.
VERSION = "0.32.10+standin"
