"""Decimated copies of the arm's meshes, for software rendering.

The packaged meshes have 89,000 faces for two arms; a tenth of them looks the same at 640x480 and
renders twice as fast without a GPU. Meshes are visual only: the physics never sees them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import numpy as np

_log = logging.getLogger(__name__)

KEPT_FACES = 0.1
"""Part of the faces that is kept [1]."""

_MIN_FACES = 400  # smaller meshes are cheap as they are and lose their shape
_MILLIMETRES = 1000.0  # the simplifier's tolerances suit parts with sizes around 100
_FORMAT = "1"  # changes whenever the same source would give another file


def cache_folder() -> Path:
    """Where decimated meshes are kept: ``$XDG_CACHE_HOME/trossen_pi0/meshes``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "trossen_pi0" / "meshes"


def decimated(sources: dict[str, Path], folder: Path | None = None) -> dict[str, Path]:
    """Files to load instead of the given meshes.

    Args:
        sources: mesh name -> STL file as packaged.
        folder: cache folder; ``cache_folder()`` if not given. It is made when it is missing.

    Returns:
        Mesh name -> decimated STL file. When the cache cannot be written, the sources themselves
        and one warning in the log: pictures then look the same and take about twice the time.
    """
    folder = folder or cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {name: _cached(source, folder) for name, source in sources.items()}
    except OSError as error:
        _log.warning(
            "decimated meshes cannot be kept in %s (%s): the packaged ones are used and rendering "
            "takes about twice the time; set XDG_CACHE_HOME to a folder that can be written",
            folder,
            error,
        )
        return dict(sources)


def _cached(source: Path, folder: Path) -> Path:
    content = source.read_bytes()
    key = hashlib.sha256(f"{_FORMAT} {KEPT_FACES} ".encode() + content).hexdigest()[:16]
    target = folder / f"{source.stem}-{key}.stl"
    if not target.exists():
        _write_atomically(target, _decimate(source))
    return target


def _decimate(source: Path) -> bytes:
    # Here, since they take over a second to load and what they make is there but once.
    import fast_simplification
    import trimesh
    from trimesh.exchange.stl import export_stl

    mesh = trimesh.load_mesh(source)
    if len(mesh.faces) > _MIN_FACES:
        simplified = fast_simplification.simplify(
            np.asarray(mesh.vertices, dtype=np.float64) * _MILLIMETRES,
            np.asarray(mesh.faces, dtype=np.int32),
            target_count=max(_MIN_FACES, int(len(mesh.faces) * KEPT_FACES)),
        )
        mesh = trimesh.Trimesh(simplified[0] / _MILLIMETRES, simplified[1])
    return export_stl(mesh)


def _write_atomically(target: Path, content: bytes) -> None:
    """Writes beside the target and renames: nobody ever meets half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.stem)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
