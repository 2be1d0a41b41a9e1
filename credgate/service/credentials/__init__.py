"""Where a forge's credentials come from, and when they are renewed."""
