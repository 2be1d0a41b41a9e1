"""The metrics page's server."""
