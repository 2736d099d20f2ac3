"""The check that parameters name a sound joint map."""

from __future__ import annotations

from trossen_pi0_core.errors import JointError, ParameterError


def check_joint_map(
    params: object, name: str = "joint_map", prefixes: str = "urdf_prefixes"
) -> None:
    """Raises ParameterError where arms and prefixes make no joint map.

    Args:
        params: made by ``parameters``.
        name: of the property that makes the map.
        prefixes: the parameter with the arms' prefixes.
    """
    try:
        getattr(params, name)
    except JointError as error:
        raise ParameterError(f"arms and {prefixes}: {error}") from error
