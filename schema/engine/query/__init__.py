"""From a selection to a plan: filters, sorting, pagination, cursors and search."""
