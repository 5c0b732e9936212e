"""Versions of weights: adding, using, going back."""

import pytest

from medseg.bundle import sha256_of
from medseg.errors import SettingsError
from medseg.label.versions import Measured, WeightsVersions

MEASURED = Measured(
    dice_before={"a": 0.5, "b": None},
    dice_after={"a": 0.6, "b": None},
    mean_before=0.5,
    mean_after=0.6,
    n_train=3,
    n_validation=1,
    steps=8,
)


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"own")
    return path


@pytest.fixture
def versions(tmp_path, own):
    return WeightsVersions(tmp_path / "versions", own_weights=own)


def _add(versions, tmp_path, content):
    path = tmp_path / "trained.safetensors"
    path.write_bytes(content)
    return versions.add(path, parent_sha256="0", measured=MEASURED)


def test_a_model_without_versions_is_as_it_came(versions, own):
    assert versions.current == 0
    assert versions.current_weights == own
    assert versions.all() == ()


def test_an_added_version_is_not_used_before_it_is_promoted(versions, own, tmp_path):
    version = _add(versions, tmp_path, b"one")
    assert versions.current_weights == own
    versions.promote(version.number)
    assert versions.current_weights.read_bytes() == b"one"
    assert version.sha256 == sha256_of(versions.current_weights)


def test_going_back_goes_to_what_was_in_use_before(versions, tmp_path):
    for content in (b"one", b"two", b"three"):
        _add(versions, tmp_path, content)
    versions.promote(1)
    versions.promote(3)
    assert versions.rollback() == 1
    assert versions.rollback() == 0
    with pytest.raises(SettingsError, match="no earlier version"):
        versions.rollback()


def test_another_process_sees_what_was_promoted(versions, tmp_path, own):
    _add(versions, tmp_path, b"one")
    other = WeightsVersions(tmp_path / "versions", own_weights=own)
    versions.promote(1)
    assert other.current == 1
    assert other.all() == versions.all()


def test_a_version_that_is_not_there_cannot_be_used(versions):
    with pytest.raises(SettingsError, match="no version 4"):
        versions.promote(4)


def test_a_version_that_was_cut_short_is_none_and_its_number_is_not_used_again(versions, tmp_path):
    _add(versions, tmp_path, b"one")
    (tmp_path / "versions" / "0001" / "version.json").unlink()
    with pytest.raises(SettingsError, match="no version 1"):
        versions.promote(1)
    assert _add(versions, tmp_path, b"two").number == 2


def test_better_is_more_than_equal():
    assert MEASURED.is_better
    assert not MEASURED.model_copy(update={"mean_after": 0.5}).is_better
