# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Started by rampart-order.service; a copy of module_utils/server_order.py, which does the work, stands beside this."""

import sys

from rampart_order.server_order import main

sys.exit(main(sys.argv[1:]))
