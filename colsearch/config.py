"""Settings of an index, fixed when it is created."""
