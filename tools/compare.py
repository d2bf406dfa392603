"""See conf/compare.yaml for the options."""

from mnv2dense.cli.compare import compare

if __name__ == "__main__":
    compare()
