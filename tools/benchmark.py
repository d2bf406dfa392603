"""See conf/benchmark.yaml for the options."""

from mnv2dense.cli.benchmark import benchmark

if __name__ == "__main__":
    benchmark()
