"""See conf/train.yaml for the options."""

from mnv2dense.cli.train import train

if __name__ == "__main__":
    train()
