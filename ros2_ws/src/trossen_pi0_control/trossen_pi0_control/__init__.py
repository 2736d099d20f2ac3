"""Owns the arms: driver adapter, control loop and arm controller node."""
