"""What a sandbox holds and what it may: the model, grants, scope, the stores."""
