"""The engine: it knows no concrete model, reads no environment, opens no socket but the database's."""
