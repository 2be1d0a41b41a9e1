"""Git LFS exchanges: batches, locks and objects."""
