"""GraphQL over HTTP (`http.py`) and WebSocket (`websocket/`); schema and execution are in `schema/graphql`."""
