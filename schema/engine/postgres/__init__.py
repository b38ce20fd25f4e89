"""The PostgreSQL driver: a connection pool, batched reads, and read replicas."""
