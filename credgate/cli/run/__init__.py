"""``credgate run``: run a command with a session of its own, with git configured to use the gateway."""
