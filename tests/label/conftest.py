"""What the tests of the label server share: the real server on a free port, over studies and models of their own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.networks.nets import UNet
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medseg.bundle import find_bundles
from medseg.errors import ServerError
from medseg.label.installation import INSTALL_LINES, missing_modules
from medseg.monai_label_client import MonaiLabelClient
from medseg.training.checkpoint import write_weights

REQUIRE = "MEDSEG_REQUIRE_LABEL"
"""Set by continuous integration: a test that lacks the server is then a failure, no skip."""

PACS_PROGRAMS = ("Orthanc", "dciodvfy", "itkimage2segimage")
PACS_PLUGINS = "/usr/share/orthanc/plugins/"
STUDY, FRAME = generate_uid(), generate_uid()

START_S = 120
TRAINING = {"steps": 8, "batch_size": 2, "validate_every": 4, "checkpoint_every": 2, "learning_rate": 0.002}


@pytest.fixture(scope="session")
def label_server_installed() -> None:
    """Nothing where MONAI Label is installed, else a skip."""
    missing = missing_modules()
    if missing:
        if os.environ.get(REQUIRE):
            pytest.fail(f"{REQUIRE} is set, but {', '.join(missing)} are not installed")
        pytest.skip(f"the MONAI Label server is not installed ({missing[0]} …): {'; '.join(INSTALL_LINES)}")


@dataclass(frozen=True)
class Server:
    """A server that runs: its address, its folders, its process."""

    url: str
    studies: Path | str
    work_folder: Path
    bundles: dict[str, Path]
    process: subprocess.Popen[bytes]
    token: str | None = None

    @property
    def client(self) -> MonaiLabelClient:
        """A client of ours."""
        return MonaiLabelClient(self.url, token=self.token, timeout_s=60)


def _network(in_channels: int, out_channels: int) -> dict[str, object]:
    return {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 3,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "channels": [4, 8],
        "strides": [2],
    }


def make_bundle(folder: Path, *, source: str, in_channels: int, out_channels: int) -> Path:
    """A bundle of medseg with a network of a few hundred weights, drawn at random and always the same."""
    shutil.copytree(find_bundles()[source] / "configs", folder / "configs")
    network = _network(in_channels, out_channels)
    changes = {"inference": {"network_def": network, "roi_size": [16, 16, 16]}}
    if (folder / "configs" / "train.yaml").is_file():
        recipe = yaml.safe_load((folder / "configs" / "train.yaml").read_text())["training"]
        changes["train"] = {"training": recipe | TRAINING}
    for name, changed in changes.items():
        path = folder / "configs" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changed, sort_keys=False))
    (folder / "models").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = UNet(**{key: value for key, value in network.items() if key != "_target_"})
    write_weights(built.state_dict(), folder / "models" / "model.safetensors")
    return folder


def write_case(path: Path, *, seed: int, labels: Path | None = None, oblique: bool = False) -> None:
    """A scan of two touching blocks in noise, and its labels where asked for."""
    random = np.random.default_rng(seed)
    reference = np.zeros((22, 20, 18), np.uint8)
    i, j, k = random.integers(3, 8, size=3)
    reference[i : i + 4, j : j + 7, k : k + 6] = 1
    reference[i + 4 : i + 8, j : j + 7, k : k + 6] = 2
    image = (random.normal(100, 10, size=reference.shape) + 100 * reference).astype(np.float32)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    if oblique:
        angle = 0.3
        affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), path)
    if labels is not None:
        labels.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(reference, affine), labels)


@pytest.fixture(scope="session")
def write_blocks():
    """``write_case``."""
    return write_case


@pytest.fixture(scope="session")
def start_label_server():
    """Starts a server, gives it, and stops it."""

    def started(*words, may_be_killed=False, **named):
        server = start(*words, **named)
        yield server
        if not may_be_killed or server.process.poll() is None:
            assert stop(server) == 0

    return started


@pytest.fixture(scope="session")
def free_local_port():
    """``free_port``."""
    return free_port


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(
    *words: object, studies: Path | str, work_folder: Path, bundles: dict[str, Path], token: str | None = None
) -> Server:
    """Start ``medseg label serve`` and wait until it answers."""
    port = free_port()
    command = [sys.executable, "-m", "medseg", "label", "serve", *map(str, bundles.values()), *map(str, words)]
    command += ["--studies", str(studies), "--work-folder", str(work_folder), "--port", str(port)]
    no_gpu = {"CUDA_VISIBLE_DEVICES": ""}  # labels are compared with those that the CPU gives in the test's process
    environment = {**os.environ, **no_gpu, **({"MEDSEG_LABEL_TOKEN": token} if token else {})}
    work_folder.parent.mkdir(exist_ok=True)
    log = (work_folder.parent / f"{work_folder.name}_{port}.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", studies, work_folder, bundles, process, token)
    client = MonaiLabelClient(server.url, token=token, timeout_s=10)
    for _ in range(START_S * 2):
        try:
            client.info()
        except ServerError:
            if process.poll() is not None:
                pytest.fail(f"the server ended with {process.returncode}: {Path(log.name).read_text()[-2000:]}")
            time.sleep(0.5)
        else:
            return server
    process.kill()
    pytest.fail(f"the server did not answer in {START_S} s: {Path(log.name).read_text()[-2000:]}")


def stop(server: Server) -> int:
    """Stop a server as Ctrl-C does; its exit code."""
    server.process.send_signal(signal.SIGINT)
    return server.process.wait(timeout=60)


@pytest.fixture(scope="session")
def label_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models that run in a moment: one of one channel, and one of the four of BraTS."""
    folder = tmp_path_factory.mktemp("label_bundles")
    return {
        "tiny": make_bundle(folder / "tiny", source="swin_unetr_hippocampus", in_channels=1, out_channels=3),
        "tiny_brats": make_bundle(folder / "tiny_brats", source="swin_unetr_brats", in_channels=4, out_channels=3),
    }


