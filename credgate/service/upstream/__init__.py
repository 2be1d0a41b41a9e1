"""Upstreams: endpoints, TLS, connections, the requests on them, and their failures."""
