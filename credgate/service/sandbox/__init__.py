"""The sandbox side of the relay: connections, exchanges and the listener."""
