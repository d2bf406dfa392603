"""See conf/export.yaml for the options."""

from mnv2dense.cli.export import export

if __name__ == "__main__":
    export()
