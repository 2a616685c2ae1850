"""A model that is not there is told by its name, with the nearest one that is."""

import pytest

import blockyard as by
from blockyard.cli import main
from blockyard.core.errors import UsageError


@pytest.mark.parametrize(
    "name, says",
    [
        ("modle", "no such file or folder: modle; did you mean model?"),
        ("modle:llama", "no such file or folder: modle:llama; did you mean model:llama?"),
        ("deep/modle", "no such file or folder: deep/modle (there is no folder deep)"),
        ("other", "other holds no model: config.json is missing"),
    ],
)
def test_a_model_that_is_not_there(name, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir(), (tmp_path / "other").mkdir()
    if ":" in name:
        (tmp_path / "modle.txt").write_text("no arm is in a file")
    with pytest.raises(UsageError) as error:
        by.load(name)
    assert str(error.value) == says


@pytest.mark.parametrize(
    "words, says",
    [
        (["compare", "llama", "--taks", "mqar"], "unknown option of blockyard compare '--taks'; did you mean --task"),
        (
            ["generate", "m", "--temprature=1"],
            "unknown option of blockyard generate '--temprature'; did you mean --temp",
        ),
        (["study", "status", "more"], "unrecognized arguments: more; see blockyard study --help"),
        (["--verson"], "unrecognized arguments: --verson"),
    ],
)
def test_a_word_that_nobody_reads(words, says, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"blockyard: {says}") and len(said.splitlines()) == 1
