"""Getting ready for the server: which models, which studies, where to work, who may come in.

In: what a person typed. Out: a ``ServerPlan``, and a process whose environment MONAI Label can start in: nothing is
downloaded, nothing is written beside the studies' labels and the work folder, and the processes that the server
starts find the same packages as this one.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import medseg
from medseg.bundle import Bundle, find_bundles, load_bundle
from medseg.errors import OutputError, SettingsError
from medseg.label.installation import stand_in_folders
from medseg.record import ProcessMark
from medseg.settings import Settings
from medseg.shared_folder import shared_folder

__all__ = [
    "AppOptions",
    "ServerPlan",
    "SkippedBundle",
    "app_environment",
    "choose_bundles",
    "is_loopback",
    "is_url",
    "log_settings",
    "prepare_process",
    "work_folder_for",
]

TOKEN_CHARACTERS = 16
"""The least length of a token: shorter ones can be guessed."""

INFER_LIMIT = 4
"""Segmentations that are computed or wait at once; more are sent away and may come back."""

BODY_LIMIT_BYTES = 2_000_000_000
"""The largest scan that can be sent."""


class AppOptions(Settings):
    """What the app, in the server's process and in those that it starts, must know."""

    bundles: tuple[str, ...]
    """Folders."""
    work_folder: Path
    runtime: str = "auto"
    server: ProcessMark
    """The process of the server: what it starts ends with it."""


@dataclass(frozen=True)
class ServerPlan:
    """A server that is to be started.

    Args:
        studies: a folder, or the address of a DICOMweb server.
        bundles: folders of models.
        token: what clients must send; without it only this machine is listened to.
    Raises:
        SettingsError: the address can be reached from elsewhere and there is no token, or it is short.
    """

    studies: str
    bundles: tuple[Path, ...]
    work_folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    runtime: str = "auto"
    infer_limit: int = INFER_LIMIT
    body_limit_bytes: int = BODY_LIMIT_BYTES

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise SettingsError(
                f"--host {self.host} can be reached from other machines: give a secret with --token, or leave it out."
            )
        if self.token is not None and len(self.token) < TOKEN_CHARACTERS:
            raise SettingsError(
                f"the token has {len(self.token)} characters: at least {TOKEN_CHARACTERS} were expected, for example "
                "from: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )

    @property
    def is_pacs(self) -> bool:
        """Whether the studies lie in a DICOMweb server."""
        return is_url(self.studies)

    @property
    def app_folder(self) -> Path:
        """Where the app is copied to: MONAI Label writes beside it."""
        return self.work_folder / "app"

    @property
    def options(self) -> AppOptions:
        """What the app must know, in this process's server and in what it starts."""
        folders = tuple(str(folder) for folder in self.bundles)
        return AppOptions(
            bundles=folders,
            work_folder=self.work_folder,
            runtime=self.runtime,
            server=ProcessMark.of_this_process(),
        )


@dataclass(frozen=True)
class SkippedBundle:
    """A model that is not offered, and why."""

    name: str
    reason: str


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_url(studies: str) -> bool:
    """Whether studies are the address of a server and no folder."""
    return urlsplit(studies).scheme in ("http", "https")


def choose_bundles(names: Sequence[str]) -> tuple[list[Bundle], list[SkippedBundle]]:
    """The models that are named, or without names every one that medseg brings along and whose weights are here.

    Raises:
        BundleError: a model that was named is not there.
        SettingsError: a model that was named has no weights.
    """
    chosen, skipped = [], []
    for name in names or sorted(find_bundles()):
        bundle = load_bundle(name)
        if bundle.weights_path.is_file():
            chosen.append(bundle)
        else:
            skipped.append(SkippedBundle(bundle.name, "it has no weights here"))
    if names and skipped:
        raise SettingsError(f"{skipped[0].name} has no weights here: train it, or leave it out.")
    doubled = {one.name for one in chosen if [other.name for other in chosen].count(one.name) > 1}
    if doubled:
        raise SettingsError(f"two models are called {min(doubled)}: clients cannot tell them apart. Rename one.")
    return chosen, skipped


def work_folder_for(studies: str) -> Path:
    """The folder of one set of studies in this person's cache: versions of models, scores, trainings, logs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "medseg" / "label" / hashlib.sha256(studies.encode()).hexdigest()[:16]


def prepare_process(plan: ServerPlan) -> None:
    """Make this process, and those that it will start, one that MONAI Label can run in; call before importing it,
    and while the work folder is held: files of a server that was killed are removed.

    Raises:
        OutputError: the work folder cannot be made.
    """
    try:
        for name in ("sessions", "tmp", "logs"):
            (plan.work_folder / name).mkdir(parents=True, exist_ok=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(shared_folder("app"), plan.app_folder, ignore=ignored, dirs_exist_ok=True)  # its log stays
        for left in (plan.work_folder / "tmp").iterdir():  # of a server that was killed
            left.unlink(missing_ok=True) if left.is_file() else shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"{plan.work_folder} cannot be written to ({error.strerror}): choose another with --work-folder."
        ) from error
    folders = [str(folder) for folder in stand_in_folders()]
    sys.path[:0] = folders
    os.environ.update(app_environment(plan, stand_ins=folders))
    os.chdir(plan.work_folder)  # MONAI Label reads a file .env where it stands: never that of somebody's folder


def app_environment(plan: ServerPlan, *, stand_ins: Sequence[str]) -> Mapping[str, str]:
    """The environment of the server's process: MONAI Label's settings, and where Python finds packages."""
    path = [*stand_ins, str(Path(medseg.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    scripts = str(Path(sys.executable).parent)  # dcmqi's programs lie beside Python
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
        "TMPDIR": str(plan.work_folder / "tmp"),
        "MONAI_LABEL_SESSION_PATH": str(plan.work_folder / "sessions"),
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(plan.work_folder / "dicom"),
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",  # ours are computed when a strategy asks for them
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "MONAI_LABEL_AUTH_ENABLE": "false",  # needs an identity server; a token is medseg's own affair
        "MONAI_ZOO_SOURCE": "ngc",  # anything but its default, which is asked over the network at start
    }


def log_settings(plan: ServerPlan) -> Path:
    """A file of settings for logging: what trainings and medseg say, and of MONAI Label only what went wrong.

    MONAI Label's own messages repeat the names of images.
    """
    line = {"class": "logging.handlers.RotatingFileHandler", "maxBytes": 10_000_000, "backupCount": 3}
    file = {**line, "filename": str(plan.app_folder / "logs" / "app.log"), "encoding": "utf-8"}
    tasks = {f"task_{name}": {"level": "INFO"} for name in ("train", "scoring", "batch_infer")}
    settings = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"dated": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {
            "file": {**file, "formatter": "dated"},
            "console": {"class": "logging.StreamHandler", "formatter": "dated"},
        },
        "root": {"level": "WARNING", "handlers": ["file", "console"]},
        "loggers": {"medseg": {"level": "INFO"}, "uvicorn.error": {"level": "INFO"}, **tasks},
    }
    path = plan.work_folder / "logging.json"
    (plan.app_folder / "logs").mkdir(exist_ok=True)
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return path
