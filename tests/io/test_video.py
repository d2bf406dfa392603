from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mnv2dense.io.sources import ImageSource, VideoSource, source_of
from mnv2dense.io.video import Frame, VideoError, VideoReader, VideoWriter, camera_frames

pytestmark = pytest.mark.usefixtures("place")
NTSC = Fraction(30_000, 1001)


def grey(level: int, size: tuple[int, int] = (48, 64)) -> npt.NDArray[np.uint8]:
    return np.full((*size, 3), level, np.uint8)


def write(
    path: str, count: int = 20, *, rate: Fraction = NTSC, size: tuple[int, int] = (48, 64), base: Fraction | None = None
) -> Path:
    """Frames that grow brighter."""
    base = base or 1 / (rate * 1000)
    with VideoWriter(Path(path), time_base=base, rate=rate) as video:
        for number in range(count):
            video.write(Frame(grey(10 + number * 200 // count, size), number, number / rate))
    return Path(path)


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(24_000, 1001), Fraction(120), Fraction(1, 2)])
def test_rate_and_number_of_frames_survive_exactly(rate: Fraction) -> None:
    first = VideoReader(write("a.mp4", 30, rate=rate))
    assert (first.rate, first.count) == (rate, 30)
    with VideoWriter(Path("b.mp4"), time_base=first.time_base, rate=first.rate) as video:
        for frame in first:
            video.write(frame)
    second = VideoReader(Path("b.mp4"))
    assert (second.rate, second.count) == (rate, 30)
    frames = list(second)
    assert [frame.number for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == [number / rate for number in range(30)]


def test_pixels_come_back_in_their_colours_and_order() -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[:, :32] = (220, 40, 60)
    with VideoWriter(Path("a.mp4"), time_base=Fraction(1, 1000), rate=Fraction(10)) as video:
        video.write(Frame(red, 0, Fraction(0)))
    (frame,) = VideoReader(Path("a.mp4"))
    assert np.abs(frame.pixels[8:40, 8:24].astype(int) - (220, 40, 60)).max() <= 6
    assert np.abs(frame.pixels[8:40, 40:56].astype(int)).max() <= 6


def test_the_file_says_what_browsers_and_players_must_know() -> None:
    with av.open(write("a.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)  # BT.709


def test_changing_rates_keep_their_times() -> None:
    moments = [Fraction(0), Fraction(1, 10), Fraction(3, 10), Fraction(10, 10), Fraction(11, 10)]
    with VideoWriter(Path("a.mp4"), time_base=Fraction(1, 1000), rate=Fraction(10)) as video:
        for number, moment in enumerate(moments):
            video.write(Frame(grey(100), number, moment))
    assert [frame.time for frame in VideoReader(Path("a.mp4"))] == moments


def test_times_that_stand_still_rise_by_the_least_step() -> None:
    with VideoWriter(Path("a.mp4"), time_base=Fraction(1, 1000), rate=Fraction(10)) as video:
        for number in range(3):
            video.write(Frame(grey(100), number, Fraction(0)))
    assert [frame.time for frame in VideoReader(Path("a.mp4"))] == [0, Fraction(1, 1000), Fraction(2, 1000)]


def test_odd_sides_get_one_more_row_and_column() -> None:
    (frame, *_) = VideoReader(write("a.mp4", 2, size=(47, 63)))
    assert frame.pixels.shape == (48, 64, 3)


def test_the_file_is_whole_when_the_work_stops_in_the_middle() -> None:
    def stopped() -> None:
        with VideoWriter(Path("a.mp4"), time_base=Fraction(1, 1000), rate=Fraction(10)) as video:
            for number in range(7):
                video.write(Frame(grey(100), number, Fraction(number, 10)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(list(VideoReader(Path("a.mp4")))) == 7


def test_no_frame_no_file() -> None:
    with VideoWriter(Path("a.mp4"), time_base=Fraction(1, 1000), rate=Fraction(10)):
        pass
    assert not Path("a.mp4").exists()


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(OSError, match="nowhere"):
        write("nowhere/a.mp4")


def test_a_phones_film_is_turned_upright() -> None:
    """The display matrix says "a quarter clockwise": what lies on the left in the file is shown on top."""
    left_bright = np.zeros((48, 64, 3), np.uint8)
    left_bright[:, :16] = 255
    with av.open("a.mp4", "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(left_bright, format="rgb24")))
        file.mux(stream.encode(None))
    data = Path("a.mp4").read_bytes()
    one, zero, whole = (number.to_bytes(4, "big", signed=True) for number in (1 << 16, 0, 1 << 30))
    minus_one = (-(1 << 16)).to_bytes(4, "big", signed=True)
    upright = one + zero * 3 + one + zero * 3 + whole
    turned = zero + one + zero + minus_one + zero * 4 + whole
    track = data.index(b"tkhd")
    place = data.index(upright, track)
    Path("b.mp4").write_bytes(data[:place] + turned + data[place + len(turned) :])
    (frame,) = VideoReader(Path("b.mp4"))
    assert frame.pixels.shape == (64, 48, 3)
    assert frame.pixels[:12].min() > 200
    assert frame.pixels[20:].max() < 50


def test_files_that_are_no_video_are_refused_with_their_name() -> None:
    Path("text.mp4").write_text("no video at all", encoding="utf-8")
    Path("empty.mp4").touch()
    whole = write("a.mp4").read_bytes()
    Path("cut.mp4").write_bytes(whole[: len(whole) // 2])  # phones that run empty leave these: the index comes last
    for name in ("text.mp4", "empty.mp4", "cut.mp4"):
        with pytest.raises(VideoError, match=f"{name}: no video that FFmpeg can read, or a damaged one"):
            VideoReader(Path(name))
    with pytest.raises(FileNotFoundError):
        VideoReader(Path("nothing.mp4"))


def test_sound_alone_is_refused() -> None:
    with av.open("a.mp4", "w") as file:
        stream = file.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no images in it"):
        VideoReader(Path("a.mp4"))


def test_frames_of_too_many_pixels_are_refused_before_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2dense.io.video.MAX_PIXELS", 1000)
    with pytest.raises(VideoError, match=r"frames of 64 x 48, but at most 1,000 pixels"):
        VideoReader(write("a.mp4"))


def test_frames_before_the_damage_are_given() -> None:
    noise = np.random.default_rng(0)
    with VideoWriter(Path("a.mkv"), time_base=Fraction(1, 1000), rate=Fraction(10)) as video:
        for number in range(40):
            video.write(Frame(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8), number, Fraction(number, 10)))
    whole = Path("a.mkv").read_bytes()
    Path("cut.mkv").write_bytes(whole[: len(whole) // 2])
    reader = VideoReader(Path("cut.mkv"))
    frames = []
    try:
        frames.extend(reader)
    except VideoError as error:
        assert "cut.mkv: damaged after" in str(error)  # noqa: PT017 - some versions of FFmpeg end quietly instead
    assert 5 < len(frames) < 40


def test_without_pyav_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'videos need PyAV: pip install "mnv2dense\[video\]"'):
        VideoReader(path)


class FakeCapture:
    """OpenCV's camera 0, unplugged after three images; blue as OpenCV has it. There is no camera 1."""

    def __init__(self, number: int) -> None:
        self.number, self.left, self.released = number, 3, False
        FakeCapture.last = self

    last: FakeCapture

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.number == 0

    def read(self) -> tuple[bool, npt.NDArray[np.uint8] | None]:
        self.left -= 1
        return (True, np.full((4, 6, 3), (255, 0, 0), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("cv2")
    module.VideoCapture = FakeCapture  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv2", module)
    yield
    assert FakeCapture.last.released


@pytest.mark.usefixtures("camera")
def test_a_cameras_images_are_rgb_and_have_the_clocks_time() -> None:
    frames = list(camera_frames(0))
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert frames[0].pixels[0, 0].tolist() == [0, 0, 255]
    assert 0 <= frames[0].time <= frames[1].time <= frames[2].time < 60


@pytest.mark.usefixtures("camera")
def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(OSError, match="source=webcam:1: no such camera"):
        next(camera_frames(1))


def test_what_is_damaged_in_the_middle_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0)
    with av.open("a.avi", "w") as file:  # every frame of Motion JPEG stands alone
        stream = file.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for _ in range(20):
            picture = av.VideoFrame.from_ndarray(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    data = bytearray(Path("a.avi").read_bytes())
    starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
    assert len(starts) == 20
    data[starts[7] : starts[8] - 8] = bytes(starts[8] - 8 - starts[7])
    Path("b.avi").write_bytes(data)
    reader = VideoReader(Path("b.avi"))
    frames = list(reader)
    assert (len(frames), reader.damaged) == (19, 1)
    assert "b.avi: left out 1 damaged packets; 19 frames were read" in caplog.text


def test_an_mp4_without_its_index_is_called_cut_short() -> None:
    whole = write("a.mp4").read_bytes()
    Path("cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r"cut.mp4: no video .*It was cut short: its index, which comes last"):
        VideoReader(Path("cut.mp4"))
    Path("text.mp4").write_text("no video at all", encoding="utf-8")
    with pytest.raises(VideoError, match=r"text.mp4: no video[^.]*\.$"):
        VideoReader(Path("text.mp4"))


@pytest.mark.parametrize("name", ["clip", "clip.vob", "clip.3g2", "clip.asf", "clip.jpg.part"])
def test_what_is_no_picture_is_a_video_if_ffmpeg_says_so(name: str) -> None:
    write("a.mp4").rename(name)
    assert source_of(name) == VideoSource(Path(name))


@pytest.mark.parametrize("content", [b"", b"words, not images", b"<html>", b"\x00" * 64])
def test_what_is_neither_stays_a_picture_to_be_refused(content: bytes) -> None:
    Path("thing").write_bytes(content)
    assert isinstance(source_of("thing"), ImageSource)
    Image.new("RGB", (4, 4)).save("photo", "PNG")
    assert isinstance(source_of("photo"), ImageSource)
