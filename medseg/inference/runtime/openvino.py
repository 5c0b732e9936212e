"""OpenVINO on the CPU: kernels for this processor, in bfloat16 where the processor multiplies it in hardware.

A network is captured as a graph in the quickest way, and in torch's own where that one does not do. What was compiled
is proved before it is kept. Where it computes in half precision and differs by more than rounding, the conversion is
proved in float32 too, which tells a mistake in it.
A converted network is kept on disk, and what the compiler made of it for this processor beside: the second start
takes a second. Torch computes what the network is proved against while the conversion goes on, and while the compiler
runs, which has a process of its own (``openvino_worker``).
"""

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.inference.memory import keep_only_for_torch
from medseg.inference.runtime.apart import NotCompiledError, NotConvertedError, TookTooLongError, compiled_apart
from medseg.inference.runtime.captured import captured
from medseg.inference.runtime.compiled import Compiled, CompiledNetwork
from medseg.inference.runtime.compiled_file import is_whole, loaded, remove_damaged
from medseg.inference.runtime.kept_proof import this_machine
from medseg.inference.runtime.openvino_worker import Order, compile_settings, import_quietly, open_sizes
from medseg.inference.runtime.proof import Golden, compared, prove
from medseg.inference.runtime.separate_heads import separate_heads
from medseg.inference.runtime.tidy import UNFINISHED, tidy
from medseg.inference.runtime.wide_kernels import widen_kernels
from medseg.inference.runtime.written_norms import with_written_norms

__all__ = ["REVISION", "compile_openvino"]

REVISION = 6
"""Of the way to convert: what an earlier one left in the cache is not used."""

Capture = Callable[[nn.Module, tuple[int, ...]], Any]
"""A network and the shape of its batches (B, C, *S) to what OpenVINO converts."""

NOTE = ".txt"
"""Ending of the file beside a converted network that says what was unusual about its conversion, if anything."""

LIMIT_S = 120.0
"""That the compiler may take at any rate: for the largest network here it takes 5 s on two idle cores."""

LIMIT_SHARE = 2.0
"""To which comes so many times what the conversion took under the same load: the compiler takes a fifth of that."""


def compile_openvino(golden: Golden, *, key: str, cache: Path) -> Compiled:
    """The network (B, C, *S) → (B, L, *S) compiled for this processor.

    Args:
        golden: the network, and the batches that will come.
        key: names the network and its weights; converted files are kept under it in ``cache``.
    Raises:
        ImportError: OpenVINO is not installed.
        NotCompiledError: it cannot be converted, the compiler crashed or took too long, or made something else.
    """
    openvino = import_quietly()
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = "bfloat16" if "BF16" in capabilities else "float32"
    n_threads = torch.get_num_threads()
    kept_as = f"{key}_{'x'.join(map(str, golden.shape))}_ov{openvino.__version__.split('-')[0]}_"
    name = f"{kept_as}{REVISION}"
    model = cache / f"{name}.xml"
    folder = cache / "compiled" / f"{name}_{precision}_{n_threads}_{this_machine('openvino')}"
    if model.is_file() and is_whole(folder):
        compiled = Compiled(_loaded(folder, golden.shape, precision=precision), precision, note=_note_of(model))
    else:
        cache.mkdir(parents=True, exist_ok=True)
        remove_damaged(folder)
        tidy(cache, name=kept_as, revision=REVISION)
        try:
            compiled = _made(golden, model, folder, precision=precision, capture=captured)
        except NotConvertedError as error:
            note = f"converted by torch.export, because the quicker conversion failed ({error})"
            compiled = _made(golden, model, folder, precision=precision, capture=exported, note=note)
    return compiled


def _loaded(folder: Path, shape: tuple[int, ...], *, precision: str) -> CompiledNetwork:
    """What the compiler made of a model, as it lies in the folder."""
    request, rest = loaded(folder, compile_settings(precision=precision, n_threads=torch.get_num_threads()))
    rest()
    return CompiledNetwork(_computing(request), batch_size=shape[0], window=shape[1:], rest=rest)


