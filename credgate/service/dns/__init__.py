"""The DNS shells: UDP and TCP listeners, the upstream resolver, the service."""
