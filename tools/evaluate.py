"""See conf/evaluate.yaml for the options."""

from mnv2dense.cli.evaluate import evaluate

if __name__ == "__main__":
    evaluate()
