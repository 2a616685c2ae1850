"""Files with tags, with questions, with pairs of texts: what is read of them, and what is refused in a line."""

import json

import pytest

from blockyard.core.errors import UsageError
from blockyard.source import read


def written(path, text):
    path.write_text(text)
    return str(path)


def test_words_and_tags_of_conll(tmp_path):
    text = (
        "-DOCSTART- -X- O\n\n# a note\nthe DT O\ncat NN B-X\n\n\nit PRP O\nthe DT O\ncat NN B-X\n\nthe DT O\ncat NN B-X"
    )
    data = read([written(tmp_path / "a.conll", text)], ("tagged",))
    assert list(data.words) == [("the", "cat"), ("it", "the", "cat")]
    assert list(data.tags) == [("O", "B-X"), ("O", "O", "B-X")]
    assert data.notes == ("1 of 3 sentences repeat another one and are left out",) and data.usually() == "tagging"


def test_conllu_has_its_words_and_parts_of_speech_in_columns(tmp_path):
    line = "{0}\t{1}\tlemma\t{2}\tXX\t_\t0\troot\t_\t_\n"
    text = (
        "# text = du chat\n1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n"
        + line.format(1, "de", "ADP")
        + line.format(2, "le x", "DET")
    )
    data = read([written(tmp_path / "a.conllu", text)], ("tagged",))
    assert list(data.words) == [("de", "le x")] and list(data.tags) == [("ADP", "DET")]


def test_words_and_tags_of_json(tmp_path):
    rows = [dict(tokens=["a", "b"], tags=[1, 0]), dict(tokens=[], tags=[])]
    data = read([written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))], ("tagged",), codec="bpe:300")
    assert list(data.words) == [("a", "b")] and list(data.tags) == [("1", "0")] and data.codec == "bpe:300"


def test_questions_with_their_answers_by_words_or_by_place(tmp_path):
    rows = [
        dict(context="to be or to be", question="q", answer="to be"),
        dict(context="to be or to be", question="q2", answer="to be", start=9),
        dict(context="a b", question="q", answers=dict(text=["b", "a"], answer_start=[2, 0])),
        dict(context="a b", question="none", answers=dict(text=[], answer_start=[])),
        dict(context="a b", question="q", answer="a"),
    ]
    data = read([written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))], ("questions",))
    assert data.places == [(0, 5), (9, 14), (2, 3)] and list(data.questions) == ["q", "q2", "q"]
    assert data.notes == (
        "1 of 5 questions have no answer and are left out", "1 of 5 questions repeat another one and are left out",
    )  # fmt: skip


def test_rows_of_texts_are_tables_with_a_codec(tmp_path):
    data = read(
        [written(tmp_path / "a.csv", "first,second,label\na b,c,1\nd,e,0\n")], ("rows of texts",), codec="bytes"
    )
    assert (
        list(data.table.columns) == ["first", "second", "label"] and data.usually() == "pairs" and len(data.hash) == 64
    )


@pytest.mark.parametrize("name", ["little_sentences", "little_questions", "little_pairs"])
def test_data_to_try_on_are_the_same_every_time(name):
    one, again = (read([name]) for _ in range(2))
    assert one.hash == again.hash and one.name == name


@pytest.mark.parametrize(
    "wanted, ending, text, words",
    [
        ("tagged", ".conll", "word\n", "line 1 has a word and no tag"),
        ("tagged", ".conll", "\n", "has no sentence with tags"),
        ("tagged", ".jsonl", '{"tokens": ["a"], "tags": []}', "line 1 has 1 tokens and 0 tags"),
        ("tagged", ".jsonl", '{"tokens": "a"}', "no lists of tokens and tags; each row must look like"),
        (
            "questions",
            ".jsonl",
            '{"context": "a", "question": "b", "answer": "c"}',
            "'c' does not stand in its context",
        ),
        ("questions", ".jsonl", '{"context": "a c", "question": "b", "answer": "c", "start": 0}', "at character 0"),
        ("questions", ".jsonl", '{"context": "a", "question": "b", "answer": 1}', "answer holds int, not text"),
        ("questions", ".jsonl", '{"context": "a"}', "no context and question of text"),
        ("questions", ".jsonl", '{"context": "a", "question": "b"}', "no question with an answer"),
    ],
)
def test_a_mistake_is_told(tmp_path, wanted, ending, text, words):
    path = written(tmp_path / f"a{ending}", text)
    with pytest.raises(UsageError, match=words):
        read([path], (wanted,))
    with pytest.raises(UsageError, match="no such file"):
        read([path + "x"], (wanted,))
    with pytest.raises(UsageError, match="is a folder; name the files"):
        read([str(tmp_path)], (wanted,))