@pytest.fixture(scope="session")
def label_server(label_server_installed, label_bundles, tmp_path_factory):
    """The real server over four scans, an oblique one and a BraTS case."""
    folder = tmp_path_factory.mktemp("label_server")
    studies = folder / "studies of mine"  # a blank in the path is nothing special
    for number in range(4):
        write_case(studies / f"case_{number}.nii.gz", seed=number)
    write_case(studies / "oblique.nii.gz", seed=7, oblique=True)
    for number, channel in enumerate(("flair", "t1", "t1ce", "t2")):
        write_case(studies / "BraTS2021_00001" / f"BraTS2021_00001_{channel}.nii.gz", seed=20 + number)
    write_case(studies / "BraTS2021_00001" / "BraTS2021_00001_seg.nii.gz", seed=24)
    (folder / "outside.nii.gz").write_bytes((studies / "case_0.nii.gz").read_bytes())
    server = start(studies=studies, work_folder=folder / "work", bundles=label_bundles)
    yield server
    assert stop(server) == 0


def _found(name):
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.fixture(scope="session")
def pacs_programs(label_server_installed):
    """Nothing where the programs are installed, else a skip."""
    missing = [name for name in PACS_PROGRAMS if _found(name) is None]
    if missing:
        if os.environ.get("MEDSEG_REQUIRE_LABEL"):
            pytest.fail(f"MEDSEG_REQUIRE_LABEL is set, but {', '.join(missing)} are not installed")
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install orthanc orthanc-dicomweb dicom3tools")


def _slice(number, values, series):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = STUDY, series, FRAME
    one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Doe^Jane", "42", "19700101", "F"
    one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20260101", "120000", "1", "1"
    one.SeriesDate, one.SeriesTime, one.ContentDate, one.ContentTime = "20260101", "120000", "20260101", "120000"
    one.ReferringPhysicianName, one.PositionReferenceIndicator, one.Manufacturer = "", "", "medseg"
    one.Modality, one.ImageType, one.SeriesNumber, one.InstanceNumber = "MR", ["ORIGINAL", "PRIMARY", "M"], 1, number
    one.ScanningSequence, one.SequenceVariant, one.ScanOptions, one.MRAcquisitionType = "GR", "SP", "", "3D"
    one.EchoTime, one.RepetitionTime, one.EchoTrainLength = 3, 8, 1
    (one.Rows, one.Columns), one.SamplesPerPixel, one.PhotometricInterpretation = values.shape, 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    one.PixelSpacing, one.SliceThickness, one.SpacingBetweenSlices = [1, 1], 1.5, 1.5
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-11.0, -10.0, 1.5 * number]
    one.PixelData = values.astype("<u2").tobytes()
    return one


def write_blocks_series(folder: Path, *, seed: int) -> tuple[str, np.ndarray]:
    """An MR series of two touching blocks in noise; its UID, and its labels (slices, rows, columns)."""
    random = np.random.default_rng(seed)
    labels = np.zeros((18, 20, 22), np.uint8)
    k, j, i = random.integers(3, 8, size=3)
    labels[k : k + 6, j : j + 7, i : i + 4] = 1
    labels[k : k + 6, j : j + 7, i + 4 : i + 9] = 2
    uid = generate_uid()
    folder.mkdir(parents=True)
    for number, values in enumerate(random.normal(100, 10, size=labels.shape) + 100 * labels):
        _slice(number, values, uid).save_as(folder / f"{number:03d}.dcm")
    return uid, labels


@pytest.fixture(scope="session")
def write_series():
    """``write_blocks_series``."""
    return write_blocks_series


@pytest.fixture(scope="session")
def start_orthanc(pacs_programs):
    """Starts Orthanc with the files of some folders; gives its address and a function that asks it, and stops it."""

    def started(folder, series):
        settings = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [PACS_PLUGINS],
            "HttpPort": free_port(),
            "DicomPort": free_port(),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        url = f"http://127.0.0.1:{settings['HttpPort']}"

        def ask(path, body=None, method=None):
            request = urllib.request.Request(url + path, data=body, method=method)
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()

        for _ in range(100):
            try:
                ask("/system")
                break
            except OSError:
                time.sleep(0.2)
        for path in sorted(file for one in series for file in one.iterdir()):
            ask("/instances", path.read_bytes())
        yield url, ask
        process.terminate()
        process.wait(timeout=30)

    return started
