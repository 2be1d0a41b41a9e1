"""One driver a kind of forge: names, URLs, login, and the meaning of its refusals."""
