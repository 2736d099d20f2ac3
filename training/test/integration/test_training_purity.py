"""The training package needs neither ROS nor, to look at data, JAX or torch."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "trossen_pi0_training.report, trossen_pi0_training.report_page, "
    "trossen_pi0_training.offline.command, trossen_pi0_training.offline.page"
)
PROGRAM = f"""
import sys
import {MODULES}
found = sorted({{"rclpy", "sensor_msgs", "jax", "torch"}} & set(sys.modules))
sys.exit(f"imported: {{found}}" if found else 0)
"""


def test_looking_at_data_imports_neither_ros_nor_jax() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
