"""The forge side of the relay: endpoints, TLS, connections and the requests on them."""
