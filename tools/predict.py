"""See conf/predict.yaml for the options."""

from mnv2dense.cli.predict import predict

if __name__ == "__main__":
    predict()
