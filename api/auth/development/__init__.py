"""Access without a credential in development: only for programs of this machine's user."""
