"""What lies between a socket and the service."""
