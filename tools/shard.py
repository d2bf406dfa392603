"""See conf/shard.yaml for the options."""

from mnv2dense.cli.shard import shard

if __name__ == "__main__":
    shard()
