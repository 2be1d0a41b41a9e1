"""HTTP/1.1 on both sides, strictly: heads, bodies, framing. Never touches a socket."""
