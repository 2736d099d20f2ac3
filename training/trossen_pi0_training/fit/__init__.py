"""Fitting a model on devices: state, gradients, optimizer, sharding. No files, no data sets."""
