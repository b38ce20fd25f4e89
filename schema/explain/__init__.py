"""Behind `python -m api explain`: recorded queries, their plans, and a database to try requests on."""
