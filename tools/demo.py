"""See conf/demo.yaml for the options."""

from mnv2dense.cli.demo import demo

if __name__ == "__main__":
    demo()
