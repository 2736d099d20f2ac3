"""Sets each live knob of the running simulated kit by the parameter service, and measures it.

Nodes, driver, server protocol and clock are those of ``make sim``; only the policy behind the
server is made for this, so that its delay and its disagreement with itself are known. Run it with
``python -m trossen_pi0_bringup.knob_bench``.
"""
