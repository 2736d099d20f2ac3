from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from toolchain import lerobot_env
from toolchain.layout import Layout


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would be run; making the environment makes its interpreter."""
    done: list[list[str]] = []

    def run(command: Sequence[str | Path], _log: Path, _env: Mapping[str, str]) -> None:
        words = [str(word) for word in command]
        done.append(words)
        if words[1:3] == ["-m", "venv"]:
            python = Path(words[3]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()

    def environ(_python: Path, given: Mapping[str, str]) -> dict[str, str]:
        return dict(given)

    monkeypatch.setattr(lerobot_env, "run_logged", run)
    monkeypatch.setattr(lerobot_env, "uv_environ", environ)
    return done


def _layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.requirements.mkdir()
    for version in lerobot_env.FORMATS:
        layout.lock(f"lerobot-{version}").write_text("lerobot==0.1", encoding="utf-8")
    return layout


def test_environment_is_made_of_its_lock_file_once(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    layout = _layout(tmp_path)
    lerobot_env.make(layout, "v2.1")
    assert commands[0][1:] == ["-m", "venv", str(tmp_path / ".venv-lerobot-v2.1")]
    assert commands[-1][-1] == str(tmp_path / "requirements" / "lerobot-v2.1.lock")
    assert "--require-hashes" in commands[-1]
    count = len(commands)
    lerobot_env.make(layout, "v2.1")
    assert len(commands) == count


def test_changed_lock_file_makes_it_anew(tmp_path: Path, commands: list[list[str]]) -> None:
    layout = _layout(tmp_path)
    lerobot_env.make(layout, "v3.0")
    old = tmp_path / ".venv-lerobot-v3.0" / "old"
    old.touch()
    layout.lock("lerobot-v3.0").write_text("lerobot==0.2", encoding="utf-8")
    lerobot_env.make(layout, "v3.0")
    assert not old.exists()
    assert len([words for words in commands if words[1:3] == ["-m", "venv"]]) == 2
