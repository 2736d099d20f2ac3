"""The Dockerfiles and the compose file against the code whose images they make.

Images are built by hand, since that needs packages by the gigabyte: docs/docker.md.
"""

from __future__ import annotations

import fnmatch
import re
import runpy
import shlex
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolchain import ros, setup
from toolchain.layout import Layout
from trossen_pi0_bringup import supervisor
from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, Arguments, parse_command_line
from trossen_pi0_bringup.nodes import node_specs
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_core.parameters import ArmControllerParameters, specs
from trossen_pi0_policy.cli.main import make_parser
from trossen_pi0_policy.serving.connection import HEALTH_PATH
from trossen_pi0_policy.serving.options import ServerOptions
from trossen_pi0_training.config.registry import find_config

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERIALS = " ".join(f"cam_{c}_serial:=1" for c in ("high", "low", "left_wrist", "right_wrist"))

# Packages of an installed ROS 2 that a container without a screen does not need.
NO_SCREEN = {"rviz2"}


def instructions(dockerfile: str) -> list[tuple[str, str, str]]:
    """Stage, instruction and the rest of the line, with continued lines joined."""
    lines = (DOCKER / dockerfile).read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    found, stage = [], ""
    for line in re.sub(r"\\\n", "", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.split()[-1]
        if word:
            found.append((stage, word, rest.strip()))
    return found


def interpolated(text: str, **given: str) -> str:
    """What compose makes of ``${NAME:-default}``."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: given.get(m[1]) or m[2], text)


def words(service: str, **given: str) -> list[str]:
    return shlex.split(interpolated(SERVICES[service]["command"], **given))


def seconds(duration: str) -> float:
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def image_of(service: str) -> tuple[str, str]:
    """Name of the Dockerfile, and of the stage."""
    build = SERVICES[service]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    name = Path(build["dockerfile"])
    assert name.parent.name == "docker"
    last = instructions(name.name)[-1][0]
    return name.name, interpolated(build.get("target", last))


def options_of(stages: list[tuple[str, str, str]], stage: str, word: str) -> list[str]:
    return [rest for s, w, rest in stages if (s, w) == (stage, word)]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the context: the last line that fits decides."""
    sent = True
    parents = ["/".join(path.split("/")[: n + 1]) for n in range(path.count("/") + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        patterns = [pattern, pattern.removeprefix("**/")]
        names = [p.rpartition("/")[2] for p in parents] if pattern.startswith("**/") else parents
        if any(fnmatch.fnmatchcase(name, p) for name in names for p in patterns):
            sent = line.startswith("!")
    return sent


# Dockerfiles --------------------------------------------------------------------------------------

DOCKERFILES = [path.name for path in sorted(DOCKER.glob("*.Dockerfile"))]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_bases_are_pinned_and_users_are_not_root(name: str) -> None:
    found = instructions(name)
    bases = [rest for _, word, rest in found if word == "ARG" and "_BASE=" in rest]
    assert all(re.search(r":[a-z0-9.-]*[0-9-][a-z0-9.-]*$", base) for base in bases)
    assert not any("latest" in base for base in bases)
    stages = {rest.split()[-1] for _, word, rest in found if word == "FROM"}
    froms = {rest.split()[0] for _, word, rest in found if word == "FROM"}
    assert froms <= stages | {f"${{{base.partition('=')[0]}}}" for base in bases}
    for service in SERVICES:
        dockerfile, stage = image_of(service)
        if dockerfile == name:
            assert stage in stages
            assert options_of(found, stage, "USER")[-1] == "${UID}"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_sources_of_copies_and_mounts_are_in_the_context(name: str) -> None:
    sources: list[str] = []
    for _, word, rest in instructions(name):
        if word == "COPY" and "--from" not in rest:
            sources += rest.split()[:-1]
        for mount in re.findall(r"--mount=(\S+)", rest):
            options = dict(option.partition("=")[::2] for option in mount.split(","))
            if options["type"] == "bind" and "from" not in options:
                sources.append(options["source"])
    assert sources
    for source in sources:
        files = [ROOT / source] if (ROOT / source).is_file() else (ROOT / source).rglob("*")
        assert any(is_sent(str(file.relative_to(ROOT))) for file in files if file.is_file()), source


def test_context_is_small_and_has_no_tests() -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    sent = [path for path in tracked.stdout.splitlines() if is_sent(path)]
    sizes = {path: (ROOT / path).stat().st_size for path in sent}
    policies = sum(size for path, size in sizes.items() if "/trossen_pi0_policy/shipped/" in path)
    assert 1e6 < policies < 16e6
    assert sum(sizes.values()) - policies < 6e6
    assert "tools/toolchain/setup.py" in sent
    assert "requirements/server.lock" in sent
    assert not [path for path in sent if "/test/" in path]
    others = (".git/config", ".venv/bin/python", "docker/api_key.txt", "ros2_ws/build/x", "runs/x")
    assert not [path for path in others if is_sent(path)]


def test_robot_image_installs_the_ros_packages_that_the_workspace_names() -> None:
    tags = ("build_depend", "buildtool_depend", "depend", "exec_depend")
    manifests = [ET.parse(path).getroot() for path in ROOT.glob("ros2_ws/src/*/package.xml")]
    own = {manifest.findtext("name") for manifest in manifests}
    elements = [element for manifest in manifests for tag in tags for element in manifest.iter(tag)]
    named = {element.text or "" for element in elements}
    needed = {n for n in named - own - NO_SCREEN if not n.startswith("python3-")}
    assert {"rclpy", "realsense2_camera"} <= needed
    argument = next(r for _, w, r in instructions("robot.Dockerfile") if "ROS_PACKAGES=" in r and w)
    installed = set(re.findall(r"ros-jazzy-[a-z0-9-]+", argument))
    assert {f"ros-{ros.DISTRO}-{n.replace('_', '-')}" for n in needed} <= installed


@pytest.mark.parametrize(
    ("lock", "packages"),
    [
        ("server", ("core", "policy")),
        ("train", ("core", "policy", "bringup", "control", "data", "sim")),
    ],
)
def test_gpu_images_install_what_their_wheels_require(
    monkeypatch: pytest.MonkeyPatch, lock: str, packages: tuple[str, ...]
) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    locked = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", text, re.M)}
    required: set[str] = set()

    def record(**given: Any) -> None:
        extras = given.get("extras_require", {}).get("pi0", [])
        required.update(given["install_requires"] + extras)

    monkeypatch.setattr("setuptools.setup", record)
    for package in packages:
        folder = ROOT / "ros2_ws" / "src" / f"trossen_pi0_{package}"
        monkeypatch.chdir(folder)
        runpy.run_path(str(folder / "setup.py"))
    if lock == "train":
        project = (ROOT / "training" / "pyproject.toml").read_text()
        table = re.search(r"^dependencies = \[(.*?)^\]", project, re.M | re.S)
        assert table is not None
        required.update(re.findall(r'"([\w-]+)"', table[1]))
    plain = {name.lower().replace("_", "-") for name in required}
    assert {n for n in plain if not n.startswith("trossen-pi0")} <= locked
    assert {"jax-cuda13-plugin", "nvidia-cudnn-cu13"} <= locked


def test_gpu_images_have_the_versions_that_are_tested_without_a_gpu() -> None:
    def versions(lock: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()
        for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.M):
            found.setdefault(name, set()).add(version)
        return found

    tested, server, train = versions("wheels"), versions("server"), versions("train")
    for name in ("jax", "flax", "numpy", "orbax-checkpoint", "websockets"):
        assert server[name] <= tested[name], name
        assert train[name] == server[name], name


def test_packages_are_installed_before_the_sources_are_there(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.requirements.mkdir()
    for name in ("uv", "wheels", "peers", "build"):
        layout.lock(name).touch()
    chosen = ros.from_wheels(layout)
    few, all_steps = (
        [step.title for step in setup._steps(layout, chosen, packages_only=only)]
        for only in (True, False)
    )
    assert few == all_steps[: len(few)]
    assert all_steps[len(few) :] == ["workspace", "self-check"]


# Compose ------------------------------------------------------------------------------------------


def test_every_service_has_a_profile_and_no_rights() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items()} == {
        name: [name] for name in ("sim", "robot", "server", "train")
    }
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True
        assert "privileged" not in service
    assert SERVICES["robot"]["restart"] == "no"
    assert SERVICES["robot"]["ulimits"] == {"rtprio": ArmControllerParameters().realtime_priority}


@pytest.mark.parametrize(
    ("service", "check"),
    [
        ("sim", ["run", "python", "-m", "trossen_pi0_bringup.healthcheck"]),
        ("robot", ["run", "python", "-m", "trossen_pi0_bringup.healthcheck"]),
        ("server", ["python", "-c"]),
    ],
)
def test_images_of_long_running_services_have_health_checks(service: str, check: list[str]) -> None:
    dockerfile, stage = image_of(service)
    (found,) = options_of(instructions(dockerfile), stage, "HEALTHCHECK")
    command = yaml.safe_load(found.partition("CMD ")[2])
    assert command[: len(check)] == check


def test_server_is_asked_where_it_listens() -> None:
    port = ServerOptions().port
    dockerfile, stage = image_of("server")
    found = instructions(dockerfile)
    assert options_of(found, stage, "EXPOSE") == [str(port)]
    (health,) = options_of(found, stage, "HEALTHCHECK")
    assert f"http://127.0.0.1:{port}{HEALTH_PATH}" in health
    (published,) = SERVICES["server"]["ports"]
    assert interpolated(published) == f"127.0.0.1:{port}:{port}"
    assert interpolated(published, SERVER_ADDRESS="10.0.0.7") == f"10.0.0.7:{port}:{port}"


def test_server_is_started_with_words_that_it_knows(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret")
    given = words("server", CHECKPOINT=str(tmp_path), SERVE_ARGS="--max-batch 4")
    assert COMPOSE["secrets"]["api_key"]["file"]
    given[given.index("/run/secrets/api_key")] = str(key)
    arguments = make_parser().parse_args(given)
    assert (arguments.host, arguments.port, arguments.max_batch) == ("0.0.0.0", 8000, 4)
    assert arguments.api_key_file == key


def test_simulation_is_started_with_words_that_it_knows() -> None:
    given = words("sim", SIM_ARGS="prompt:='grab the red cube' seed:=3")
    assert given[:3] == ["python", "-m", "trossen_pi0_bringup.sim"]
    arguments = Arguments(SIM_ARGUMENTS, parse_command_line(given[3:]))
    assert (arguments["prompt"], arguments["seed"]) == ("grab the red cube", 3)
    assert arguments["backend"] == "expert"  # the image has no JAX
    given = words("sim", SIM_ARGS="backend:=openpi")
    assert parse_command_line(given[3:])["backend"] == "openpi"


def test_robot_sends_nothing_to_the_arms_unless_told() -> None:
    def robot(**given: str) -> Arguments:
        command = words("robot", ROBOT_ARGS=SERIALS, **given)
        assert command[:5] == [
            *("ros2", "launch", "--noninteractive", "trossen_pi0_bringup", "bimanual.launch.py")
        ]
        assert (ROOT / "ros2_ws/src/trossen_pi0_bringup/launch" / command[4]).is_file()
        return Arguments(LAUNCH_ARGUMENTS, parse_command_line(command[5:]))

    assert robot()["mode"] == "test"
    assert robot(MODE="autonomous")["mode"] == "autonomous"
    assert robot(POLICY_HOST="gpu-server")["policy_host"] == "gpu-server"
    names = [node.name for node in node_specs(robot())]
    assert names[-4:] == ["arm_controller", "policy", "robot_description", "monitor"]
    assert len(names) == 8


def test_training_has_a_config_by_default() -> None:
    command = words("train")
    assert command[:3] == ["python", "-m", "trossen_pi0_training.train"]
    assert find_config(command[3]).name == "debug"


@pytest.mark.parametrize("service", ["sim", "robot"])
def test_stack_has_time_to_park_the_arms(service: str) -> None:
    assert SERVICES[service]["stop_signal"] == "SIGINT"
    text = f"record:=true shutdown_pose:=staged sim:={str(service == 'sim').lower()}"
    text += f" {SERIALS}" if service == "robot" else ""
    nodes = node_specs(Arguments(LAUNCH_ARGUMENTS, parse_command_line(text.split())))
    (timeout,) = (s for s in specs(ArmControllerParameters) if s.name == "shutdown_timeout_s")
    assert timeout.high is not None
    longest = timeout.high + sum(n.ending_s for n in nodes if n.name != "arm_controller")
    longest += sum(grace for _, grace in supervisor._ENDING)
    assert seconds(SERVICES[service]["stop_grace_period"]) > longest


def test_server_has_time_for_the_answers_under_way() -> None:
    grace = seconds(SERVICES["server"]["stop_grace_period"])
    assert grace > ServerOptions().shutdown_timeout_s + ServerOptions().send_timeout_s


def test_pictures_find_room_in_shared_memory() -> None:
    profile = (ROOT / "ros2_ws/src/trossen_pi0_bringup/config/fastdds.xml").read_text()
    segment = int(re.findall(r"<segment_size>(\d+)", profile)[0])
    # Simulation, controller, policy, recorder, the command, a health check, two to look at it.
    assert 8 * segment < 2**30
    assert SERVICES["sim"]["shm_size"] == "1gb"
    assert SERVICES["robot"]["ipc"] == SERVICES["robot"]["network_mode"] == "host"


def test_example_names_the_variables_of_the_compose_file() -> None:
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    named = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", (DOCKER / "example.env").read_text(), re.M)
    assert used == set(named)
    assert len(named) == len(set(named))
