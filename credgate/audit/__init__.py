"""The audit log: events, their JSON lines, the chain of lines, and the file."""
