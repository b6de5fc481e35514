# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the fetcher: `python3 -m rampart_fetcher`."""

import sys

from .fetcher import main

sys.exit(main())
