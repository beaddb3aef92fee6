"""File lists: every layout, the division into parts, hashes, and errors that name the line."""

import json
import os

import pytest

from worldjepa.data.clips.listing import (
    difference,
    list_files,
    split_held_out,
    training_and_held_out,
)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def relative(files):
    return [files.relative(i) for i in range(len(files))]


def test_a_class_a_folder(tmp_path):
    touch(
        tmp_path, "run/b.mp4", "jump/a.MKV", "run/a.mp4", "jump/note.txt", "jump/.hidden.mp4", ".cache/x.mp4"
    )
    files = list_files(tmp_path)
    assert relative(files) == ["jump/a.MKV", "run/a.mp4", "run/b.mp4"]
    assert files.classes == ("jump", "run")
    assert files.labels == (0, 1, 1)
    assert all(os.path.isabs(path) for path in files.paths)


def test_any_folder_of_videos_has_no_labels(tmp_path):
    touch(tmp_path, "b.mp4", "deep/er/a.avi", "deep/c.mov")
    files = list_files(tmp_path)
    assert relative(files) == ["b.mp4", "deep/c.mov", "deep/er/a.avi"]
    assert files.labels == (-1, -1, -1) and files.classes == ()
    assert list_files(tmp_path, "folders").classes == ("deep",)
    assert list_files(tmp_path, "folders").labels == (-1, 0, 0)


def test_train_and_val_folders(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "train/sit/b.mp4", "val/run/c.mp4", "val/lie/d.mp4", "test/run/e.mp4")
    training, held_out = training_and_held_out(tmp_path)
    assert relative(training) == ["train/run/a.mp4", "train/sit/b.mp4"]
    assert relative(held_out) == ["val/lie/d.mp4", "val/run/c.mp4"]
    assert training.classes == held_out.classes == ("lie", "run", "sit")
    assert (training.labels, held_out.labels) == ((1, 2), (0, 1))
    assert len(list_files(tmp_path)) == 5


def test_val_root_follows_the_classes_of_training(tmp_path):
    touch(tmp_path, "one/sit/a.mp4", "one/run/b.mp4", "two/run/c.mp4", "two/fly/d.mp4")
    training, held_out = training_and_held_out(tmp_path / "one", val_root=tmp_path / "two")
    assert training.classes == held_out.classes == ("run", "sit")
    assert held_out.labels == (-1, 0)  # fly is unknown, run is 0


def test_numbers_with_leading_zeros_are_names(tmp_path):
    touch(tmp_path, "00/a.mp4", "01/b.mp4", "10/c.mp4")
    files = list_files(tmp_path)
    assert (files.classes, files.labels) == (("00", "01", "10"), (0, 1, 2))
    (tmp_path / "list.csv").write_text("00/a.mp4 007\n01/b.mp4 2\n10/c.mp4 0\n")
    files = list_files(tmp_path / "list.csv")
    assert (files.classes, files.labels) == (("0", "007", "2"), (1, 2, 0))


