"""What a request would do, told to people: its statements in words, as SQL, and as the database goes about them.

Nothing here plans anything: what is shown is what the doors really asked of a directory that takes notes.
"""
