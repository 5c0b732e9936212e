"""Out of memory is a step down: the same labels with less memory, and every step is told."""

from dataclasses import replace

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose
from torch import nn

from medseg.errors import RunError
from medseg.inference import ManyPasses, MirrorInferer, Segmenter, SliceBySliceInferer, Stages, rungs
from medseg.inference.ladder import HalfPrecision, is_out_of_memory, within
from medseg.labels import Label, LabelTable

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Greedy(nn.Module):
    """A network for which memory ends at so many windows at once, or altogether outside half precision."""

    def __init__(self, *, most: int, only_half: bool = False) -> None:
        super().__init__()
        self.most = most
        self.only_half = only_half
        self.taken: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.taken.append(x.shape[0])
        if x.shape[0] > self.most or (self.only_half and not torch.is_autocast_enabled("cpu")):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.cat([-x, x], dim=1)


def segmenter_with(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    monkeypatch.setattr("medseg.inference.segmenter.rungs", lambda inferer, *, device: rungs(inferer, device=GPU))
    return Segmenter(
        preprocessing=Compose([]),
        network=network,
        inferer=SlidingWindowInferer(roi_size=(8, 8, 8), sw_batch_size=4, overlap=0.5),
        postprocessing=Compose([]),
        label_table=LabelTable(labels=(Label(index=1, name="bright", color=(255, 255, 255)),)),
        channel_names=("T1",),
    )


@pytest.fixture
def image() -> MetaTensor:
    return MetaTensor(torch.randn(1, 16, 14, 12, generator=torch.Generator().manual_seed(0)))


def test_each_step_down_is_told_and_the_labels_stay_the_same(monkeypatch, image):
    told: list[str] = []
    expected = segmenter_with(Greedy(most=4), monkeypatch)(image)
    network = Greedy(most=1)
    found = segmenter_with(network, monkeypatch)(image, stages=Stages(told=told.append))
    assert (found.labels == expected.labels).all()
    assert network.taken[:3] == [4, 2, 1]
    assert told == [
        "cpu ran out of memory with the windows that the bundle takes together: trying with less.",
        "cpu ran out of memory with 2 windows at once: trying with less.",
    ]


def test_a_model_with_fewer_rungs_stays_in_full_precision_while_the_other_takes_smaller_batches(monkeypatch, image):
    class Sensitive(nn.Module):
        """Counts how often it computes in half precision."""

        n_half = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.n_half += torch.is_autocast_enabled("cpu")
            return torch.cat([-x, x], dim=1)

    sensitive = Sensitive()
    alone = replace(segmenter_with(sensitive, monkeypatch), inferer=SlidingWindowInferer((8, 8, 8), overlap=0.5))
    in_slices = replace(segmenter_with(Greedy(most=1), monkeypatch), inferer=SliceBySliceInferer(0, (8, 8)))
    expected = ManyPasses((alone, replace(in_slices, network=Greedy(most=16))))(image).labels
    for models in ((alone, in_slices), (in_slices, alone)):
        told: list[str] = []
        found = ManyPasses(models)(image, stages=Stages(told=told.append)).labels
        assert (found == expected).all()
        assert sensitive.n_half == 0
        assert [one.split(" with ", 1)[1].split(":")[0] for one in told] == [
            "the windows that the bundle takes together",
            "8 windows at once",
            "4 windows at once",
            "2 windows at once",
        ]


def test_the_last_rung_computes_in_half_precision(monkeypatch, image):
    expected = segmenter_with(Greedy(most=4), monkeypatch)(image)
    found = segmenter_with(Greedy(most=1, only_half=True), monkeypatch)(image)
    assert (found.labels == expected.labels).mean() > 0.99


def test_where_nothing_fits_one_line_says_what_to_do(monkeypatch, image):
    with pytest.raises(RunError, match="in half precision: use a machine, or a container, with more memory"):
        segmenter_with(Greedy(most=0), monkeypatch)(image)


def test_another_error_is_no_reason_to_step_down(monkeypatch, image):
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        segmenter_with(Broken(), monkeypatch)(image)


@pytest.mark.parametrize(
    "said", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_a_cpu_that_says_so_is_a_step_down_too(monkeypatch, image, said):
    class Limited(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.is_autocast_enabled("cpu"):
                raise said
            return torch.cat([-x, x], dim=1)

    told: list[str] = []
    segmenter = replace(segmenter_with(Greedy(most=4), monkeypatch), network=Limited())
    assert segmenter(image, stages=Stages(told=told.append)).labels.any()
    assert told[-1] == "cpu ran out of memory with the scan on the CPU: trying with less."


def test_torch_itself_says_on_a_cpu_what_is_looked_for():
    with pytest.raises(RuntimeError) as ended:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(ended.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_what_a_transform_ran_out_of_is_seen_through_the_error_of_its_compose():
    def too_large(image):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="applying transform") as ended:
        Compose([too_large])(torch.zeros(1))
    assert is_out_of_memory(ended.value)


def test_on_a_cpu_windows_go_one_by_one_and_the_bundles_inferer_stays_as_it_is():
    inferer = SlidingWindowInferer(roi_size=(8, 8, 8), sw_batch_size=4)
    first, last = rungs(inferer, device=CPU)
    assert (first.is_half, last.is_half) == (False, True)
    assert (first.inferer.sw_batch_size, inferer.sw_batch_size) == (1, 4)
    slices = SliceBySliceInferer(0, (8, 8), batch_size=16)
    assert next(rungs(slices, device=CPU)).inferer is slices


def test_on_a_gpu_batches_halve_then_the_blend_moves_then_the_scan_then_precision_falls():
    volumes = MirrorInferer(SlidingWindowInferer(roi_size=(8, 8, 8), sw_batch_size=4), (0,))
    steps = list(rungs(volumes, device=GPU))
    assert [step.inferer.inferer.sw_batch_size for step in steps] == [4, 2, 1, 1, 1, 1]
    assert [step.inferer.inferer.device for step in steps] == [None, None, None, CPU, CPU, CPU]
    assert [step.keeps_scan_on_cpu for step in steps] == [False] * 4 + [True] * 2
    assert [step.is_half for step in steps] == [False] * 5 + [True]
    slices = list(rungs(SliceBySliceInferer(0, (8, 8), batch_size=2), device=GPU))
    assert [step.inferer.batch_size for step in slices] == [2, 1, 1, 1]


def test_half_precision_gives_logits_in_float32():
    logits = HalfPrecision(nn.Conv3d(1, 2, 1))(torch.rand(1, 1, 4, 4, 4))
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(("free_mb", "expected"), [(2000, 16), (1700, 16), (900, 8), (150, 1), (60, 1), (0, 1)])
def test_on_a_cpu_the_first_rung_is_the_first_that_fits_into_the_free_memory(free_mb, expected):
    steps = list(rungs(SliceBySliceInferer(0, (8, 8), batch_size=16), device=CPU))
    chosen = within(steps, free_mb=free_mb, window_mb=lambda count: 100.0 * count)
    assert chosen[0].batch_size == expected
    assert chosen[0].is_half == (free_mb < 100)
    assert chosen[-1] is steps[-1]


def test_little_free_memory_is_told_and_the_labels_stay_the_same(monkeypatch, image):
    segmenter = segmenter_with(Greedy(most=4), monkeypatch)
    expected = segmenter(image).labels
    monkeypatch.setattr("medseg.inference.segmenter.free_memory_bytes", lambda: 900_000_000)
    told: list[str] = []
    short = replace(segmenter, window_mb=lambda count: 1000.0 * count)
    assert (short(image, stages=Stages(told=told.append)).labels == expected).mean() > 0.99
    assert told == ["0.9 GB of memory are free: computing with windows in half precision."]
