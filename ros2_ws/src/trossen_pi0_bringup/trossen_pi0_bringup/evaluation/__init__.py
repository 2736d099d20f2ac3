"""Judges a policy by what it does: episodes in the simulated kit, in closed loop.

Two ways lead to the same figures, files and report: in virtual time, without ROS and with any
number of processes (``python -m trossen_pi0_training.evaluate``), and on the running stack in real
time (``python -m trossen_pi0_bringup.evaluation``).
"""
