"""π0 and π0.5 in JAX/Flax (arXiv 2410.24164, 2504.16054).

Only ``config`` can be imported without JAX.
"""
