"""The training loop: batches → loss → optimiser, with an averaged copy that is validated and kept.

In: a bundle with ``train.yaml`` and the cases of a manifest. Out, in one folder: ``checkpoint.pt`` to go on from,
``model.safetensors`` (the average that did best in validation), ``log.jsonl``, ``curves.png``. The same seed on
the same machine gives the same weights on a CPU, with or without interruptions.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from medseg.bundle import Bundle, load_weights, parse_settings
from medseg.data import DataManifest, convert_labels
from medseg.errors import BundleError, OutputError, RunError
from medseg.gpu import gpu_random_state, set_gpu_random_state
from medseg.training.agreement import check_agreement
from medseg.training.autocast import computing_in
from medseg.training.average import WeightAverage
from medseg.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint, write_weights
from medseg.training.dataset import Batches, prepare_examples
from medseg.training.deterministic import deterministic
from medseg.training.distributed import World, world
from medseg.training.example import Batch
from medseg.training.heads import AllHeads, left_out_of
from medseg.training.history import TrainingLog
from medseg.training.identity import differences, digests_of, fingerprint_of, identity_of
from medseg.training.prefetch import Prefetcher
from medseg.training.settings import TrainingSettings
from medseg.training.store import ExampleStore, default_budget
from medseg.training.validation import mean_of, validation_dice

__all__ = ["Progress", "TrainingResult", "train"]

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""

LOG_EVERY = 10
"""Steps between two lines of training loss in the log."""

PARTS = ("network", "preprocessing", "augmentation", "inferer", "loss", "optimizer", "lr_scheduler")
"""What a training is made of, in the order in which it is built."""

WEIGHTS_NAME = "model.safetensors"
CHECKPOINT_NAME = "checkpoint.pt"
CACHE_NAME = "cache"

DATA_BOUND_AFTER = 50
"""Steps after which it is judged whether learning waits for data: the first ones are slow for other reasons."""

DATA_BOUND_FROM = 0.3
"""Share of the time from which waiting is worth a warning."""


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training left behind; ``best_dice`` is NaN where there were no cases to validate on."""

    steps: int
    best_dice: float
    best_step: int
    elapsed_s: float
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


