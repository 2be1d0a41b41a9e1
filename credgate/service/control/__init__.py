"""The control API: sessions made, listed and revoked over a UNIX socket, by the host only."""
