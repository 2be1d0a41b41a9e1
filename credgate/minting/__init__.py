"""What is asked of a forge's API to get a short-lived credential, and what its answers mean."""
