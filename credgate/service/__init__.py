"""The only room that imports Twisted: listeners, relay, control API, timers."""
