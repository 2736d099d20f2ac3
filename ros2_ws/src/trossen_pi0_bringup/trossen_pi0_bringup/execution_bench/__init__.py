"""Compares the modes of execution in the simulated kit, at added inference delays.

Headless and in virtual time: the executor, the policy's run and the sampler's guidance are those of
the suite; ROS, wall clock and threads are left out, so a seed repeats exactly. Run it with
``python -m trossen_pi0_bringup.execution_bench``.
"""
