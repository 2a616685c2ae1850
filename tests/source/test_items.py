"""Images, sounds and texts from folders, patterns and tables; and one line for each mistake."""

import json

import numpy as np
import pytest
from makers import image, stripes, tone

from blockyard import UsageError
from blockyard.data.clips import decode
from blockyard.source import read


def items(*paths, **how):
    return read([str(path) for path in paths], ("items",), **how)


def test_images_of_class_folders(tmp_path):
    pytest.importorskip("PIL")
    found = items(stripes(tmp_path / "s"))
    assert (found.kind, found.classes, len(found)) == ("images", ["lying", "standing"], 24)
    pixels = found.rows.take(slice(0, 2))["tokens"]
    assert (
        pixels.shape == (2, 8, 8, 1) and pixels.dtype == np.float32 and pixels.min() > 0.1 and pixels.max() <= 220 / 255
    )
    assert pixels[0, 2, 0, 0] > 0.7 > 0.3 > pixels[0, 0, 0, 0] and found.labels[0] == 0
    assert read([str(tmp_path / "s")]).usually() == "classify"


def test_images_of_all_sizes_get_one_and_colour_stays(tmp_path):
    pytest.importorskip("PIL")
    draw = np.random.default_rng(1)
    for i in range(4):
        red = draw.integers(0, 9, (90 + i, 120, 3)) + np.array([200, 0, 0])
        image(tmp_path / "a" / f"{i}.jpg", red)
        image(tmp_path / "b" / f"{i}.png", red[:, :, ::-1])
    found = items(tmp_path)
    assert found.rows.take([0, 7])["tokens"].shape == (2, 48, 64, 3)
    assert found.rows.take([0])["tokens"][..., 0].mean() > 0.7 > 0.1 > found.rows.take([7])["tokens"][..., 0].mean()
    larger = found.sized(96)
    assert larger.rows.take([0])["tokens"].shape == (1, 72, 96, 3) and "72 by 96" in larger.rows.note


def test_what_is_transparent_is_white_and_sixteen_bits_are_scaled(tmp_path):
    library = pytest.importorskip("PIL.Image")
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4, :, 3] = 255
    image(tmp_path / "a" / "0.png", clear)
    (tmp_path / "b").mkdir()
    library.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "b" / "0.png")
    found = items(tmp_path)
    both = found.rows.take(slice(None))["tokens"]
    assert both[0, 0, 0, 0] == 0 and both[0, 7, 0, 0] == 1 and both[1].mean() == pytest.approx(40000 / 65535, abs=0.01)


def test_train_and_test_above_the_classes_are_the_published_split(tmp_path):
    pytest.importorskip("PIL")
    for part in ("train", "test"):
        for name in "xy":
            image(tmp_path / part / name / f"{part}{name}.png", np.full((8, 8), hash((part, name)) % 200))
    found = items(tmp_path)
    assert found.classes == ["x", "y"] and list(found.test) == ["test/" in name for name in found.names]


def test_damaged_files_and_copies_are_passed_over_with_a_note(tmp_path):
    pytest.importorskip("PIL")
    folder = stripes(tmp_path / "s", 3)
    (folder / "lying" / "bad.png").write_bytes(b"abc")
    (folder / "lying" / "copy.png").write_bytes((folder / "lying" / "0.png").read_bytes())
    (folder / "README.md").write_text("stripes")
    notes = " ".join(items(folder).notes)
    assert len(items(folder)) == 6
    assert "lying/bad.png (no image, 3 bytes)" in notes and "1 of 8 images repeat" in notes
    whole = (folder / "lying" / "1.png").read_bytes()
    (folder / "lying" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"1\.png is damaged"):
        items(folder).rows.take(slice(None))


@pytest.mark.parametrize("bits,channels", [(8, 1), (16, 1), (16, 2), (24, 1), (32, 1)])
def test_samples_of_every_width_are_the_same_wave(tmp_path, bits, channels):
    wave = tone(tmp_path / "a.wav", 440, bits=bits, channels=channels)
    rate, samples = decode("a.wav", (tmp_path / "a.wav").read_bytes())
    assert rate == 8000 and samples.shape == (800,) and np.abs(samples - wave).max() < 2.0 ** -(min(bits, 20) - 2)


