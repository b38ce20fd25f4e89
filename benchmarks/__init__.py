"""Numbers, not assertions: how fast Tandem answers, beside what its users would pick instead.

`python3 dev.py bench` compares, `python3 dev.py bench --growth` shows what happens as the tables grow. README.md in
this folder says what is measured and how. Nothing of the service imports this room.
"""
