"""The memory that is free: a container's limit counts where it is lower than the machine's."""

from pathlib import Path

import psutil
import pytest

from medseg import free_memory

MB = 2**20


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that puts this process into a control group with these files."""

    def put(line: str, folder: str, files: dict[str, object]) -> None:
        (tmp_path / "cgroup").write_text(f"{line}\n")
        place = tmp_path / "groups" / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (place / name).write_text(f"{content}\n")
        monkeypatch.setattr(free_memory, "GROUPS_OF_PROCESS", tmp_path / "cgroup")
        monkeypatch.setattr(free_memory, "GROUPS", tmp_path / "groups")

    return put


def test_the_rest_of_a_version_2_limit_is_free_and_cached_files_count_as_free(group):
    files = {"memory.max": 300 * MB, "memory.current": 250 * MB, "memory.stat": f"anon 1\ninactive_file {50 * MB}"}
    group("0::/job/step", "job", files)  # the limit of the group above holds as well
    assert free_memory.free_memory_bytes() == 100 * MB
    assert free_memory.total_memory_bytes() == 300 * MB


@pytest.mark.parametrize("place", ["/docker/abc", "/"])
def test_the_rest_of_a_version_1_limit_is_free_also_where_the_path_is_that_outside_of_the_container(place, group):
    files = {"memory.limit_in_bytes": 200 * MB, "memory.usage_in_bytes": 150 * MB}
    group(f"4:cpu,memory:{place}", "memory", files)
    assert free_memory.free_memory_bytes() == 50 * MB


def test_without_a_limit_the_machine_counts(group):
    group("0::/", ".", {"memory.max": "max", "memory.current": 5})
    assert free_memory.total_memory_bytes() == psutil.virtual_memory().total
    assert 0 < free_memory.free_memory_bytes() <= psutil.virtual_memory().total


def test_what_is_used_beyond_the_limit_leaves_nothing(group):
    group("0::/", ".", {"memory.max": 5, "memory.current": 9})
    assert free_memory.free_memory_bytes() == 0
