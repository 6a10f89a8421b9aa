import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realign.data.captions import Caption, parse_line, read_captions_file, swap_sides
from realign.errors import InputError


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("turns left then RIGHT", "turns right then LEFT"),
        ("Leftward steps, rightwards", "Rightward steps, leftwards"),
        ("turns counterclockwise", "turns clockwise"),
        ("turns counter-clockwise, Clockwise", "turns clockwise, Counterclockwise"),
        ("walks anticlockwise", "walks clockwise"),
        ("a right-handed throw, leftmost", "a left-handed throw, rightmost"),
        ("left/ADJ hand/NOUN", "right/ADJ hand/NOUN"),
        ("bright leftover upright cleft righteous", "bright leftover upright cleft righteous"),
        ("stops right away, at a right angle", "stops right away, at a right angle"),
        ("the left's, 'right'.", "the right's, 'left'."),
    ],
)
def test_swap_sides(text, swapped):
    assert swap_sides(text) == swapped


@given(st.lists(st.sampled_from(["left", "Right", "LEFT", "clockwise", "Counterclockwise", "hand", "rightward", ","])))
def test_swapping_twice_changes_nothing(words):
    text = " ".join(words)
    assert swap_sides(swap_sides(text)) == text


def test_lines_of_the_published_format():
    line = "a person walks.#a/DET person/NOUN walk/VERB#nan#nan"
    assert parse_line(line) == Caption("a person walks.", 0, 0, "a/DET person/NOUN walk/VERB")
    assert parse_line("waves#wave/VERB#1.5#4.0") == Caption("waves", 1.5, 4.0, "wave/VERB")
    assert parse_line("plain sentence") == Caption("plain sentence")
    assert parse_line("  ##0.0#0.0") is None


def test_line_with_a_wrong_time_names_it():
    with pytest.raises(InputError, match="'soon' is not a time"):
        parse_line("waves#x#soon#4.0")


def test_csv_and_jsonl_agree(tmp_path):
    table = tmp_path / "c.csv"
    table.write_text('file,caption,start,end,split\nsub/a.bvh,"walks, slowly",0.5,3,train\nb, runs ,,,\n')
    lines = tmp_path / "c.jsonl"
    rows = [
        {"file": "sub\\a.bvh", "caption": "walks, slowly", "start": 0.5, "end": 3, "split": "train"},
        {"id": "b", "caption": "runs"},
    ]
    lines.write_text("\n".join(map(json.dumps, rows)))
    assert read_captions_file(table) == read_captions_file(lines)
    assert [(row.key, row.stem) for row in read_captions_file(table)] == [("sub/a", "a"), ("b", "b")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.csv", "name,text\na,b\n", "needs 'id' or 'file', and 'caption'"),
        ("c.csv", "id,caption\n", "holds no captions"),
        ("c.csv", "id,caption,start,end\na,walks,3,2\n", "'end' must come after"),
        ("c.csv", "id,caption,start,end\na,walks,x,2\n", "line 2: 'x' is not a time"),
        ("c.csv", "id,caption,split\na,walks,dev\n", "split 'dev' is unknown"),
        ("c.jsonl", '{"id": "a"\n', "line 1: not a JSON object"),
        ("c.jsonl", "[1]\n", "is no JSON object; write"),
    ],
)
def test_wrong_files_say_what_and_where(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=says):
        read_captions_file(path)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_captions_file(tmp_path / "no.csv")
    path = tmp_path / "c.csv"
    path.write_bytes(gzip.compress(b"id,caption"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_captions_file(path)
