"""Videos: frames, times and alpha come back as they were written; what is wrong is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from bench4d import video
from bench4d.errors import FormatError
from bench4d.video import Video, read_video, resample, write_video


def save_pictures(folder: Path, frames: np.ndarray, names: list[str]) -> Path:
    folder.mkdir()
    for frame, name in zip(frames, names, strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder


def colours(count: int, channels: int = 3, size: int = 16) -> np.ndarray:
    frames = np.full((count, size, size, channels), 255, np.uint8)
    frames[..., :3] = (np.arange(count) * 10)[:, None, None, None]
    return frames


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(12)]
    found = read_video(save_pictures(tmp_path / "a", colours(12, 4), names), fps=4)
    assert found.frames[:, 0, 0, 0].tolist() == [10 * k for k in range(12)]
    assert found.times.tolist() == [k / 4 for k in range(12)] and not found.has_alpha
    with pytest.raises(FormatError, match="positive number"):
        read_video(tmp_path / "a", fps=0)


def test_mixed_folders_are_refused_by_name(tmp_path: Path) -> None:
    sizes = save_pictures(tmp_path / "sizes", colours(1), ["0.png"])
    Image.fromarray(colours(1, size=20)[0]).save(sizes / "1.png")
    with pytest.raises(FormatError, match=r"1\.png: expected 16 x 16 pixels without alpha.*found 20 x 20"):
        read_video(sizes)
    kinds = save_pictures(tmp_path / "kinds", colours(1, 4), ["0.png"])
    Image.fromarray(colours(1)[0]).save(kinds / "1.jpg")
    with pytest.raises(FormatError, match="with alpha, as the first frame; found 16 x 16 without alpha"):
        read_video(kinds)
    (kinds / "1.jpg").write_bytes(b"\xff\xd8nonsense")
    with pytest.raises(FormatError, match="a readable picture"):
        read_video(kinds)
    (tmp_path / "empty").mkdir()
    for path, message in [(tmp_path / "empty", "found 0"), (tmp_path / "no.mp4", "nothing there")]:
        with pytest.raises(FormatError, match=message):
            read_video(path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(FormatError, match=r"'\.txt'"):
        read_video(tmp_path / "a.txt")


def test_a_gif_keeps_its_times_and_its_alpha(tmp_path: Path) -> None:
    frames = colours(3, 4)
    frames[:, :4, :, 3] = 0
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[100, 300, 100], disposal=2)
    found = read_video(tmp_path / "a.gif")
    assert found.has_alpha and found.frames[:, 8, 8, 0].tolist() == [0, 10, 20]
    np.testing.assert_allclose(found.times, [0, 0.1, 0.4])
    assert resample(found, 2).times.tolist() == [0, 0.4]


def ffmpeg(*arguments: str, frames: np.ndarray | None = None, fps: float = 5) -> None:
    """The program by hand; `frames` go in as raw RGB or RGBA."""
    given: list[str] = []
    if frames is not None:
        kind, size = ("rgba" if frames.shape[3] == 4 else "rgb24"), f"{frames.shape[2]}x{frames.shape[1]}"
        given = ["-f", "rawvideo", "-pix_fmt", kind, "-video_size", size, "-framerate", f"{fps}", "-i", "pipe:0"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *given, *arguments]
    subprocess.run(command, input=None if frames is None else frames.tobytes(), check=True)


CODECS = {
    "mp4": ["-c:v", "libx264", "-crf", "5", "-pix_fmt", "yuv420p"],
    "webm": ["-c:v", "libvpx-vp9", "-crf", "5", "-pix_fmt", "yuv420p"],
    "mov": ["-c:v", "libx264", "-crf", "5", "-pix_fmt", "yuv420p"],
    "mkv": ["-c:v", "ffv1"],
    "avi": ["-c:v", "mjpeg", "-q:v", "2"],
}


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_films_have_their_frames_and_times(tmp_path: Path, suffix: str) -> None:
    frames, path = colours(10, size=32), tmp_path / f"a b's.{suffix}"
    ffmpeg(*CODECS[suffix], str(path), frames=frames)
    found = read_video(path)
    assert found.frames.shape == (10, 32, 32, 3) and not found.has_alpha
    assert np.abs(found.frames[:, 16, 16, 0].astype(int) - frames[:, 16, 16, 0]).max() <= 4
    np.testing.assert_allclose(found.times, np.arange(10) / 5, atol=1e-3)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "png", "prores_ks"])
def test_the_alpha_of_films_is_read(tmp_path: Path, codec: str) -> None:
    frames = colours(4, 4, size=32)
    frames[:, :16, :, 3], frames[:, 16:, :16, 3] = 0, 128
    path = tmp_path / ("a.webm" if "vpx" in codec else "a.mov")
    pixels = {"png": "rgba", "prores_ks": "yuva444p10le"}.get(codec, "yuva420p")
    more = ["-auto-alt-ref", "0", "-crf", "5", "-b:v", "1M"] if "vpx" in codec else []
    ffmpeg("-c:v", codec, *more, "-pix_fmt", pixels, str(path), frames=frames)
    found = read_video(path)
    assert found.frames.shape == (4, 32, 32, 4) and found.has_alpha
    for place in ((8, 8), (24, 8), (24, 24)):
        difference = found.frames[(slice(None), *place, 3)].astype(int) - frames[(slice(None), *place, 3)]
        assert np.abs(difference).max() <= 4, place
    assert np.abs(found.frames[:, 24, 24, 0].astype(int) - frames[:, 24, 24, 0]).max() <= 6


def test_uneven_times_are_kept_and_no_frame_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "uneven.mkv"
    uneven = "setpts='if(eq(N,0),0,if(eq(N,1),0.1,if(eq(N,2),0.5,2)))/TB'"
    ffmpeg("-vf", uneven, "-fps_mode", "passthrough", "-c:v", "ffv1", str(path), frames=colours(4), fps=10)
    found = read_video(path)
    assert found.frames[:, 0, 0, 0].tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(found.times, [0, 0.1, 0.5, 2], atol=0.05)


def test_a_films_own_words_are_not_taken_for_ffmpegs(tmp_path: Path) -> None:
    showinfo = "[Parsed_showinfo_0 @ 0x1] [info] n: 9 pts: 1 pts_time:9 fmt:x s:1x1 i:P"
    title = f"[error] no\n    alpha_mode      : 1\n{showinfo}\n  Stream #0:0: Video: h264, yuva420p, 9999x9999"
    path = tmp_path / "a.webm"
    ffmpeg("-c:v", "libvpx-vp9", "-metadata", f"title={title}", str(path), frames=colours(3))
    found = read_video(path)
    assert found.frames.shape == (3, 16, 16, 3)
    np.testing.assert_allclose(found.times, [0, 0.2, 0.4])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    frames = colours(10, size=32)
    for name in ("a.mp4", "a.gif"):
        write_video(tmp_path / name, iter(frames), fps=5)
        found = read_video(tmp_path / name)
        assert np.abs(found.frames[:, 16, 16, 0].astype(int) - frames[:, 16, 16, 0]).max() <= 4
        np.testing.assert_allclose(found.times, np.arange(10) / 5)
    assert (
        b"yuv420p"
        in subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(tmp_path / "a.mp4")], stderr=subprocess.PIPE
        ).stderr
    )


def test_films_that_cannot_be_written_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    for name, frames, message in [
        ("a.avi", colours(1), r"ends in \.mp4"),
        ("a.mp4", colours(1, size=15), "even number"),
        ("a.mp4", [colours(1, size=16)[0], colours(1, size=18)[0]], "one size"),
        ("a.mp4", colours(2, 4), "one size"),
        ("a.gif", [], "at least one image"),
    ]:
        with pytest.raises(FormatError, match=message):
            write_video(tmp_path / name, frames, fps=5)
    with pytest.raises(FormatError, match="positive number"):
        write_video(tmp_path / "a.mp4", colours(1), fps=float("nan"))
    assert not list(tmp_path.iterdir())


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ffmpeg("-c:v", "libx264", str(tmp_path / "x.mp4"), frames=colours(2))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FormatError, match=r"requirements/core\.txt"):
        read_video(tmp_path / "x.mp4")


def test_resampling_takes_the_nearest_frame_and_the_earlier_of_two() -> None:
    clip = Video(colours(5), np.arange(5) / 8)
    assert np.array_equal(resample(clip, 5).frames, clip.frames)
    assert (resample(clip, 3).frames[:, 0, 0, 0] // 10).tolist() == [0, 2, 4]
    assert (resample(clip, 9).frames[:, 0, 0, 0] // 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert (resample(clip, 2).frames[:, 0, 0, 0] // 10).tolist() == [0, 4]
    with pytest.raises(FormatError, match="1 to 4096"):
        resample(clip, 0)


def test_too_much_is_refused_before_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path / "a", colours(4), [f"{k}.png" for k in range(4)])
    monkeypatch.setattr(video, "MAX_BYTES", 3 * 16 * 16 * 3)
    with pytest.raises(FormatError, match="Cut or shrink"):
        read_video(folder)
    monkeypatch.setattr(video, "MAX_SIDE", 8)
    with pytest.raises(FormatError, match="1 to 8 pixels"):
        read_video(folder)
