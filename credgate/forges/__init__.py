"""One driver a kind of forge: names, URLs, login form, what its refusals mean."""