def test_sounds_by_a_pattern_with_speakers_and_one_rate(tmp_path):
    for speaker in ("ann", "bob"):
        for n in range(5):
            for digit, pitch in ((0, 300), (1, 900)):
                rate = 4000 if n == 4 else 8000
                tone(
                    tmp_path / f"{digit}_{speaker}_{n}.wav",
                    pitch,
                    rate=rate,
                    seconds=0.1 + 0.01 * n,
                    seed=n + ord(speaker[0]),
                )
    found = items(tmp_path / "{digit}_{speaker}_{n}.wav")
    assert found.classes == ["0", "1"] and found.rate == 8000 and set(found.fields) == {"digit", "speaker", "n"}
    assert list(found.unit) == [int("bob" in name) for name in found.names]
    rows = found.rows.take(slice(None))
    lengths = dict(zip(found.names, rows["valid"].sum(1)))
    assert rows["tokens"].shape == (20, 1120) and lengths["0_ann_0.wav"] == 800 and lengths["1_bob_4.wav"] == 1120
    assert not rows["tokens"][~rows["valid"]].any()
    slow, quick = (rows["tokens"][found.names.index(f"1_ann_{n}.wav")][:800] for n in (4, 3))
    peaks = [np.abs(np.fft.rfft(wave)).argmax() for wave in (slow, quick)]
    assert peaks[0] == peaks[1] == 90  # 900 Hz in tenths of a second, at either rate
    assert any("4 of 20 sounds are brought to 8,000" in note for note in found.notes)


def test_texts_of_folders_and_tables(tmp_path):
    for name in ("good", "poor"):
        (tmp_path / "t" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "t" / name / f"{i}.txt").write_text(f"{name} text {i}")
    folder = items(tmp_path / "t")
    assert folder.kind == "texts" and folder.classes == ["good", "poor"]
    assert folder.rows.take([0])["tokens"][0] == b"good text 0"

    rows = [dict(text=f'row {i}, "quoted"', label=i % 2, who="ab"[i % 2]) for i in range(6)]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, [*rows, rows[0], dict(text=" ", label=1)])))
    table = items(tmp_path / "r.jsonl")
    assert table.classes == ["0", "1"] and len(table) == 6 and "2 of 8 rows" in table.notes[0]
    assert table.by(label="who").classes == ["a", "b"]

    lines = ["review,stars", *(f'"row {i}, ""quoted""",{i % 3}' for i in range(6))]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    other = items(f"{tmp_path / 'r.csv'}:review", codec="bpe:300").by(label="stars")
    assert other.classes == ["0", "1", "2"] and other.codec == "bpe:300"
    assert other.rows.take([1])["tokens"][0] == b'row 1, "quoted"'
    with pytest.raises(UsageError, match="label=COLUMN"):
        items(f"{tmp_path / 'r.csv'}:review").by()


def test_texts_are_labelled_only_for_a_task_that_asks_so(tmp_path):
    from blockyard.source._base import _source

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.txt").write_text("words")
    assert _source([str(tmp_path)], ()).constant("gives") == "corpus"
    assert _source([str(tmp_path)], ("items",)).constant("gives") == "items"


def mistakes(tmp_path):
    """(paths, what is said of them)."""
    for i in range(2):
        image(tmp_path / "one" / "only" / f"{i}.png", np.full((8, 8), i))
        image(tmp_path / "flat" / f"cat_{i}.png", np.full((8, 8), i))
        image(tmp_path / "mixed" / "a" / f"{i}.png", np.full((8, 8), i))
    (tmp_path / "empty").mkdir()
    (tmp_path / "three" / "a").mkdir(parents=True)
    (tmp_path / "three" / "a" / "x.png").write_bytes(b"abc")
    (tmp_path / "quiet" / "a").mkdir(parents=True)
    (tmp_path / "quiet" / "a" / "x.wav").write_bytes(b"abc")
    tone(tmp_path / "mixed" / "b" / "0.wav", 400)
    (tmp_path / "t.csv").write_text("text,label\na,b\nc\n")
    return [
        ("one", "one class only"), ("flat", r"flat/\{class\}_0\.png"), 
        ("flat/{class}-{n}.png", "no file in .* is like"),
        ("flat/cat_0.png", "is one file"), ("empty", "is empty"), ("three", r"a/x\.png \(no image, 3 bytes"),
        ("quiet", r"no WAV file .*3 bytes"), ("mixed", "both images and sounds"),
        ("flot", "no such file"),
        ("flat/{class}_{class}.png", "is no pattern"), ("t.csv", "line 3 has 1 cell"),
        ("nowhere/{class}.wav", "no such folder"),
    ]  # fmt: skip


def test_every_mistake_is_told_in_a_line(tmp_path):
    pytest.importorskip("PIL")
    for path, says in mistakes(tmp_path):
        with pytest.raises(UsageError, match=says) as told:
            items(tmp_path / path)
        assert str(told.value).count("\n") <= 1


def test_digits_ship_with_an_extra():
    pytest.importorskip("sklearn")
    found = read(["digits"])
    assert found.rows.take(slice(None))["tokens"].shape == (1797, 8, 8, 1) and found.classes == list("0123456789")
    for name, shape in (("wine", (178, 13)), ("breast_cancer", (569, 30))):
        assert read([name]).rows.take(slice(None))["tokens"].shape == shape
    with pytest.raises(UsageError, match="did you mean digits"):
        items("digit")
