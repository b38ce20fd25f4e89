"""The tables' history. The URL comes from the caller."""
