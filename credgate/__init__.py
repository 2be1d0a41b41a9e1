"""credgate: the gateway that lets coding agents use git without ever holding a credential."""

__version__ = "0.1.0"
