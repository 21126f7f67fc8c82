"""`python -m fieldwork` is `fieldwork`."""

from __future__ import annotations

import sys

from fieldwork.cli import main

sys.exit(main())