def _note_of(model: Path) -> str:
    """What was kept with a converted network about its conversion; mostly nothing."""
    try:
        return model.with_suffix(NOTE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _made(golden: Golden, model: Path, compiled: Path, *, precision: str, capture: Capture, note: str = "") -> Compiled:
    """Convert, unless ``model`` is there, and compile; what is kept takes its place when it is complete and proved.

    ``note`` is kept beside the converted network.
    """
    with TemporaryDirectory(dir=model.parent, prefix=UNFINISHED) as name:
        folder = Path(name)
        order = Order(
            model=str(model),
            window="",
            answer=str(folder / "answer.npy"),
            folder=str(folder / "compiled"),
            precision=precision,
            n_threads=torch.get_num_threads(),
        )
        if model.is_file():  # compiled for another number of threads, or another machine with the same cache
            path, proof = _compiled(order, folder=folder, limit_s=LIMIT_S), None
            network = _loaded(Path(order.folder), golden.shape, precision=precision)
        else:
            converted = replace(order, model=str(folder / "model.xml"))
            path, limit_s = _converted_and_compiled(golden, converted, capture=capture, folder=folder)
            network = _loaded(Path(order.folder), golden.shape, precision=precision)
            proof = prove(network, golden, precision=precision)
            if not proof.is_rounding:
                _check_exactly(golden, converted, folder=folder, limit_s=limit_s)
        if path != model:
            # Note and weights are in place before the file that is looked for.
            if note:
                (folder / "note").write_text(note, encoding="utf-8")
                (folder / "note").replace(model.with_suffix(NOTE))
            path.with_suffix(".bin").replace(model.with_suffix(".bin"))
            path.replace(model)
        _take_place(Path(order.folder), compiled)
    return Compiled(network, precision, proof, note=_note_of(model))


def _converted_and_compiled(golden: Golden, order: Order, *, capture: Capture, folder: Path) -> tuple[Path, float]:
    """The model that was compiled, and how long the compiler might have taken."""
    began = time.monotonic()
    with _told_apart():
        graph = capture(with_written_norms(golden.network), golden.shape)
    # Conversion leaves the other processors idle; a capture is Python throughout, and two would wait for one another.
    with ThreadPoolExecutor(max_workers=1) as pool:
        expected = pool.submit(lambda: golden.expected)
        _convert(graph, golden.shape, Path(order.model))
        del graph
        gc.collect()  # a graph is full of circles, and holds the weights
        keep_only_for_torch(computes=False)  # gives back what it held, before the window in torch is at its fullest
        limit_s = LIMIT_S + LIMIT_SHARE * (time.monotonic() - began)
        compiled = _compiled(order, folder=folder, limit_s=limit_s)
        expected.result()
    golden.put_away()  # the compiled network comes with weights of its own
    return compiled, limit_s


def _check_exactly(golden: Golden, order: Order, *, folder: Path, limit_s: float) -> None:
    """Nothing, if the converted model computes in float32 what torch does.

    Raises:
        NotConvertedError: it computes something else.
    """
    np.save(folder / "window.npy", golden.window.numpy())
    asked = replace(order, window=str(folder / "window.npy"))
    with compiled_apart(asked, folder=folder / "proof", limit_s=limit_s):
        pass
    proof = compared(torch.from_numpy(np.load(order.answer)), golden.expected, precision="float32")
    if not proof.is_passed:
        raise NotConvertedError(
            f"the converted network computes something else: logits differ by {proof.max_difference:.2g} at most, "
            f"their standard deviation is {proof.scale:.2g}"
        )


def _compiled(order: Order, *, folder: Path, limit_s: float) -> Path:
    """Compile for use, and say which model that was: known sizes make plans for less memory and a quicker first window.

    OpenVINO 2026.4 crashes over the known sizes of a TransUNet in float32: such a model is compiled with open ones.
    """
    try:
        with compiled_apart(order, folder=folder, limit_s=limit_s):
            return Path(order.model)
    except TookTooLongError:
        raise
    except NotCompiledError as error:
        if not error.is_lasting:
            raise
    openvino = import_quietly()
    model, path = openvino.Core().read_model(order.model), folder / "open.xml"
    open_sizes(model)
    _write(model, path)
    with compiled_apart(replace(order, model=str(path)), folder=folder, limit_s=limit_s):
        return path


def exported(network: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """The network as ``torch.export`` captures it, for inputs of this shape."""
    with torch.no_grad():
        return torch.export.export(network, (torch.zeros(shape),), strict=False)


def _convert(graph: Any, shape: tuple[int, ...], path: Path) -> None:
    openvino = import_quietly()
    with _told_apart():
        model = openvino.convert_model(graph)
        model.reshape(list(shape))
        separate_heads(openvino, model)
        widen_kernels(openvino, model)
    _write(model, path)


def _write(model: Any, path: Path) -> None:
    try:
        import_quietly().serialize(model, str(path))
    except RuntimeError as error:  # a full disk, to which OpenVINO gives no other name
        raise OSError(f"the converted network cannot be written: {' '.join(str(error).split()[:20])}") from error


@contextmanager
def _told_apart() -> Iterator[None]:
    """Within, what the network is to blame for is a ``NotConvertedError``; the rest passes as it is."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split()[:30])}"
        raise NotConvertedError(reason) from error


def _take_place(folder: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.replace(place)
    except OSError:
        if not is_whole(place):  # else another process was first
            raise


def _computing(request: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def compute(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer([windows], share_inputs=True)
        logits: NDArray[np.float32] = request.get_output_tensor(0).data
        return logits

    return compute
