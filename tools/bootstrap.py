"""Makes the environment this repository runs in: `make setup` calls it.

Plain syntax here, so that an interpreter that is too old can still say so.
"""

import os
import sys

OLDEST = (3, 10)
NEWEST = (3, 13)


def check_interpreter():
    """Ends the program unless this interpreter is one that ROS 2 Jazzy and the lock files have."""
    version = sys.version_info[:2]
    if OLDEST <= version <= NEWEST:
        return
    sys.stderr.write(
        "setup: Python %d.%d to %d.%d is needed, but %s is Python %d.%d.\n"
        "       Name another one: make setup PYTHON=python3.12\n"
        % (OLDEST + NEWEST + (sys.executable,) + tuple(version))
    )
    sys.exit(2)


if __name__ == "__main__":
    check_interpreter()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from toolchain.setup import main

    sys.exit(main())
