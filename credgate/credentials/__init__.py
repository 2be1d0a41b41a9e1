"""Short-lived credentials: what a forge is asked for, and how its answer is read."""
