"""Git on the wire: which request this is, pkt-lines, refusals in git's own words."""
