"""Robot description: the kit as a URDF, made from the model that the simulation runs."""
