"""The HTTP/1.1 and WebSocket protocol classes: between a socket and the ASGI application."""
