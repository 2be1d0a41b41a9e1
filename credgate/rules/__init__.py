"""The vocabulary of push rules that configuration, sessions and git share: patterns, path folding, ref names."""
