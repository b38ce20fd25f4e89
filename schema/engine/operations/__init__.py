"""What can be done with records, each in one transaction: find, get, create, update, delete, link, unlink, actions."""
