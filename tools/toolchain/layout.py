"""Where the toolchain reads and writes. All paths are absolute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The folders of one checkout, from its root."""

    root: Path

    @property
    def requirements(self) -> Path:
        """Requirement files, one `.lock` for each environment."""
        return self.root / "requirements"

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.venv / "bin" / "python"

    @property
    def env_file(self) -> Path:
        """The shell file that `tools/run` sources."""
        return self.venv / "env.sh"

    @property
    def state(self) -> Path:
        """Lock, logs and the stamp of the system check."""
        return self.root / ".toolchain"

    @property
    def logs(self) -> Path:
        """One log for each step."""
        return self.state / "logs"

    @property
    def workspace(self) -> Path:
        """The colcon workspace."""
        return self.root / "ros2_ws"

    @property
    def sources(self) -> Path:
        """The packages."""
        return self.workspace / "src"

    @property
    def substitutes(self) -> Path:
        """Packages that a ROS 2 installation has and that do not come as wheels."""
        return self.workspace / "substitutes"

    @property
    def training(self) -> Path:
        """Folder of the package that needs no ROS: conversion, training, evaluation, reports."""
        return self.root / "training"

    @property
    def build(self) -> Path:
        """The build folder of colcon."""
        return self.workspace / "build"

    @property
    def install(self) -> Path:
        """The merged installation."""
        return self.workspace / "install"

    @property
    def colcon_log(self) -> Path:
        """The logs of colcon."""
        return self.workspace / "log"

    def lock(self, name: str) -> Path:
        """The lock file `name`, e.g. `wheels`."""
        return self.requirements / f"{name}.lock"
