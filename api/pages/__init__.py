"""The pages for people: front page, API explorers, problem types."""
