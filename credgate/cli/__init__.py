"""The command line: one module for each command of ``credgate``, and ``credgate-dns-check``."""
