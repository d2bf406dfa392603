"""See conf/convert.yaml for the options."""

from mnv2dense.cli.convert import convert

if __name__ == "__main__":
    convert()
