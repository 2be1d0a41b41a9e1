"""Minting, carried out: calls to forges' APIs, what comes of them, and how it is kept."""
