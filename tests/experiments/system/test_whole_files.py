import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from experiments.system import whole_files
from experiments.system.errors import UserError
from experiments.system.whole_files import check_folder, check_target, write_json, write_whole


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_link_stays_and_what_it_points_to_gets_the_contents_and_keeps_its_permissions(tmp_path):
    (tmp_path / "real.md").write_text("old")
    (tmp_path / "real.md").chmod(0o640)
    (tmp_path / "link.md").symlink_to("real.md")
    write_whole(tmp_path / "link.md", "new")
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "real.md").read_text() == "new"
    assert mode(tmp_path / "real.md") == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.md", "real.md"]


def test_a_link_to_nothing_yet_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"


def test_a_device_is_written_into_and_not_replaced():
    write_whole(Path("/dev/null"), "text")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match="No space left on device: '/dev/full'") as caught:
        write_whole(Path("/dev/full"), "text")
    assert caught.value.errno == errno.ENOSPC


def test_a_pipe_that_is_read_gets_the_contents_and_one_that_is_not_is_an_error(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="that nobody reads"):
        write_whole(pipe, "text")
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    while not read:
        try:
            write_whole(pipe, b"x" * 200_000)
            break
        except OSError:
            continue
    reader.join(timeout=20)
    assert read == [b"x" * 200_000]
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_what_fails_on_the_way_names_the_target_and_leaves_the_old_file_alone(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(path, "new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        write_whole(tmp_path, "text")
    assert caught.value.filename == str(tmp_path)


def test_a_read_only_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("kept")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError):
        write_whole(path, "new")
    assert path.read_text() == "kept"
    with pytest.raises(UserError, match=r"--page: .*cannot be written to"):
        check_target(path, "--page")


def test_names_that_are_not_text_come_back_from_both_kinds_of_files(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_whole(tmp_path / "text", f"± {name}")
    assert (tmp_path / "text").read_bytes() == "± caf".encode() + b"\xe9"
    write_json(tmp_path / "json", {"config": name, "sign": "±"})
    text = (tmp_path / "json").read_text(encoding="utf-8")
    assert json.loads(text) == {"config": name, "sign": "±"}
    assert "±" in text


def test_targets_are_refused_before_the_work(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    cases = {
        tmp_path: "expected the name of a file, got the directory",
        tmp_path / "nowhere" / "file": "no such directory; make it first",
        tmp_path / "file" / "below": "Not a directory",
        tmp_path / "loop": "Too many levels of symbolic links",
        tmp_path / ("x" * 300): "File name too long",
    }
    for path, expected in cases.items():
        with pytest.raises(UserError, match=expected) as caught:
            check_target(path, "--page")
        assert caught.value.messages[0].startswith("--page: ")
    for path in (Path("/dev/null"), tmp_path / "pipe"):
        check_target(path, "--page")
        with pytest.raises(UserError, match="a device or a pipe"):
            check_target(path, "--output", devices=False)
    for path in (tmp_path / "file", tmp_path / "new"):
        check_target(path, "--page")
    assert not (tmp_path / "new").exists()


def test_folders_are_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    check_folder(tmp_path / "a" / "b", "--run-dir")
    with pytest.raises(UserError, match="is a file; choose another with --run-dir"):
        check_folder(tmp_path / "file" / "run", "--run-dir")
    with pytest.raises(UserError, match="link to nothing"):
        check_folder(tmp_path / "dangling" / "run", "--run-dir")
    with pytest.raises(UserError, match="File name too long"):
        check_folder(tmp_path / ("x" * 300), "--run-dir")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match=r"cannot be made: .* cannot be written to"):
        check_folder(tmp_path / "a" / "b", "--run-dir")
    assert not (tmp_path / "a").exists()


def test_what_another_writes_meanwhile_is_not_taken_for_a_draft(tmp_path):
    """Two writers of one file do not share a draft: the last one wins, whole."""
    contents = [str(number) * 50_000 for number in range(4)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "file", text)) for text in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_text() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_naming_leaves_broken_pipes_to_who_knows_them():
    with pytest.raises(BrokenPipeError) as caught, whole_files.naming_errors("standard output"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert caught.value.filename is None


def test_a_file_that_a_run_is_made_of_is_no_target(tmp_path):
    """Nor by a link; a file of that name elsewhere is one like any other."""
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / name).write_text("of the run")
    (tmp_path / "page.md").symlink_to(tmp_path / "metrics.jsonl")
    for name in ("config.yaml", "metrics.jsonl", "page.md"):
        with pytest.raises(UserError, match="a file that the run beside it is made of"):
            check_target(tmp_path / name, "--page")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "metrics.jsonl").write_text("")
    check_target(tmp_path / "elsewhere" / "metrics.jsonl", "--page")
