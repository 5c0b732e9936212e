"""The cache is tidied: what killed processes and earlier revisions left goes, and nothing else does."""

import os
import time

from medseg.inference.runtime.tidy import DEAD_AFTER_S, tidy

HERE = "abc_1x1x16x16x16_ov2026.4.1_"


def test_what_earlier_revisions_kept_of_the_same_network_goes(tmp_path):
    gone = [f"{HERE}4.xml", f"{HERE}4.bin", f"compiled/{HERE}3_bfloat16_2_0123/1.blob"]
    stays = [
        f"{HERE}12.xml",
        f"{HERE}5.xml",
        f"compiled/{HERE}5_bfloat16_2_0123/1.blob",
        "abc_1x1x16x16x16_ov2025.1.0_2.xml",
        "abd_1x1x16x16x16_ov2026.4.1_4.xml",
        "abc_1x1x16x16x16_openvino_bfloat16_0123.proof.json",
    ]
    for name in gone + stays:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    tidy(tmp_path, name=HERE, revision=5)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(stays)


def test_a_folder_that_was_left_unfinished_goes_after_a_day(tmp_path):
    for name in ("unfinished-old", "unfinished-now", "somebody-elses"):
        (tmp_path / name / "compiled").mkdir(parents=True)
    long_ago = time.time() - DEAD_AFTER_S - 60
    for name in ("unfinished-old", "somebody-elses"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    tidy(tmp_path, name=HERE, revision=5)
    assert {path.name for path in tmp_path.iterdir()} == {"unfinished-now", "somebody-elses"}


def test_a_cache_that_is_not_there_needs_no_tidying(tmp_path):
    tidy(tmp_path / "none", name=HERE, revision=5)
    assert not (tmp_path / "none").exists()
