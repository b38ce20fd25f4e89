"""GraphQL over WebSocket, subprotocol `graphql-transport-ws`: handshake, admission, messages, session."""
