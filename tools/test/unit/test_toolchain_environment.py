"""What `tools/run` sets, and which ROS 2 it is about."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain import environment, ros, workspace
from toolchain.layout import Layout
from toolchain.ros import RosInstallation
from toolchain.steps import StepFailedError
from toolchain.workspace import Package

TOOLS = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "a check out"
    (root / "tools").mkdir(parents=True)
    shutil.copy(TOOLS / "run", root / "tools" / "run")
    return Layout(root)


def add_package(layout: Layout, name: str, *files: str) -> Package:
    folder = layout.sources / name
    for file in ("package.xml", *files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"<package><name>{name}</name></package>", encoding="utf-8")
    return Package(name, folder)


def run_inside(
    layout: Layout, *command: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": os.environ["PATH"], **variables}
    run = str(layout.root / "tools" / "run")
    return subprocess.run([run, *command], env=env, capture_output=True, text=True, check=False)


def variables_inside(layout: Layout, **given: str) -> dict[str, str]:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    result = run_inside(layout, sys.executable, "-S", "-c", program, **given)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def ready(layout: Layout) -> Layout:
    packages = [add_package(layout, "arms", "setup.py"), add_package(layout, "messages")]
    text = environment.render(layout, ros.from_wheels(layout), packages, "3.12")
    layout.venv.mkdir()
    layout.env_file.write_text(text, encoding="utf-8")
    return layout


def test_search_paths_and_defaults(ready: Layout) -> None:
    env = variables_inside(ready)
    root = ready.root
    assert env["AMENT_PREFIX_PATH"] == f"{root}/ros2_ws/install:{root}/.venv"
    assert env["PYTHONPATH"] == (
        f"{root}/ros2_ws/build/arms:{root}/training"
        f":{root}/ros2_ws/install/lib/python3.12/site-packages"
    )
    assert env["LD_LIBRARY_PATH"] == f"{root}/ros2_ws/install/lib:{root}/.venv/lib"
    assert env["PATH"].startswith(f"{root}/.venv/bin:")
    assert env["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert env["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert (env["MUJOCO_GL"], env["LP_NUM_THREADS"]) == ("egl", "0")
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in env


def test_another_ros_does_not_leak_in_but_settings_are_kept(ready: Layout) -> None:
    env = variables_inside(
        ready,
        PYTHONPATH="/opt/ros/humble/python",
        AMENT_PREFIX_PATH="/opt/ros/humble",
        LD_LIBRARY_PATH="/cuda",
        MUJOCO_GL="osmesa",
        ROS_DOMAIN_ID="7",
    )
    assert "humble" not in env["PYTHONPATH"] + env["AMENT_PREFIX_PATH"]
    assert env["LD_LIBRARY_PATH"].endswith(":/cuda")
    assert (env["MUJOCO_GL"], env["ROS_DOMAIN_ID"]) == ("osmesa", "7")


def test_entering_twice_changes_nothing(ready: Layout) -> None:
    once = variables_inside(ready)
    twice = variables_inside(ready, **{k: v for k, v in once.items() if k != "_"})
    assert {**once, "_": ""} == {**twice, "_": ""}


def test_the_shipped_transport_profile_is_used_unless_one_is_set(ready: Layout) -> None:
    profile = ready.sources / environment.FASTDDS_PROFILE
    profile.parent.mkdir(parents=True)
    profile.write_text("<dds/>", encoding="utf-8")
    env = variables_inside(ready)
    assert env["FASTDDS_DEFAULT_PROFILES_FILE"] == str(profile)
    assert env["FASTRTPS_DEFAULT_PROFILES_FILE"] == str(profile)
    env = variables_inside(ready, FASTRTPS_DEFAULT_PROFILES_FILE="/mine.xml")
    assert env["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/mine.xml"
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in env


def test_run_passes_words_and_status_on(ready: Layout) -> None:
    program = "import sys; print(sys.argv[1:]); sys.exit(7)"
    result = run_inside(ready, sys.executable, "-S", "-c", program, "prompt:=a b", "$HOME", "'")
    assert result.stdout.strip() == str(["prompt:=a b", "$HOME", "'"])
    assert result.returncode == 7


def test_run_without_an_environment_says_what_to_do(layout: Layout) -> None:
    result = run_inside(layout, "true")
    assert result.returncode == 1
    assert "run 'make setup' first" in result.stderr


def test_a_sourced_ros_of_another_distribution_is_not_used(layout: Layout) -> None:
    found, note = ros.sourced(layout, {"ROS_DISTRO": "humble"})
    assert found is None
    assert note == "ROS 2 humble is sourced, but jazzy is needed: using wheels instead"


def test_a_sourced_ros_that_this_python_cannot_use(layout: Layout) -> None:
    (layout.root / "rclpy.py").write_text("raise ImportError('for another Python')")
    found, note = ros.sourced(layout, {"ROS_DISTRO": "jazzy", "PYTHONPATH": str(layout.root)})
    assert found is None
    assert note.endswith("cannot use it: ImportError: for another Python")


def test_a_sourced_ros_keeps_its_paths_without_this_checkouts(layout: Layout) -> None:
    opt = layout.root.parent / "opt"
    for module in ("numpy", "rclpy"):
        (opt / "python" / module).mkdir(parents=True)
        (opt / "python" / module / "__init__.py").write_text("__version__ = '1.26.4'")
    own = str(layout.install)
    environ = {
        "ROS_DISTRO": "jazzy",
        "PYTHONPATH": f"{own}/python:{opt}/python",
        "AMENT_PREFIX_PATH": f"{own}:{opt}",
        "LD_LIBRARY_PATH": f"{opt}/lib",
        "PATH": f"{own}/bin:{opt}/bin:/usr/bin",
    }
    found, _ = ros.sourced(layout, environ)
    assert found == RosInstallation(
        "jazzy", [opt], [opt / "python"], [opt / "lib"], [opt / "bin"], "1.26.4"
    )
    assert found is not None
    assert found.is_system
    assert RosInstallation.from_json(found.to_json()) == found
    assert ros.sourced(layout, {**environ, "TROSSEN_PI0_ENV": "x"}) == (None, "")


def test_repair_points_at_this_machine_and_spares_the_cache(layout: Layout, tmp_path: Path) -> None:
    site = layout.venv / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    numpy_include = site / "numpy" / "_core" / "include"
    numpy_include.mkdir(parents=True)
    (site / "ros_rcl.libs").mkdir()
    (site / "ros_rcl.libs" / "libyaml.so.2").touch()
    cached = tmp_path / "cached.cmake"
    builder = "/opt/python/cp312-cp312"
    old = (
        f'"{builder}/include/python3.12;{builder}/lib/python3.12/site-packages/numpy/_core/include"'
    )
    cached.write_text(old)
    exported = layout.venv / "share" / "m" / "cmake" / "mExport.cmake"
    exported.parent.mkdir(parents=True)
    exported.hardlink_to(cached)

    assert ros.repair_wheels(layout) == 2
    include = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert exported.read_text() == f'"{include};{numpy_include}"'
    assert cached.read_text() == old
    assert (layout.venv / "lib" / "libyaml.so.2").resolve().parent.name == "ros_rcl.libs"
    assert ros.repair_wheels(layout) == 0


@pytest.mark.parametrize(
    ("file", "is_built"),
    [
        ("arms/node.py", False),
        ("test/unit/test_x.py", False),
        ("config/new.yaml", True),
        ("launch/new.launch.py", True),
        ("msg/New.msg", True),
    ],
)
def test_a_new_file_is_built_where_it_matters(layout: Layout, file: str, is_built: bool) -> None:
    package = add_package(layout, "arms", "setup.py", "config/old.yaml")
    before = workspace.digest([package])
    add_package(layout, "arms", file)
    assert (workspace.digest([package]) != before) == is_built


@pytest.mark.parametrize(
    ("file", "is_built"), [("config/old.yaml", False), ("setup.py", True), ("msg/Old.msg", True)]
)
def test_a_changed_file_is_built_where_it_matters(
    layout: Layout, file: str, is_built: bool
) -> None:
    package = add_package(layout, "arms", "setup.py", "config/old.yaml", "msg/Old.msg")
    before = workspace.digest([package])
    (package.folder / file).write_text("changed")
    assert (workspace.digest([package]) != before) == is_built


@pytest.mark.parametrize(("text", "said"), [("<package>", "is not XML"), ("<a/>", "has no <name>")])
def test_a_bad_manifest_is_named(layout: Layout, text: str, said: str) -> None:
    package = add_package(layout, "arms")
    (package.folder / "package.xml").write_text(text)
    with pytest.raises(StepFailedError, match=f"arms/package.xml {said}"):
        workspace.find_packages(layout)


def test_substitutes_are_built_only_where_ros_comes_as_wheels(layout: Layout) -> None:
    own = add_package(layout, "arms")
    folder = layout.substitutes / "tf2_msgs"
    folder.mkdir(parents=True)
    (folder / "package.xml").write_text("<package><name>tf2_msgs</name></package>")
    assert workspace.find_packages(layout) == [own]
    both = [own, Package("tf2_msgs", folder)]
    assert workspace.find_packages(layout, substitutes=True) == both
