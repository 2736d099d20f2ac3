from pathlib import Path

import pytest

from fixtures.bags import Episode
from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training.convert_options import Options, default_root, parse
from trossen_pi0_training.convert_plan import make_plan, validation_names


def _options(folder: Path, **changes: object) -> Options:
    return Options(**{"episodes": (folder,), "repo_id": "a/b", "root": folder / "out", **changes})  # pyright: ignore[reportArgumentType]


def _write(folder: Path, name: str, **changes: object) -> None:
    cameras = {"cameras": ("cam_high",), "seconds": 0.1}
    Episode(name, **{**cameras, **changes}).write(folder)  # pyright: ignore[reportArgumentType]


def test_outcomes_are_filtered_and_the_oldest_comes_first(tmp_path: Path) -> None:
    _write(tmp_path, "a", began_ns=1_300 * 10**15)
    _write(tmp_path, "b", began_ns=1_200 * 10**15, outcome="unknown")
    _write(tmp_path, "c", began_ns=1_100 * 10**15, outcome="failure")
    plan = make_plan(_options(tmp_path))
    assert [each.name for each in plan.chosen] == ["b", "a"]
    assert [(e.name, e.bad) for e in plan.skipped] == [("c", False)]
    assert plan.skipped[0].reason == "outcome failure, wanted are success, unknown"
    plan = make_plan(_options(tmp_path, include=("failure",)))
    assert [each.name for each in plan.chosen] == ["c"]


def test_unfinished_episode_is_bad_unless_wanted(tmp_path: Path) -> None:
    _write(tmp_path, "a", state="interrupted", outcome="unknown")
    plan = make_plan(_options(tmp_path))
    assert plan.chosen == ()
    assert plan.skipped[0].bad
    assert "unfinished (interrupted)" in plan.skipped[0].reason
    plan = make_plan(_options(tmp_path, include=("unknown", "interrupted")))
    assert [each.name for each in plan.chosen] == ["a"]


def test_second_episode_of_a_name_is_bad(tmp_path: Path) -> None:
    _write(tmp_path / "one", "a")
    _write(tmp_path / "two", "a")
    folders = (tmp_path / "one", tmp_path / "two", tmp_path / "one")
    plan = make_plan(_options(tmp_path, episodes=folders))
    assert len(plan.chosen) == 1
    assert [each.reason for each in plan.skipped] == [
        f"{tmp_path / 'one' / 'a'} holds an episode of the same name"
    ]


def test_damaged_record_is_bad(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    (tmp_path / "a" / "episode.json").write_text("{")
    plan = make_plan(_options(tmp_path))
    assert plan.skipped[0].bad
    assert "cannot read" in plan.skipped[0].reason


def test_folder_without_episodes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no episode"):
        make_plan(_options(tmp_path))


def test_validation_episodes_are_the_same_each_time() -> None:
    names = [f"episode_{i:03d}" for i in range(50)]
    kept = validation_names(names, 0.1, 0)
    assert len(kept) == 5
    assert kept == validation_names(list(reversed(names)), 0.1, 0)
    assert kept != validation_names(names, 0.1, 1)
    assert sorted(validation_names(names[:4], 0.25, 3)) == sorted(
        validation_names(names[:4], 0.25, 3)
    )


@pytest.mark.parametrize(
    ("count", "fraction", "wanted"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.9, 1), (10, 0.0, 0)]
)
def test_number_of_validation_episodes(count: int, fraction: float, wanted: int) -> None:
    names = [str(i) for i in range(count)]
    assert len(validation_names(names, fraction, 0)) == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 0}, r"fps must lie in 1\.\.256, got 0"),
        ({"version": "v1"}, r"format must be one of \['v3.0', 'v2.1'\], got 'v1'"),
        ({"include": ("good",)}, r"include must name some of .*got \['good'\]"),
        ({"val_fraction": 1.0}, r"val-fraction must lie in 0\.\.0\.9, got 1\.0"),
        ({"cameras": ("a", "a")}, "cameras must be named once each"),
        ({"repo_id": "../x"}, "repo-id must be NAME or OWNER/NAME"),
        ({"repo_id": "a/b/c"}, "repo-id must be NAME or OWNER/NAME"),
    ],
)
def test_options_are_checked(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        _options(tmp_path, **change)


def test_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_LEROBOT_HOME", "/data/lerobot")
    base = ["--episodes", "x", "y", "--repo-id", "lab/cube"]
    options = parse([*base, "--include", "success, failure", "--cameras", "cam_high"])
    assert options.root == Path("/data/lerobot/lab/cube")
    assert options.episodes == (Path("x"), Path("y"))
    assert (options.include, options.cameras) == (("success", "failure"), ("cam_high",))
    assert (options.version, options.writer) == ("v3.0", "lerobot")
    assert parse([*base, "--format", "v2.1"]).writer == "native"
    with pytest.raises(DatasetError, match=r"v2\.1 has --writer native"):
        parse([*base, "--format", "v2.1", "--writer", "lerobot"])


def test_root_follows_the_librarys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_LEROBOT_HOME", raising=False)
    monkeypatch.setenv("HF_HOME", "/hf")
    assert default_root("a/b") == Path("/hf/lerobot/a/b")
