"""Benchmarks: Tandem's throughput and latency compared with other frameworks, and its cost as tables grow.

`python3 dev.py bench` compares, `python3 dev.py bench --growth` measures growth. README.md in this folder says what is
measured and how. The service does not import this package.
"""
