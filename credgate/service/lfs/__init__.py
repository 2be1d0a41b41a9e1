"""The shell of LFS: it asks forges and storages, and carries objects."""
