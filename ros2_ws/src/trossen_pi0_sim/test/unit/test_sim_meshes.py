"""Decimated meshes and their cache."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trimesh
from trossen_arm_sim import ARM_MODEL_PATH

from trossen_pi0_sim.meshes import cache_folder, decimated

PACKAGED = Path(ARM_MODEL_PATH).parent / "link_5.stl"


def test_keeps_a_part_of_the_faces_and_the_shape(tmp_path: Path) -> None:
    made = decimated({"link_5": PACKAGED}, tmp_path / "new" / "folder")["link_5"]
    before, after = trimesh.load_mesh(PACKAGED), trimesh.load_mesh(made)
    assert len(after.faces) < 0.2 * len(before.faces)
    assert abs(after.bounds - before.bounds).max() < 0.001


def test_second_call_makes_nothing_new(tmp_path: Path) -> None:
    made = decimated({"link_5": PACKAGED}, tmp_path)["link_5"]
    written = made.stat().st_mtime_ns
    assert decimated({"link_5": PACKAGED}, tmp_path)["link_5"] == made
    assert made.stat().st_mtime_ns == written
    assert list(tmp_path.iterdir()) == [made]


def test_changed_source_gets_a_file_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "part.stl"
    source.write_bytes(PACKAGED.read_bytes())
    first = decimated({"part": source}, tmp_path / "cache")["part"]
    mesh = trimesh.load_mesh(PACKAGED)
    mesh.apply_scale(2.0)
    mesh.export(source)
    assert decimated({"part": source}, tmp_path / "cache")["part"] != first


def test_folder_that_cannot_be_written_is_said_and_the_packaged_mesh_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with caplog.at_level(logging.WARNING):
        assert decimated({"link_5": PACKAGED}, in_the_way / "meshes") == {"link_5": PACKAGED}
    assert len(caplog.records) == 1
    assert "set XDG_CACHE_HOME to a folder that can be written" in caplog.text


def test_cache_lies_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "trossen_pi0" / "meshes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "trossen_pi0" / "meshes"
