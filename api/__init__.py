"""HTTP server, middleware, authentication, REST and GraphQL APIs, pages and command line."""
