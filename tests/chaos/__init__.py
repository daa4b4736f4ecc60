"""The product under fire: kills, faulty system calls, signals and spoilt answers, and a checker that believes nobody.

`python -m tests.chaos --help` runs it; `test_chaos.py` is the sample of it that every test run takes.
"""
