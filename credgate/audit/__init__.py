"""What happened, one line an event: the event, its JSON form."""
