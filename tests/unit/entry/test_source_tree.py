"""Where an entry lies and what it is called, by the rules of every system."""

from __future__ import annotations

from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from arkor.entry.source_tree import locate, name_below, normal_path, way_between

WINDOWS = PureWindowsPath("C:/Users/Ann Ö/proj")


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("src\\arkor\\index.py", "src/arkor/index.py"),
        ("src/arkor/index.py", "src/arkor/index.py"),
        (".\\src\\..\\train.py", "train.py"),
        ("C:\\Users\\Ann Ö\\proj\\src\\index.py", "src/index.py"),
        ("c:/users/ANN Ö/PROJ/src/Index.py", "src/Index.py"),
        ("\\Users\\Ann Ö\\proj\\train.py", "train.py"),
        ("C:train.py", "train.py"),
        ("..\\proj\\train.py", "train.py"),
    ],
)
def test_an_entry_on_windows_has_forward_slashes(entry: str, name: str) -> None:
    """However it is written: backslashes, a drive or none, another case."""
    assert name_below(normal_path(WINDOWS / entry), WINDOWS) == PurePosixPath(name)


@pytest.mark.parametrize(
    ("project", "entry", "name"),
    [("\\\\server\\share\\proj", "\\\\SERVER\\share\\proj\\a.py", "a.py"), ("D:\\", "D:\\a\\b.py", "a/b.py")],
)
def test_a_project_on_windows_may_be_a_share_or_a_drive(project: str, entry: str, name: str) -> None:
    """They have no folder above."""
    root = PureWindowsPath(project)
    assert name_below(normal_path(root / entry), root) == PurePosixPath(name)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (PurePosixPath("/a/b/../../c"), "/c"),
        (PurePosixPath("/a/../../../c"), "/c"),
        (PurePosixPath("/"), "/"),
        (PureWindowsPath("C:\\a\\..\\..\\b"), "C:\\b"),
        (PureWindowsPath("\\\\server\\share\\a\\..\\b"), "\\\\server\\share\\b"),
    ],
)
def test_a_normal_path_goes_up_no_more(path: PurePath, normal: str) -> None:
    """Nobody gets above the root."""
    assert str(normal_path(path)) == normal


@pytest.mark.parametrize(
    ("folder", "way"),
    [
        (PurePosixPath("/home/ann/proj"), "."),
        (PurePosixPath("/home/ann/other/deep"), "../other/deep"),
        (PurePosixPath("/"), "../../.."),
    ],
)
def test_the_way_to_a_folder_outside_is_relative(folder: PurePosixPath, way: str) -> None:
    """So that two machines with the same folders make the same artifact."""
    assert way_between(PurePosixPath("/home/ann/proj"), folder) == way


@pytest.mark.parametrize(
    ("folder", "way"),
    [("C:\\Users\\elsewhere", "../../elsewhere"), ("D:\\data", "D:/data"), ("\\\\server\\share", "//server/share/")],
)
def test_the_way_to_another_drive_is_the_whole_path(folder: str, way: str) -> None:
    """There is no other."""
    assert way_between(WINDOWS, PureWindowsPath(folder)) == way
    assert normal_path(WINDOWS / way) == PureWindowsPath(folder)


def test_an_entry_written_through_a_symbolic_link_lies_in_the_project(tmp_path: Path) -> None:
    """As /tmp is one on macOS; a file that is a link keeps its own name."""
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (tmp_path / "link").symlink_to(project)
    (tmp_path / "elsewhere.py").touch()
    (project / "src" / "train.py").symlink_to(tmp_path / "elsewhere.py")
    assert locate(tmp_path / "link" / "src" / "train.py", project) == (project, PurePosixPath("src/train.py"))


def test_a_package_outside_of_the_project_may_be_an_entry(tmp_path: Path) -> None:
    """Its relative imports are those of the package."""
    outside = tmp_path / "elsewhere" / "__init__.py"
    assert locate(outside, tmp_path / "project") == (tmp_path, PurePosixPath("elsewhere/__init__.py"))
