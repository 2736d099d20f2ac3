"""``python -m trossen_pi0_bringup.evaluation``: on the running stack."""

import sys

from trossen_pi0_bringup.evaluation.stack import main

sys.exit(main())
