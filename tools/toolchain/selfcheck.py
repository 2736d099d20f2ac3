"""Whether the environment works: imports what the nodes need, sends a message, draws a picture.

Run inside the environment with the names of the workspace's packages as arguments.
"""

from __future__ import annotations

import importlib
import os
import sys

_MODULES = (
    *("numpy", "scipy", "cv2", "av", "PIL", "matplotlib", "msgpack", "websockets", "trimesh"),
    *("mujoco", "trossen_arm", "trossen_arm_sim", "fast_simplification"),
    *("rclpy", "rclpy.lifecycle", "rclpy.action"),
    *("sensor_msgs.msg", "diagnostic_msgs.msg", "visualization_msgs.msg", "std_srvs.srv"),
)
_SCENE = "<mujoco><worldbody><light pos='0 0 3'/><geom size='.3'/></worldbody></mujoco>"


def check_imports(packages: list[str]) -> None:
    for name in (*_MODULES, *packages):
        module = importlib.import_module(name)
        _say(f"{name} {getattr(module, '__version__', '')}".rstrip())


def check_rendering() -> None:
    import mujoco

    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 48, 64) as renderer:
        renderer.update_scene(data)
        picture = renderer.render()
    if picture.max() == 0:
        raise SystemExit(f"MuJoCo renders only black with MUJOCO_GL={os.environ['MUJOCO_GL']}")
    _say("MuJoCo renders")


def check_middleware() -> None:
    import rclpy

    rclpy.init(args=["--ros-args", "--log-level", "warn"])
    try:
        rclpy.create_node("trossen_pi0_selfcheck").destroy_node()
    finally:
        rclpy.shutdown()
    _say(f"{os.environ['RMW_IMPLEMENTATION']} makes nodes")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    check_imports(sys.argv[1:])
    check_rendering()
    check_middleware()
