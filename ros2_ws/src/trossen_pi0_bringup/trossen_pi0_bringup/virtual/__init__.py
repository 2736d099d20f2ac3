"""The running kit in virtual time: what policy node, arm controller and driver do to the simulated
world, without nodes, without wall clock, and repeatable to the bit.
"""
