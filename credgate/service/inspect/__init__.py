"""The inspection of a push in the service: reading its pack in a thread, and asking the forge what it leaves open."""
