"""Git LFS without I/O: requests, batches, locks, handles, and where objects may be stored."""
