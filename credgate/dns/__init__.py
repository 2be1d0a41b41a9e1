"""DNS decided without a socket: names, allowlist, policy, wire form, caches, limits."""
