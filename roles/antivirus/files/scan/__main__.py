# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the scan: `python3 -I DIRECTORY SETTINGS`, this file in DIRECTORY and the package beside it."""

import sys

from rampart_scan.scan_job import main

sys.exit(main(sys.argv[1:]))
