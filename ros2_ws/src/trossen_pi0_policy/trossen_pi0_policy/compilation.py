"""Keeps compiled programs on disk. Imports JAX once a folder is named."""

from __future__ import annotations

from pathlib import Path

from trossen_pi0_core.errors import ParameterError


def use_compilation_cache(folder: Path | None) -> None:
    """Makes JAX keep every compiled program of this process in a folder; None changes nothing.

    Args:
        folder: made if need be; several processes may share it.

    Raises:
        ParameterError: the folder cannot be made.
    """
    if folder is None:
        return
    folder = folder.expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(
            f"the compilation cache {folder} cannot be made: {error.strerror}"
        ) from error
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
