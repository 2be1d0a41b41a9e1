"""Short-lived credentials: the requests to a forge, and the reading of its responses."""
