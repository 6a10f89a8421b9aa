import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realign.data.prepare.captions import Caption, parse_line, read_text_file, swap_sides
from realign.data.prepare.captions_file import read_captions_file
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


WHOLE = "a person walks, then stops"


@pytest.mark.parametrize(
    "content",
    [
        f'file,caption\nwalk.bvh,"{WHOLE}"\n',
        f'file,caption\r\nwalk.bvh,"{WHOLE}"\r\n\r\n',
        f'\ufeffFile , Caption\nwalk.bvh, "{WHOLE}"\n',
        f"file;caption;notes\nwalk.bvh;{WHOLE};done\n",
        f"file\tcaption\nwalk.bvh\t{WHOLE}\n",
        f"sep=;\ncaption;file\n{WHOLE};walk.bvh\n",
        f'\n\nfile,caption,,\n,,,\nwalk.bvh,"{WHOLE}",,\n,,\n',
        'file,caption\nwalk.bvh,"a person walks,\nthen stops"\n',
        'file,caption\nwalk.bvh,"a person walks,\u2028then\x0bstops"\n',
        f'id,start,caption\nwalk,,"{WHOLE}"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_gives_complete_captions(tmp_path, content, encoding):
    path = tmp_path / "c.csv"
    path.write_bytes(content.encode(encoding))
    assert [(row.key, row.caption) for row in read_captions_file(path)] == [("walk", Caption(WHOLE))]


@pytest.mark.parametrize(
    "content",
    [
        {"id": "walk", "caption": [WHOLE, "stops"]},
        [{"File": "walk.npy", "Caption": WHOLE}, {"id": "walk", "caption": "stops"}],
        {"walk": [WHOLE, "stops"]},
    ],
)
@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.json.gz"])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_of_every_form_gives_complete_captions(tmp_path, content, name, indent):
    text = json.dumps(content, indent=indent).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    rows = read_captions_file(tmp_path / name)
    assert [(row.key, row.caption.text) for row in rows] == [("walk", WHOLE), ("walk", "stops")]


def test_seconds_may_have_a_decimal_comma(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("id;caption;start;end\na;walks;0,5;2\n12;runs;;\n")
    assert [row.caption for row in read_captions_file(path)] == [Caption("walks", 0.5, 2), Caption("runs")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.csv", "name,text\na,b\n", "needs 'id' or 'file', and 'caption'"),
        ("c.csv", "id,caption\n", "holds no captions"),
        ("c.csv", "id,caption,start,end\na,walks,3,2\n", "'end' must come after"),
        ("c.csv", "id,caption,start,end\na,walks,x,2\n", "line 2: 'x' is not a time"),
        ("c.csv", "id,caption,split\na,walks,dev\n", "split 'dev' is unknown"),
        ("c.jsonl", '{"id": "a"\n', "line 1: not a JSON object"),
        ("c.jsonl", "[1]\n", "is not a JSON object; write"),
        (
            "c.csv",
            "file,caption\na.bvh,walks, then stops\n",
            "line 2: 3 cells, but the header names 2; put .*quotes",
        ),
        ("c.csv", 'file,caption\nb,"a\n b"\na,walks, then stops\n', "line 4: 3 cells"),
        ("c.csv", "file,caption,start,end\na,walks, then stops\n", "line 2: 'then stops' is not a time.* in quotes"),
        ("c.csv", "file,caption,split\na,walks, then stops\n", "split 'then stops' is unknown.* in quotes"),
        ("c.csv", "file,caption,notes\na,walks, then stops\n", "line 2: the column 'notes' begins with a blank"),
        ("c.csv", "caption,file\nwalks, then stops,a\n", "line 2: 3 cells"),
        ("c.csv", "file;caption\na;walks; then stops\n", "line 2: 3 cells"),
        ("c.csv", "a.bvh,walks, then stops\nb.bvh,runs\n", "'a.bvh,walks, then stops', not with names of columns"),
        ("c.csv", "id,caption,Caption\na,b,c\n", "two columns 'caption'"),
        ("c.csv", "id,caption\nb,runs\na\n", "line 3: needs 'id' or 'file', and 'caption'"),
        ("c.csv", 'id,caption\nb,runs\na,"walks\nc,jumps\n', "line 3: the quotes of this row do not match"),
        ("c.csv", 'id,caption\na,"walks" slowly\n', "line 2: the quotes of this row do not match"),
        (
            "c.jsonl",
            '{"id": "b", "caption": "x"}\n{"id": "a", "caption": 5}\n',
            "line 2: the caption 5 is not text",
        ),
        ("c.jsonl", '{"id": "a", "caption": null}\n', "line 1: needs 'id' or 'file', and 'caption'"),
        ("c.jsonl", '{"id": "a", "caption": {"en": "walks"}}\n', "line 1: the caption .* is not text"),
        ("c.jsonl", '{"id": "a", "caption": ["walks", null]}\n', "line 1: the caption None is not text"),
        ("c.jsonl", '{"id": true, "caption": "walks"}\n', "line 1: True does not name a motion"),
        ("c.jsonl", '{"id": "a", "caption": "x", "caption": "y"}\n', "line 1: .*'caption' appears twice"),
        ("c.jsonl", '{"id": "b", "caption": "x"},\n{"id": "a", "caption": "y"},\n', "line 1: not a JSON object"),
        ("c.jsonl", '{"id": "a", "caption": "half \\ud83c"}\n', "line 1: The caption .* is not UTF-8"),
        ("c.json", '[\n{"id": "b", "caption": "x"},\n{"id": "a"\n]', "line 4: not a JSON object"),
        ("c.json", '{"a": "walks", "b": "runs", "a": "stops"}', "'a' appears twice"),
        ("c.json", '{"a": ["walks", 7]}', "'a': the caption 7 is not text"),
        ("c.json", "[" * 100_000, "not a JSON object that can be read"),
    ],
)
def test_faulty_files_are_reported_with_their_lines(tmp_path, name, content, says):
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
    path.write_bytes("id,caption\nb,runs\na,walks to the café\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"c\.csv, line 3: it is not UTF-8 text; save"):
        read_captions_file(path)
    path.write_bytes("id,caption\na,walks".encode("utf-16-le"))  # without a mark
    with pytest.raises(InputError, match="not UTF-8"):
        read_captions_file(path)
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(b'{"a": "walks"}')[:-9])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_captions_file(tmp_path / "c.json.gz")


TAGGED = "walks to # 1#walk/VERB to/ADP#0.0#nan"


@pytest.mark.parametrize(
    "content",
    [
        f"{TAGGED}\nand stops##0.0#0.0\n".encode(),
        f"\ufeff  {TAGGED} \r\n\r\nand\tstops\r\n".encode(),
        f"{TAGGED}\nand stops###\n".encode("utf-16"),
    ],
)
def test_text_files_give_complete_captions(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    first = Caption("walks to # 1", tokens="walk/VERB to/ADP")
    assert read_text_file(tmp_path / "a.txt") == [first, Caption("and stops")]


@pytest.mark.parametrize(
    "text", ["takes #1 and #2", "walks # left and/or right", "goes to #1", "one # two # three # 4 of"]
)
def test_a_caption_without_tags_may_contain_the_separator(text):
    assert parse_line(text) == Caption(text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("walks to the café#walk/VERB#0#0".encode("latin-1"), r"a\.txt, line 1: it is not UTF-8"),
        (b"stops\n\nwalks#walk/VERB#1.5", r"a\.txt, line 3: .* has too few # signs"),
        (b"walks#1.5#3", "has too few # signs"),
        (b"walks # 1#then stops#0#0", "line 1: 'then stops' before the times does not hold words"),
        (b"walks#walk/VERB#-1#2", "not a time in a motion"),
    ],
)
def test_text_files_that_would_lose_text_are_refused(tmp_path, content, says):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_text_file(tmp_path / "a.txt")
