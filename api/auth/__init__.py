"""From a request's credential to an actor."""
