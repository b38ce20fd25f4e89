"""How the cost of a request grows with the number of users."""
