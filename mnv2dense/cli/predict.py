"""tools/predict.py: pictures in, drawn results and one json out."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.progress import Progress

from mnv2dense.annotate import predict_pictures
from mnv2dense.cli.parts import model_of, plain_config, refuse_a_run, viewing_of
from mnv2dense.cli.shell import CONSOLE, run_command
from mnv2dense.data.pictures import list_pictures
from mnv2dense.draw_masks import check_opacity
from mnv2dense.predictor import Predictor
from mnv2dense.run_folder import RunFolder
from mnv2dense.scoring import device_of as device_of_model


def predict() -> None:
    """``mnv2dense-predict`` and tools/predict.py."""
    run_command("predict", _predict)


def _predict(config: DictConfig) -> None:
    plain = plain_config(config)
    source = Path(config.source)
    if not source.exists():
        raise FileNotFoundError(f"source={config.source}: no such picture or folder (looked at {source.absolute()}).")
    check_opacity(config.opacity)
    if not isinstance(config.legend, bool):
        raise ValueError(f"legend={config.legend}: true or false is needed.")
    test_time = viewing_of(config)
    model = model_of(config, test_time)
    threshold = config.threshold
    if threshold is not None and not isinstance(threshold, int | float):
        raise ValueError(f"threshold={threshold}: a number is needed; 0.3 is a good start.")
    if threshold is None and model.task == "detection":
        threshold = 0.3  # of a classifier the likeliest classes are shown, whatever their scores
    predictor = Predictor(model, threshold=threshold, device=device_of_model(model), test_time=test_time)
    pictures = list_pictures(source) if source.is_dir() else [source]
    if not pictures:
        raise ValueError(f"source={config.source}: the folder holds no pictures.")
    folder = RunFolder.create(config.run_dir, task="predict")
    refuse_a_run(folder, "Name another folder for the predictions.")
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment()
    with Progress(console=CONSOLE, transient=True) as bar:
        job = bar.add_task("pictures", total=len(pictures))
        failed = predict_pictures(
            predictor,
            pictures,
            folder.path,
            opacity=config.opacity,
            legend=config.legend,
            advance=lambda: bar.advance(job),
        )
    print(folder.path)
    if failed:
        raise ValueError(f"{len(failed)} of {len(pictures)} pictures could not be read:\n" + "\n".join(failed.values()))
