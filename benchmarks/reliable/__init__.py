"""What benchmarks/reliability.py measures: training is killed, stopped, cut, spread over devices and left to run."""
