"""What people type: commands beside the service. No Twisted here."""
