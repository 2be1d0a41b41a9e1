"""credgate run: one command with a session of its own."""
