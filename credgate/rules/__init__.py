"""What a grant says in writing: patterns of refs and paths, ref names, path folding."""
