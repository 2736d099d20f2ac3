"""Batches of examples out of data sets, made ready ahead by several processes. Without JAX."""
