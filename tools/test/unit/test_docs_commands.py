"""Every command in README and docs would do what it says: see doc_checks."""

from pathlib import Path

import pytest

from doc_checks.pages import PROGRAMS, Page, documentation
from doc_checks.programs import verify_arguments
from doc_checks.ros import verify_ros2
from doc_checks.shell import simple_commands
from doc_checks.verifying import UnknownProgramError, verify
from references.commands import command_arguments, launch_files

ROOT = Path(__file__).resolve().parents[3]
PAGES = documentation(ROOT)
BY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)


def problem_with(command):
    """What is wrong with a command; nothing if all is well."""
    try:
        verify(command.words, whole=command.in_block)
    except UnknownProgramError as error:
        if not command.needs:
            return (
                f"{command.place}\n    {error}: say what the block needs (doc_checks.pages.NEEDS)"
            )
    except (ValueError, SystemExit) as error:
        return f"{command.place}\n    {str(error)[-500:]}"
    return ""


@BY_PAGE
def test_commands_are_understood(page):
    problems = [problem for command in page.commands() if (problem := problem_with(command))]
    assert not problems, "\n".join(problems)


@BY_PAGE
def test_arguments_that_are_mentioned_exist(page):
    tables = [*launch_files(ROOT).values(), *command_arguments(ROOT).values()]
    problems = []
    for word, line in page.arguments():
        refusals = []
        for table in tables:
            try:
                verify_arguments(table, [word])
                break
            except ValueError as error:
                refusals.append(str(error))
        else:
            shortest = min(refusals, key=lambda text: ("unknown" in text, len(text)))
            problems.append(f"{page.path.name}:{line}: {word}: {shortest[:200]}")
    assert not problems, "\n".join(problems)


@BY_PAGE
def test_blocks_of_commands_are_named_as_such(page):
    unnamed = [
        block.line
        for block in page.blocks
        if not block.language and block.text.split(maxsplit=1)[:1] in [[p] for p in PROGRAMS]
    ]
    assert not unnamed, f"{page.path.name}: blocks of commands without `sh`: lines {unnamed}"


def test_there_are_commands_to_check():
    commands = [command for page in PAGES for command in page.commands()]
    assert len(commands) > 150
    assert {"make", "ros2", "trossen-pi0", "tools/run"} <= {c.words[0] for c in commands}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("make simulate", "no target 'simulate'"),
        ("make sim ARG='seed:=1'", "no variable 'ARG'"),
        ("make sim seed:=1", "belongs into ARGS"),
        ("make sim ARGS='sede:=1'", "did you mean 'seed'"),
        ("make sim ARGS='seed:=-1'", "lies outside"),
        ("make train CONFIG=debug EXP=try ARGS='--batch-sizes 3'", "batch-sizes"),
        ("make train CONFIG=debugg EXP=try", "did you mean 'debug'"),
        ("make convert EPISODES=episodes REPO_ID=a/b ARGS='--format v4'", "invalid choice: 'v4'"),
        ("trossen-pi0 serve --checkpont DIR", "--checkpoint"),
        ("tools/run python -m trossen_pi0_training.nothing", "no module"),
        ("pip install ./ros2_ws/src/trossen_pi0_core[pi1]", "no extra 'pi1'"),
        ("ros2 launch trossen_pi0_bringup bimanual.launch.py simu:=false", "did you mean 'sim'"),
        ("ros2 launch trossen_pi0_bringup three_arms.launch.py", "no launch file"),
        ("ros2 param set /policy execution sync", "not one of"),
        ("ros2 param set /policy backend pi0", "fixed while"),
        ("ros2 param set /policies execution rtc", "no node /policies"),
        ("ros2 param describe /policy prompts", "no parameter 'prompts'"),
        ("ros2 topic echo /policy/state", "no topic '/policy/state'"),
        ("ros2 topic echo /policy/status --field stat", "no field 'stat'"),
        ("ros2 topic echo /policy/status --fields state", "option --fields"),
        ("ros2 service call /policy/stop std_srvs/srv/Empty", "std_srvs/srv/Trigger, not"),
        ("ros2 service call /sim/reset trossen_pi0_msgs/srv/ResetSim '{seeds: 1}'", "no field"),
        ("ros2 service call /sim/reset trossen_pi0_msgs/srv/ResetSim '{seed: a}'", "'seed'"),
        ("ros2 action send_goal /policy/go trossen_pi0_msgs/action/RunPolicy '{}'", "no action"),
        ("ros2 run trossen_pi0_data recorder", "no executable recorder"),
        ("ros2 run trossen_pi0_data recorder_node --ros-args -p disk_mb:=1", "no parameter"),
        ("ros2 lifecycle set /arm_controller start", "'start' is none of"),
        ("ros2 fly", "ros2 fly is not known"),
        ("cd nowhere", "no folder"),
        ("source setup.bash", "neither ROS 2 Jazzy"),
    ],
)
def test_what_would_not_work_is_refused(command, message):
    (words,) = simple_commands(command)
    with pytest.raises((ValueError, SystemExit)) as refusal:
        verify(words)
    assert message in str(refusal.value).replace("\n", " ")


def test_a_program_that_nobody_knows_needs_a_marker(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("```sh\nrm -r build\n```\n\n<!-- needs: network -->\n```sh\napt update\n```\n")
    bare, marked = Page(path).commands()
    assert "say what the block needs" in problem_with(bare)
    assert problem_with(marked) == ""
    path.write_text("<!-- needs: luck -->\n```sh\napt update\n```\n")
    with pytest.raises(ValueError, match="luck"):
        Page(path)


def test_scripts_are_split_as_a_shell_would():
    script = "A='x y'\nFOO=1 make run ARGS=\"$A\" \\\n  N=2  # why\ncd there && make && ./x > y"
    assert list(simple_commands(script)) == [
        ["A=x y"],
        ["make", "run", "ARGS=x y", "N=2"],
        ["cd", "there"],
        ["make"],
        ["./x"],
    ]


def test_nested_fields_of_goals_are_checked():
    verify_ros2(["topic", "pub", "/joint_states", "sensor_msgs/msg/JointState", "{position: [1]}"])
    words = ["topic", "pub", "/joint_states", "sensor_msgs/msg/JointState"]
    with pytest.raises(ValueError, match="no field 'stamped'"):
        verify_ros2([*words, "{header: {stamped: 1}}"])
