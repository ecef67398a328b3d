"""Licensed checkpoints on this machine: which there are, whether they are what they should be, and how they load."""
