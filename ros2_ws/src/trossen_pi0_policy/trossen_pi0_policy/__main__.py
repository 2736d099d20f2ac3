"""``python -m trossen_pi0_policy`` is ``trossen-pi0``."""

from __future__ import annotations

import sys

from trossen_pi0_policy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
