"""Reads the whole configuration and checks it against what DNS and the forges support.

It is a package above ``config``, ``dns`` and ``forges``: the latter two use the schema in ``config``, which therefore
imports neither.
"""
