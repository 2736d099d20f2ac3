"""One episode of the bench: a stand-in for a policy in the kit in virtual time."""

from __future__ import annotations

from trossen_pi0_bringup.execution_bench.cells import BASE_LATENCY_S, JITTER_S, MODES, Cell
from trossen_pi0_bringup.execution_bench.stand_in import KINDS, Sight, StandIn
from trossen_pi0_bringup.virtual.controller import ControllerSide
from trossen_pi0_bringup.virtual.episode import START_NS, play
from trossen_pi0_bringup.virtual.figures import Figures, figures_of
from trossen_pi0_bringup.virtual.policy import Latency, PolicySide
from trossen_pi0_core.contract import Observation
from trossen_pi0_core.joints import JointMap
from trossen_pi0_sim.expert import STAGED, HandoverExpert
from trossen_pi0_sim.world import World

_LONGEST_S = 60.0


class Bench:
    """Runs one episode after the other. Not thread-safe."""

    def __init__(self) -> None:
        self._expert = HandoverExpert()

    def run(self, cell: Cell, seed: int) -> Figures:
        """Runs one episode of a cell."""
        kind, mode = KINDS[cell.policy], MODES[cell.mode]
        world = World(seed, kind.variant, visuals=False)
        world.place_arms(STAGED)
        controller = ControllerSide(world, mode.controller(), START_NS)
        stand_in = StandIn(kind, self._expert)
        stand_in.begin(seed)
        policy = PolicySide(
            stand_in,
            mode.policy(),
            seed=seed,
            latency=Latency(BASE_LATENCY_S + cell.delay_ms / 1e3, JITTER_S),
            send=controller.submit,
            now_ns=START_NS,
        )

        def look(now_ns: int) -> tuple[Observation, Sight]:
            return _look(world, controller, now_ns)

        ending = play(world, controller, policy, look, _LONGEST_S)
        return figures_of(seed, ending, controller, policy.run.chunks)


def _look(world: World, controller: ControllerSide, now_ns: int) -> tuple[Observation, Sight]:
    """What joints, and for the stand-in the truth, say now."""
    truth = world.ground_truth
    stamp_ns, followed_s = controller.followed(now_ns)
    observation = Observation(now_ns, JointMap().urdf_names, world.snapshot.positions.copy(), {})
    sight = Sight(
        controller.command,
        stamp_ns,
        followed_s,
        truth.object_pose.copy(),
        truth.object_half_size,
    )
    return observation, sight
