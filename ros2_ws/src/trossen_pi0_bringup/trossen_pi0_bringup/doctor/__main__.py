"""``python -m trossen_pi0_bringup.doctor``."""

import sys

from trossen_pi0_bringup.doctor.command import main

if __name__ == "__main__":
    sys.exit(main())