@pytest.mark.parametrize("delimiter", [" ", ",", "\t", ", "])
def test_csv_of_path_and_label(tmp_path, delimiter):
    touch(tmp_path, "videos/a b.mp4", "videos/c,d.webm", "e.mp4")
    absolute = tmp_path / "e.mp4"
    lines = [f"videos/a b.mp4{delimiter}2", f"videos/c,d.webm{delimiter}0", "", f"{absolute}{delimiter}2"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    files = list_files(tmp_path / "list.csv")
    assert relative(files) == ["e.mp4", "videos/a b.mp4", "videos/c,d.webm"]
    assert files.labels == (2, 2, 0)
    assert files.classes == ("0", "1", "2")


def test_csv_with_names_header_quotes_and_without_labels(tmp_path):
    touch(tmp_path, "a.mp4", "b, c.mp4")
    (tmp_path / "named.csv").write_text('path,label\r\na.mp4,riding a bike\r\n"b, c.mp4","juggling"\r\n')
    files = list_files(tmp_path / "named.csv")
    assert files.classes == ("juggling", "riding a bike")
    assert (relative(files), files.labels) == (["a.mp4", "b, c.mp4"], (1, 0))
    (tmp_path / "bare.csv").write_text("a.mp4\nb, c.mp4\n")
    assert list_files(tmp_path / "bare.csv").labels == (-1, -1)


@pytest.mark.parametrize("name", ["video 1.mp4", "file 2.mp4", "path\tof a.mp4", "video, b.mp4"])
def test_a_first_path_that_begins_like_a_header_is_no_header(tmp_path, name):
    touch(tmp_path, name, "c.mp4")
    (tmp_path / "list.csv").write_text(f"{name},x\nc.mp4,a, b\n")
    files = list_files(tmp_path / "list.csv")
    assert relative(files) == sorted([name, "c.mp4"])
    assert files.classes == ("a, b", "x")


@pytest.mark.parametrize("header", ["path,label,split", "path,start,end,label", "path\tlabel\tsplit"])
def test_a_header_with_more_columns_is_refused(tmp_path, header):
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text(f"{header}\na.mp4,run,train\n")
    with pytest.raises(ValueError, match=r"list\.csv: its header is .* Write path,label") as said:
        list_files(tmp_path / "list.csv")
    assert repr(header) in str(said.value)


@pytest.mark.parametrize(
    "header", ["path,label", "video path,class label", "path label", "file\tlabel", "path,"]
)
def test_headers_of_two_columns_are_left_out(tmp_path, header):
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text(f"{header}\na.mp4,run, or walk\n")
    assert list_files(tmp_path / "list.csv").classes == ("run, or walk",)


def test_kinetics_annotations(tmp_path, caplog):
    touch(tmp_path, "clips/abc_000010_000020.mp4", "clips/juggling/def.mp4", "clips/-x_y_000001_000011.mkv")
    head = "label,youtube_id,time_start,time_end,split\n"
    rows = "archery,abc,10,20,train\njuggling,def,0,10,train\narchery,gone,3,13,train\n"
    (tmp_path / "train.csv").write_text(head + rows)
    (tmp_path / "val.csv").write_text(head + '"passing ball, sitting",-x_y,1,11,val\n')
    training, held_out = training_and_held_out(tmp_path)
    assert relative(training) == ["clips/abc_000010_000020.mp4", "clips/juggling/def.mp4"]
    assert relative(held_out) == ["clips/-x_y_000001_000011.mkv"]
    assert training.classes == ("archery", "juggling", "passing ball, sitting")
    assert (training.labels, held_out.labels) == ((0, 1), (2,))
    assert "1 of its 3 clips have no file" in caplog.text


@pytest.mark.parametrize("form", ["{}", "labels/{}", "labels/short"])
def test_ssv2(tmp_path, form):
    touch(
        tmp_path, "20bn-something-something-v2/11.webm", "20bn-something-something-v2/7.webm", "videos/8.mp4"
    )
    rows = {
        "train": [
            {"id": "7", "label": "holding a cup", "template": "Holding [something]"},
            {"id": "11", "label": "pushing a car", "template": "Pushing [something]"},
            {"id": "99", "label": "pushing air", "template": "Pushing [something]"},
        ],
        "validation": [{"id": "8", "label": "pushing tea", "template": "Pushing [something]"}],
    }
    for part, content in rows.items():
        name = (
            f"labels/{part}.json"
            if form.endswith("short")
            else form.format(f"something-something-v2-{part}.json")
        )
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    training, held_out = training_and_held_out(tmp_path)
    assert training.classes == ("Holding something", "Pushing something")
    assert [os.path.basename(path) for path in training.paths] == ["11.webm", "7.webm"]
    assert training.labels == (1, 0)
    assert ([os.path.basename(path) for path in held_out.paths], held_out.labels) == (["8.mp4"], (1,))


def test_images(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.PNG", "dog/c.webp")
    files = list_files(tmp_path)
    assert (files.classes, files.labels) == (("cat", "dog"), (0, 1, 1))
    touch(tmp_path, "cat/film.mp4")
    assert [os.path.basename(path) for path in list_files(tmp_path).paths] == ["film.mp4"]
    assert len(list_files(tmp_path, "images")) == 3
    flat = touch(tmp_path / "flat", "1.jpg", "2.jpg")
    assert list_files(flat).labels == (-1, -1)


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "real/a.mp4", "data/b.mp4")
    (tmp_path / "data/link").symlink_to(tmp_path / "real")
    (tmp_path / "data/up").symlink_to(tmp_path / "data")
    assert relative(list_files(tmp_path / "data")) == ["b.mp4", "link/a.mp4"]


def test_the_split_depends_on_each_path_alone(tmp_path):
    names = [f"v{i:03d}.mp4" for i in range(300)]
    files = list_files(touch(tmp_path / "a", *names))
    training, held_out = split_held_out(files)
    assert sorted(relative(training) + relative(held_out)) == names
    assert 15 <= len(held_out) <= 48
    fewer = list_files(touch(tmp_path / "b", *names[:200]))
    assert relative(split_held_out(fewer)[1]) == [name for name in relative(held_out) if name in names[:200]]
    two = list_files(touch(tmp_path / "c", "a.mp4", "b.mp4"))
    assert [len(part) for part in split_held_out(two)] == [1, 1]
    one = list_files(touch(tmp_path / "d", "a.mp4"))
    assert [len(part) for part in split_held_out(one)] == [1, 0]


def test_difference(tmp_path):
    old = list_files(touch(tmp_path / "one", "x/a.mp4", "y/b.mp4"))
    moved = list_files(touch(tmp_path / "two", "x/a.mp4", "y/b.mp4"))
    assert difference(old.lines(), moved.lines()) == "same files"
    new = list_files(touch(tmp_path / "three", "x/a.mp4", "z/b.mp4", "z/c.mp4"))
    said = difference(old.lines(), new.lines())
    assert said.startswith("2 files before, 3 now; 1 gone: ")
    assert '["y/b.mp4", "y"]' in said and '2 new: ["z/b.mp4", "z"], ["z/c.mp4", "z"]' in said
    assert difference(old.lines(), old.lines()[::-1]) == "same files in another order"


def test_errors_say_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list_files(tmp_path / "nowhere")
    touch(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=r"looked for .*\.mp4 .*\.avi"):
        list_files(tmp_path, "flat")
    with pytest.raises(ValueError, match=r"no files found; looked for .*\.mp4 .*\.jpg"):
        list_files(tmp_path)
    with pytest.raises(ValueError, match="layout='folder'"):
        list_files(tmp_path, "folder")
    touch(tmp_path, "a.mp4")
    for text, said in (
        ("a.mp4 1\nno file here\n", "line 2: expected 'path label'"),
        ("gone.mp4 1\n", "none of the first files exists"),
        ("\n", "no line names a file"),
        ("label,youtube_id,time_start,time_end,split\nx,y\n", "line 2: expected 5 fields"),
        ("label,youtube_id,time_start,time_end,split\nx,y,a,b,train\n", "line 2: time_start"),
        ("label,youtube_id,time_start,time_end,split\nx,y,1,2,train\n", "none of its 1 clips has a file"),
    ):
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(ValueError, match=said):
            list_files(tmp_path / "list.csv")
    touch(tmp_path, "ssv2/1.webm")
    (tmp_path / "ssv2/something-something-v2-train.json").write_text("[1,")
    with pytest.raises(ValueError, match=r"train\.json, line 1: not valid JSON"):
        list_files(tmp_path / "ssv2")
    only_val = touch(tmp_path / "v", "train/readme.mp4x", "val/a.mp4", "val/b.mp4")
    assert len(list_files(only_val)) == 2
