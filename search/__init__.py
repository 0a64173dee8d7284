"""Search space, derivation of subnets from a base, and the study that finds the best one."""
