"""GraphQL over HTTP (`http.py`) and over WebSocket (`websocket/`); the schema and its execution are in `schema/graphql`."""
