"""See conf/info.yaml for the options."""

from mnv2dense.cli.info import info

if __name__ == "__main__":
    info()
