"""The training loop: plain steps, validation, checkpoints, and going on exactly where a killed run stopped."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pellucid.data.augment import Augmentation
from pellucid.models.weights import read_model_card, save_model
from pellucid.training.checkpoint import has_state, load_state, save_state
from pellucid.training.distributed import BatchRandom, joint_seed, step_seed
from pellucid.training.objectives.losses import LabelCounts, label_counts, label_frequencies
from pellucid.training.optimization import build_optimizer, learning_rate
from pellucid.training.robust_check import collapsed
from pellucid.training.trackers import LOG_EVERY
from pellucid.training.warnings import advice, say_collapsed, say_if_out_of_reach, say_if_still_rising
from pellucid.types import Marks
from pellucid.utils.progress import advance, progress_context, reporting_to

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator
    from torch import Tensor

    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import AnyClassifier
    from pellucid.models.training_record import TrainingRecord
    from pellucid.training.loading import AnyBatches
    from pellucid.training.objectives.objective import Objective
    from pellucid.training.recipe import Recipe
    from pellucid.training.run import RunFolder
    from pellucid.training.trackers import RunTracker
    from pellucid.training.validation import Validation, ValidationResult
    from pellucid.types import Batch

CHECK_EVERY = 16  # steps between two looks at the loss, so that an accelerator need not wait for each


class TrainingError(RuntimeError):
    """Training cannot go on; the last good checkpoint is kept."""


class TrainingSession:
    """One process's part in one run: network, optimiser, and where the run is.

    Args:
        run: the folder.
        recipe: what and how.
        objective: the network with its losses.
        accelerator: of the process.
        seed: of every step.
        record: what images the network is trained on; None in processes that write nothing.
    """

    def __init__(
        self,
        run: RunFolder,
        recipe: Recipe,
        objective: Objective,
        accelerator: Accelerator,
        seed: int,
        record: TrainingRecord | None,
    ) -> None:
        self.record = record
        self.tracker: RunTracker | None = None
        self.run, self.recipe, self.accelerator, self.seed = run, recipe, accelerator, seed
        if recipe.training.channels_last:
            objective = objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = build_optimizer(objective, recipe.optimizer)
        self.network, self.optimizer = accelerator.prepare(objective, optimizer)
        self.objective: Objective = accelerator.unwrap_model(self.network)
        self.classifier: AnyClassifier = self.objective.classifier
        self.augmentation = Augmentation(recipe.augment)
        self.epoch, self.step, self.global_step = 0, 0, 0
        self.best: float | None = None
        self.best_sha256: str | None = None  # of the weights that are kept as the best
        self.sums: dict[str, float] = {}
        self.elapsed = 0.0
        self._pending: list[tuple[int, float, dict[str, Tensor]]] = []  # number of the step, learning rate, losses

    def fit(
        self, batches: AnyBatches, train_data: Dataset, held_out: Validation, tracker: RunTracker | None = None
    ) -> None:
        """All epochs, from the start or from the state that was loaded; fewer where robustness collapses.

        Args:
            batches: of the images to learn from.
            train_data: those images.
            held_out: what the network is judged on after every epoch.
            tracker: gets the figures as well; None for none, and in processes that write nothing.
        """
        self.tracker = tracker
        epochs = self.recipe.training.epochs
        collapsed = False
        with progress_context(
            f"train {self.recipe.name}", epochs * len(batches), unit="step", completed=self.global_step
        ):
            for epoch in range(self.epoch, epochs):
                self._one_epoch(epoch, batches, epochs * len(batches))
                with reporting_to(None):  # the bar counts steps, and no images that are judged
                    judged = held_out.judge(self.classifier) if self.accelerator.is_main_process else None
                self._check_answers(epoch, judged, len(held_out.data))
                collapsed = judged is not None and self._end_epoch(epoch, len(batches), train_data, judged)
                collapsed = self._all_agree(collapsed)
                if collapsed:
                    break
                self.epoch, self.step, self.sums, self.elapsed = epoch + 1, 0, {}, 0.0
                self._save()
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            end = {"collapsed_in_epoch": epoch + 1} if collapsed else {}
            self.run.write(self.run.read() | end | {"finished": True})

    def _one_epoch(self, epoch: int, batches: AnyBatches, total: int) -> None:
        started = saved = time.monotonic()
        before = self.elapsed
        self._training_mode()
        for batch in batches.epoch(epoch, seed=self.seed, start=self.step):
            torch.manual_seed(step_seed(self.seed, self.global_step, self.accelerator.process_index))
            rate = learning_rate(self.recipe.optimizer.lr, self.recipe.schedule, self.global_step, total)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            images, marks = self._augmented(batch)
            if self.recipe.training.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            counts = self._joint_counts(batch.targets)
            random = BatchRandom(joint_seed(self.seed, self.global_step), self.objective.processes)
            with self.accelerator.autocast():
                loss, parts = self.network(batch._replace(images=images, marks=marks), counts, random)
            self._pending.append((self.global_step + 1, rate, {"loss": loss.detach(), **parts}))
            if len(self._pending) >= CHECK_EVERY or not loss.is_cuda:
                self._record_pending(epoch)
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            if self.recipe.optimizer.clip_norm is not None:
                self.accelerator.clip_grad_norm_(self.network.parameters(), self.recipe.optimizer.clip_norm)
            self.optimizer.step()
            self.step += 1
            self.global_step += 1
            now = time.monotonic()
            self.elapsed = before + now - started
            steps_done = self.step - len(self._pending)
            advance(1, f"epoch {epoch + 1} loss {self.sums.get('loss', math.nan) / max(steps_done, 1):.3f}")
            if self._all_agree(now - saved > self.recipe.training.checkpoint_seconds):
                self._record_pending(epoch)
                self._save()
                saved = now
        self._record_pending(epoch)

    def _augmented(self, batch: Batch) -> tuple[Tensor, Marks | None]:
        """The images of a batch, changed at random, and their marks, moved with them."""
        if batch.marks is None:
            return self.augmentation(batch.images), None
        classes, *regions = batch.marks
        images, regions_after = self.augmentation.with_regions(batch.images, torch.cat(regions, 1))
        assert regions_after is not None
        return images, Marks(classes, *regions_after.chunk(2, 1))

    def _training_mode(self) -> None:
        self.network.train()
        if self.recipe.training.freeze_batch_norm:
            for module in self.classifier.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def _record_pending(self, epoch: int) -> None:
        """Add the pending losses to the epoch's sums; stop at one that is not finite."""
        if not self._pending:
            return
        local = torch.stack([torch.stack([value.float() for value in parts.values()]) for *_, parts in self._pending])
        averaged = self.accelerator.reduce(local, reduction="mean").tolist()  # of the batches of all processes
        for (step, rate, parts), row in zip(self._pending, averaged, strict=True):
            values = dict(zip(parts, row, strict=True))
            if not math.isfinite(values["loss"]):
                raise TrainingError(
                    f"the loss became {values['loss']} in epoch {epoch + 1}, step {step} of the run {self.run.path}. "
                    f"The best checkpoint so far and the last saved state are kept. {advice(values)}"
                )
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            if self.tracker is not None and step % LOG_EVERY == 0:
                figures = values | {"learning_rate": rate}
                self.tracker.log({f"step/{name}": value for name, value in figures.items()}, step)
        self._pending.clear()

    def _check_answers(self, epoch: int, judged: ValidationResult | None, images: int) -> None:
        """Stop, in every process, at a network that gives no answer: there would be nothing to choose it by."""
        missing = judged.unanswered if judged is not None else 0
        if self._all_agree(missing > 0):
            raise TrainingError(
                f"after epoch {epoch + 1} of the run {self.run.path} the network's logits are NaN or infinite on "
                f"{missing or 'some'} of {images} validation images, though its training loss is not: batch norm's "
                "running statistics may have overflowed, or an image is far from all others. The best checkpoint so "
                "far and the last saved state are kept. Lower optimizer.lr, or set optimizer.clip_norm=1.0, and start "
                "again."
            )

    def _end_epoch(self, epoch: int, steps: int, train_data: Dataset, validation: ValidationResult) -> bool:
        """Keep what an epoch gave; returns whether robustness collapsed, and then nothing is kept of it."""
        check, select, final = self.recipe.robust_check, self.recipe.training.select, self.recipe.training.epochs
        row: dict[str, Any] = {"epoch": epoch + 1, "step": self.global_step}
        row |= {name: value / steps for name, value in self.sums.items()}
        row |= {f"validation_{name}": value for name, value in validation.metrics.items()}
        if self.objective.weight is not None:
            row["penalty_weight_at_end"] = float(self.objective.weight.weight)
            if epoch == 0:
                say_if_out_of_reach(self.objective, row["loss_task"])
            if epoch + 1 == final:
                say_if_still_rising(self.objective, row["loss_task"])
        row["seconds"] = round(self.elapsed, 2)
        earlier = [r for r in self.run.metrics() if r["epoch"] <= epoch]
        if check is not None and collapsed(earlier, validation.metrics["robust_accuracy"], check):
            self._record_epoch(row | {"collapsed": True})
            say_collapsed(earlier, epoch, validation.metrics["robust_accuracy"], self.run)
            return True
        score = validation.metrics.get(select, math.nan)
        card = self._card(train_data, validation.thresholds) | {"epoch": epoch + 1}
        if math.isfinite(score) and (self.best is None or score > self.best):
            self.best = score
            self._keep(self.run.path, card | {"selected_by": select, "score": score})
        elif self.best is None:  # the last is asked for, or an undefined score chooses nothing: keep the newest
            self._keep(self.run.path, card | {"selected_by": "last epoch"})
        if epoch + 1 == final or (check is not None and check.collapse is not None):
            self._keep(self.run.path / "last", card | {"selected_by": "last epoch"})
        self.best_sha256 = read_model_card(self.run.path)["weights_sha256"]
        self._record_epoch(row)
        return False

    def _record_epoch(self, row: dict[str, Any]) -> None:
        self.run.append_metrics(row)
        if self.tracker is not None:
            self.tracker.log(row | {"learning_rate": self.optimizer.param_groups[0]["lr"]}, self.global_step)

    def _keep(self, folder: Path, card: dict[str, Any]) -> None:
        save_model(self.classifier, folder, extra=card, record=self.record)

    def _card(self, data: Dataset, thresholds: list[float]) -> dict[str, Any]:
        targets = torch.from_numpy(np.ascontiguousarray(data.targets))
        card = {
            "recipe": self.recipe.name,
            "seed": self.seed,
            "loss": self.objective.loss_name,
            "data": data.card.name,
            "data_fingerprint": data.fingerprint,
            "thresholds": thresholds,
            "label_frequencies": label_frequencies(targets, len(data.classes)).tolist(),
            "best_constant": self.objective.constant.tolist(),
            "noise": self.recipe.objective.noise,
        }
        if self.objective.weight is not None:
            card["penalty_weight"] = float(self.objective.weight.weight)
        return card

    def _joint_counts(self, targets: Tensor) -> LabelCounts:
        counts = label_counts(targets)
        if self.accelerator.num_processes == 1:
            return counts
        averaged = self.accelerator.reduce(torch.stack(counts), reduction="mean")
        return LabelCounts(averaged[0], averaged[1])

    def _all_agree(self, wish: bool) -> bool:
        """Whether the main process wishes it: every process must save, or stop, at the same step."""
        if self.accelerator.num_processes == 1:
            return wish
        flag = torch.tensor(float(wish and self.accelerator.is_main_process), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            progress = {
                "epoch": self.epoch,
                "step": self.step,
                "global_step": self.global_step,
                "best": self.best,
                "best_sha256": self.best_sha256,
                "sums": self.sums,
                "elapsed": self.elapsed,
                "penalty_integral": self.objective.weight.state() if self.objective.weight else None,
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            }
            save_state(self.run.state, self.classifier, self.optimizer, progress)
        self.accelerator.wait_for_everyone()

    def load(self) -> None:
        """Go on from the saved state, if there is one.

        Raises:
            InputError: naming what is missing or damaged.
        """
        if not has_state(self.run.state):
            return
        progress = load_state(self.run.state, self.classifier, self.optimizer)
        self.epoch, self.step, self.global_step = progress["epoch"], progress["step"], progress["global_step"]
        self.best, self.sums, self.elapsed = progress["best"], progress["sums"], progress["elapsed"]
        self.best_sha256 = progress["best_sha256"]
        self.run.check_kept(self.epoch, self.best_sha256)
        if self.objective.weight:
            self.objective.weight.restore(progress["penalty_integral"])
        if self.accelerator.scaler and progress["scaler"]:
            self.accelerator.scaler.load_state_dict(progress["scaler"])