def train(  # noqa: PLR0913  what is trained on what, from where to where, on which device, and who watches
    bundle: Bundle,
    manifest: DataManifest,
    *,
    data_root: Path,
    output: Path,
    device: torch.device,
    resume: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> TrainingResult:
    """Train the bundle's network on the manifest's ``train`` split, choosing by its ``validation`` split.

    Args:
        bundle: loaded with the overlay ``train``.
        data_root: the data set's folder, or the folder around it.
        output: an empty or new folder; with ``resume``, the folder of the training to go on with.
    Raises:
        OutputError: the folder holds another training, or weights.
        BundleError: bundle and manifest disagree on channels or labels; what is gone on with is no longer what it was.
        RunError: the loss, or its gradient, is no longer a number.
    """
    check_agreement(bundle, manifest)
    manifest = manifest.on_disk(data_root)
    taken = [name for name in (CHECKPOINT_NAME, WEIGHTS_NAME) if (output / name).exists()]
    if taken and not resume:
        ways = ["go on with it by --resume"] if taken[0] == CHECKPOINT_NAME else []
        raise OutputError(
            f"{output} already holds a training ({taken[0]}): {', or '.join([*ways, 'choose another folder'])}."
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be made ({error.strerror}): choose another place with --output.") from error
    settings = TrainingSettings.from_mapping(parse_settings(bundle, "training"), source=f"{bundle.name}: training")
    with world(device) as processes, deterministic(settings.seed, device):
        trainer = _Trainer(bundle, settings, device=device, output=output, processes=processes)
        with trainer.prepared(manifest, data_root, progress):
            if resume:
                trainer.resume()
            else:
                trainer.start()
            return trainer.run(progress)


class _Trainer:
    """One training under way; mutable by its nature: its state is what a checkpoint holds."""

    def __init__(
        self, bundle: Bundle, settings: TrainingSettings, *, device: torch.device, output: Path, processes: World
    ) -> None:
        parser = bundle.parser(device=device)
        self._bundle = bundle
        self._settings = settings
        self._device = device
        self._output = output
        parts = {name: bundle.build(name, parser) for name in PARTS}
        self._parts = digests_of(parts)  # now: what they are changes while they are used
        self._network: nn.Module = parts["network"]
        if settings.deep_supervision and not hasattr(self._network, "heads"):
            raise BundleError(
                f"{bundle.name}: deep_supervision needs a network with several heads, "
                f"{type(self._network).__name__} has one: switch it off in train.yaml."
            )
        self._preprocessing, self._augmentation = parts["preprocessing"], parts["augmentation"]
        self._inferer, self._loss = parts["inferer"], parts["loss"]
        self._optimizer: torch.optim.Optimizer = parts["optimizer"]
        self._lr_scheduler: torch.optim.lr_scheduler.LRScheduler = parts["lr_scheduler"]
        self._processes = processes
        learner = AllHeads(self._network) if settings.deep_supervision else self._network
        self._learner = processes.wrapped(learner, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
        self._average = WeightAverage(self._network, decay=settings.ema_decay)
        self._validations_since_best = 0
        self._step = 0
        self._best_dice: float | None = None
        self._best_step: int | None = None
        self._elapsed_s = 0.0
        self._losses: list[float] = []
        self._log = TrainingLog(output, tensorboard=settings.tensorboard)
        self._warnings: list[str] = []
        self._can_choose = False

    @contextmanager
    def prepared(self, manifest: DataManifest, data_root: Path, progress: Progress) -> Iterator[None]:
        """Read and preprocess the training and validation cases, and have them at hand."""
        relabel = partial(convert_labels, source=manifest.schema_of_labels, target=self._bundle.label_schema)
        budget = self._settings.cache_gb
        with ExitStack() as stack:
            examples: dict[str, ExampleStore] = {}
            digests: dict[str, str] = {}
            bytes_left = default_budget() // self._processes.size if budget is None else int(budget * 1e9)
            for split in ("validation", "train"):  # the whole validation split is gone through again and again
                cases = manifest.locate(data_root, split=split, labelled=self._settings.labelled)
                folder = self._output / f"{CACHE_NAME}_{split}_{self._processes.rank}"
                store = stack.enter_context(closing(ExampleStore(folder, budget=bytes_left)))
                prepared = prepare_examples(
                    cases,
                    self._preprocessing,
                    channel_names=[channel.name for channel in manifest.channels],
                    wanted_channels=[channel.name for channel in self._bundle.channels],
                    relabel=relabel,
                    labelled=self._settings.labelled,
                    device=self._device,
                )
                for done, example in enumerate(prepared, start=1):
                    store.add(example)
                    digests[example.case_id] = example.digest
                    self._can_choose |= split == "validation" and bool(example.label.any())
                    progress(f"read {split}", done, len(cases))
                bytes_left -= store.n_bytes
                examples[split] = store
            self._examples, self._validation = examples["train"], examples["validation"]
            settings = self._settings
            batches = Batches(
                self._examples,
                self._augmentation,
                batch_size=settings.batch_size,
                seed=settings.seed,
                device=self._device,
            )
            self._batches = Prefetcher(batches, workers=settings.workers)
            stack.enter_context(self._batches.running())
            self._take_stock(manifest, digests)
            yield

    def _take_stock(self, manifest: DataManifest, digests: Mapping[str, str]) -> None:
        """Note what decides the outcome, and tell where nothing is left to choose weights by."""
        start = self._start_path
        self._fingerprint = fingerprint_of(self._bundle, manifest, start=start)
        self._identity = identity_of(self._bundle, manifest, start=start, parts=self._parts, cases=digests)
        if self._settings.labelled and not self._can_choose:
            found = "no validation case holds a label" if self._validation else "there are no validation cases"
            self._warnings.append(f"{found}, so there is nothing to choose by: the weights of the last step are kept.")

    def start(self) -> None:
        """Begin at step 0."""
        if self._processes.is_main:
            self._log.start()
        torch.manual_seed(self._settings.seed + self._processes.rank)
        if self._start_path:
            load_weights(self._network, self._start_path, left_out=left_out_of(self._start_path))
            self._average = WeightAverage(self._network, decay=self._settings.ema_decay)
        self._write_checkpoint()  # weights may be chosen before the next one: whatever is there can be gone on with

    def resume(self) -> None:
        """Go back to the last checkpoint, and forget what was logged after it."""
        checkpoint = read_checkpoint(self._checkpoint_path)
        self._check_identity(checkpoint)
        if checkpoint.device not in ("", self._device.type):
            self._warnings.append(
                f"the first {checkpoint.step} steps were computed on {checkpoint.device}, the others on "
                f"{self._device.type}: results differ a little from those of one device."
            )
        self._network.load_state_dict(checkpoint.network)
        self._average.load(checkpoint.average)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._lr_scheduler.load_state_dict(checkpoint.lr_scheduler)
        if len(checkpoint.random_state) != self._processes.size:
            raise BundleError(
                f"{self._output} was trained by {len(checkpoint.random_state)} processes, these are "
                f"{self._processes.size}: start as many."
            )
        torch.set_rng_state(checkpoint.random_state[self._processes.rank])
        if checkpoint.gpu_random_state:  # older checkpoints lack it
            set_gpu_random_state(self._device, checkpoint.gpu_random_state[self._processes.rank])
        self._scaler.load_state_dict(checkpoint.gradient_scaler)
        self._validations_since_best = checkpoint.validations_since_best
        self._step = checkpoint.step
        self._best_dice, self._best_step = checkpoint.best_dice, checkpoint.best_step
        self._elapsed_s = checkpoint.elapsed_s
        self._losses = list(checkpoint.unlogged_losses)
        if self._processes.is_main:
            self._log.resume(checkpoint.step)
            for half_written in self._output.glob(".*.partial"):  # each as large as a checkpoint
                half_written.unlink(missing_ok=True)

    def _check_identity(self, checkpoint: Checkpoint) -> None:
        """Refuse to go on as another training than the one that was started."""
        if checkpoint.identity:
            changed = differences(checkpoint.identity, self._identity)
        else:  # written before the parts were kept
            is_same = checkpoint.fingerprint == self._fingerprint
            changed = "" if is_same else "the configuration, the split or the torch version"
        if changed:
            raise BundleError(
                f"{self._output} cannot be gone on with, something is no longer as it was: {changed}. Restore what it "
                "was started with, or start anew in an empty folder; --set start=FILE begins there from its weights."
            )

    def run(self, progress: Progress) -> TrainingResult:
        """Train to the last step."""
        settings = self._settings
        first_step, before = self._step, self._elapsed_s
        began = time.monotonic() - before
        is_over = self._is_over()
        while not is_over:
            loss = self._processes.mean(self._learn())
            self._step += 1
            self._elapsed_s = time.monotonic() - began
            is_last = self._step == settings.steps
            if self._processes.is_main:
                self._log_loss(loss)
                if self._step - first_step == DATA_BOUND_AFTER:
                    self._judge_waiting(elapsed_s=self._elapsed_s - before)
                if self._step % settings.validate_every == 0 or is_last:
                    self._validate(progress)
            is_over = self._processes.agreed(self._is_over())
            if self._step % settings.checkpoint_every == 0 or is_over:
                self._write_checkpoint()
            progress("train", self._step, settings.steps)
        if self._processes.is_main:
            self._log.draw()
        return TrainingResult(
            steps=self._step,
            best_dice=self._best_dice if self._best_dice is not None else math.nan,
            best_step=self._best_step if self._best_step is not None else self._step,
            elapsed_s=self._elapsed_s,
            files=(self._output / WEIGHTS_NAME, self._checkpoint_path, self._log.path, self._log.curves_path),
            warnings=tuple(self._warnings),
        )

    @property
    def _start_path(self) -> Path | None:
        """The weights to begin from; a relative path counts from the bundle's folder, then from where one stands."""
        if self._settings.start is None:
            return None
        places = [self._bundle.folder / self._settings.start, Path(self._settings.start)]
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            raise BundleError(f"no weights {self._settings.start} to start from: name a .safetensors file.")
        return found

    @property
    def _checkpoint_path(self) -> Path:
        return self._output / CHECKPOINT_NAME

    def _is_over(self) -> bool:
        patience = self._settings.patience
        return self._step >= self._settings.steps or (patience is not None and self._validations_since_best >= patience)

    def _learn(self) -> float:
        """One step of the optimiser; returns the mean loss of its batches."""
        self._network.train()
        self._optimizer.zero_grad()
        count = self._settings.accumulate
        losses = [self._backward(self._batches.at(self._step * count + part)) for part in range(count)]
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.gradient_clip_norm)
        if not self._scaler.is_enabled() and not torch.isfinite(norm):  # the scaler itself leaves such a step out
            raise RunError(
                f"the gradient is {norm.item()} after {self._step} steps, though the loss is a number: lower the "
                "learning rate in train.yaml, or look for a loss that is not smooth."
            )
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._lr_scheduler.step()
        self._average.update(self._network, step=self._step)
        return sum(losses) / count

    def _backward(self, batch: Batch) -> float:
        images = self._processes.share(batch.images).to(self._device)
        labels = self._processes.share(batch.labels).to(self._device)
        with computing_in(self._settings.precision, self._device):
            logits = self._learner(images)
        # The loss in float32: sums over millions of voxels overflow or vanish in half precision.
        logits = list(map(torch.Tensor.float, logits)) if isinstance(logits, tuple) else logits.float()
        try:
            loss = self._loss(logits, labels)
        except (AttributeError, TypeError) as error:
            if not isinstance(logits, list):
                raise
            raise BundleError(
                f"{self._bundle.name}: deep_supervision gives the logits of {len(logits)} heads, and "
                f"{type(self._loss).__name__} takes those of one: put it into a DeepSupervisionLoss in train.yaml, or "
                "switch deep_supervision off."
            ) from error
        if not torch.isfinite(loss):
            raise RunError(
                f"the loss is {loss.item()} after {self._step} steps: lower the learning rate in train.yaml, "
                "or look for broken scans with their labels."
            )
        self._scaler.scale(loss / self._settings.accumulate).backward()
        return float(loss.detach())

    def _log_loss(self, loss: float) -> None:
        self._losses.append(loss)
        if self._step % LOG_EVERY == 0:
            event = {
                "step": self._step,
                "loss": round(sum(self._losses) / len(self._losses), 5),
                "learning_rate": self._lr_scheduler.get_last_lr()[0],
                "elapsed_s": round(self._elapsed_s, 1),
            }
            self._log.add(event)
            self._losses = []

    def _judge_waiting(self, *, elapsed_s: float) -> None:
        """Warn where the network waits for its batches more than it learns."""
        share, workers = self._batches.waited_s / elapsed_s, self._settings.workers
        if share < DATA_BOUND_FROM:
            return
        advice = [f"--set workers={max(2, 2 * workers)} makes batches ahead in threads"]
        if self._examples.n_in_files:
            advice.append(
                f"--set cache_gb=… keeps more than {len(self._examples) - self._examples.n_in_files} of "
                f"{len(self._examples)} scans in memory"
            )
        warning = f"learning waits for data {share:.0%} of the time: {'; '.join(advice)}."
        self._warnings.append(warning)
        self._log.add({"step": self._step, "warning": warning})

    def _validate(self, progress: Progress) -> None:
        if not self._can_choose:  # the last average is kept
            write_weights(self._average.state, self._output / WEIGHTS_NAME)
            return
        with self._average.in_place_of(self._network) as network:
            network.eval()
            dice = validation_dice(
                self._validation,
                network,
                self._inferer,
                schema=self._bundle.label_schema,
                regions=self._bundle.config.get("regions", ()),
                device=self._device,
                progress=progress,
            )
        mean = mean_of(dice)
        known = {name: None if math.isnan(score) else score for name, score in dice.items()}
        self._log.add({"step": self._step, "dice": known, "mean_dice": round(mean, 5)})
        self._log.draw()
        self._validations_since_best += 1
        if self._best_dice is None or mean > self._best_dice:
            self._best_dice, self._best_step = mean, self._step
            self._validations_since_best = 0
            write_weights(self._average.state, self._output / WEIGHTS_NAME)

    def _write_checkpoint(self) -> None:
        random_states = self._processes.gathered(torch.get_rng_state())
        gpu_random_states = self._processes.gathered(gpu_random_state(self._device))
        if not self._processes.is_main:
            return
        checkpoint = Checkpoint(
            step=self._step,
            network=self._network.state_dict(),
            average=self._average.state,
            optimizer=self._optimizer.state_dict(),
            lr_scheduler={
                key: value
                for key, value in self._lr_scheduler.state_dict().items()
                if isinstance(value, int | float | bool | list)
            },
            random_state=random_states,
            gpu_random_state=gpu_random_states,
            gradient_scaler=self._scaler.state_dict(),
            validations_since_best=self._validations_since_best,
            best_dice=self._best_dice,
            best_step=self._best_step,
            elapsed_s=self._elapsed_s,
            fingerprint=self._fingerprint,
            identity=self._identity,
            device=self._device.type,
            unlogged_losses=list(self._losses),
        )
        write_checkpoint(checkpoint, self._checkpoint_path)
