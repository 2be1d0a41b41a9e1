"""Strict HTTP/1.1 for both sides: heads, bodies, framing. Does no I/O."""
