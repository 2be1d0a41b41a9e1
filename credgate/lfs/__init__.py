"""Git LFS: which request this is, what a batch may say, where objects may lie. Pure."""
