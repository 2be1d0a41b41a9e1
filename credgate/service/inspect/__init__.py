"""What must be found out about a push before its checksum is released."""
