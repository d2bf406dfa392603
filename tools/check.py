"""See conf/check.yaml for the options."""

from mnv2dense.cli.check import check

if __name__ == "__main__":
    check()
