"""The commands: compose a config, build the parts, run them. Hydra and its configs stop in this package."""

from mnv2dense.cli.benchmark import benchmark as benchmark
from mnv2dense.cli.demo import demo as demo
from mnv2dense.cli.evaluate import evaluate as evaluate
from mnv2dense.cli.export import export as export
from mnv2dense.cli.info import info as info
from mnv2dense.cli.predict import predict as predict
from mnv2dense.cli.shell import conf_folder as conf_folder
from mnv2dense.cli.train import train as train
