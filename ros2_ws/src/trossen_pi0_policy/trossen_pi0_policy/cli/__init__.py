"""The command ``trossen-pi0``; JAX is imported only once a command needs it."""
