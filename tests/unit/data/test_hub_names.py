"""Names of data sets on the hub."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from arkor.data.hub_names import check_hub_name
from arkor.errors import ConfigError


@pytest.mark.parametrize("name", ["a/b", "HuggingFaceH4/no_robots", "my-org/rows.v2", "0x/1"])
def test_owner_and_name_are_accepted(name: str) -> None:
    """With the letters that the hub allows."""
    check_hub_name("dataset", name)


@pytest.mark.parametrize("name", ["text", "json", "csv", "parquet", "imdb", "my-rows"])
def test_a_bare_name_is_refused_with_the_full_name_to_use(name: str) -> None:
    """It could be a kind of file, or a folder; a name that is not known comes with the page that shows the owner."""
    with pytest.raises(ConfigError, match=rf"owner/name, not '{name}': .*(/imdb|/datasets/{name} )") as raised:
        check_hub_name("dataset", name)
    assert raised.value.field == "dataset"


@pytest.mark.parametrize(
    "name",
    [
        "/etc",
        "/etc/passwd",
        "./rows",
        "../rows",
        "..",
        "a/..",
        "a/b/c",
        "a/",
        "~/rows",
        "~op/rows",
        "a\\b",
        "a/b\n",
        "hf://datasets/a/b",
        "hf://buckets/a/b",
        "file:///etc",
        "https://host/rows",
        "s3://a",
        "a/b@main",
        "é/b",
        "a/b*",
    ],
)
def test_a_path_or_address_is_refused(name: str) -> None:
    """The error says how to train on a file."""
    with pytest.raises(ConfigError, match="for a file, use LocalDataset"):
        check_hub_name("dataset", name)


@given(st.text())
def test_a_name_that_is_accepted_is_two_plain_parts(name: str) -> None:
    """No absolute path, no way up, no scheme, nothing that a shell or a glob would read."""
    try:
        check_hub_name("dataset", name)
    except ConfigError:
        return
    owner, _, rest = name.partition("/")
    for part in (owner, rest):
        assert part.replace("-", "").replace("_", "").replace(".", "").isalnum()
        assert part.isascii()
        assert not part.startswith(".")
