"""What batchrunner costs, next to what people would write instead: `python -m tests.bench --help`."""
