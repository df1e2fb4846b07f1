"""One loop for pretraining and fine-tuning: batches -> loss -> step -> average -> validation -> checkpoint."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from tlmd.engine import TrainingEngine, choose_backend
from tlmd.evaluate.dataset import Counts, FrameSet, Shuffled, collate
from tlmd.evaluate.errors import KINDS, Errors, evaluate_frames
from tlmd.modelfile import Card, save_model
from tlmd.models.potential import Potential
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder
from tlmd.train.checkpoint import load_checkpoint, save_checkpoint
from tlmd.train.config import OptimizerConfig, TrainConfig
from tlmd.train.loss import batch_loss, weights_at
from tlmd.train.schedule import Average, Schedule

REPLAY_SEED = 7919  # the replayed frames are shuffled by their own stream


@dataclass
class Task:
    """What is trained on what.

    groups: [{"params": [...], "rate": factor on the learning rate}]; replay: frames of the old level of theory, which
    are the part `replay_fraction` of a batch.
    """

    model: Potential
    train: FrameSet
    valid: FrameSet | None
    groups: list[dict[str, Any]]
    card: Card
    replay: FrameSet | None = None
    replay_fraction: float = 0.0


def optimizer_of(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over parameter groups with a `rate` each."""
    if config.kind == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, foreach=True)
    return torch.optim.Adam(groups, lr=config.lr, foreach=True)


class Loop:
    """A run in progress. `run` goes on from the checkpoint of the run folder, if there is one, to the end."""

    PLAIN = ("step", "minutes", "finished", "loss_sum", "loss_steps", "best_loss", "best_step", "stale")

    def __init__(self, task: Task, config: TrainConfig, run: RunFolder, device: torch.device):
        self.task, self.config, self.run_folder, self.device = task, config, run, device
        training, world = config.training, collective.world()
        if task.valid is None and config.optimizer.schedule == "plateau":
            raise InputError(
                'optimizer.schedule = "plateau" without validation frames',
                "some, whose loss it goes by",
                "set data.valid or data.valid_fraction, or take another schedule",
            )
        self.model: nn.Module = task.model
        self.engine = self.start_engine()
        self.parameters = [p for group in task.groups for p in group["params"]]
        self.optimizer = optimizer_of(task.groups, config.optimizer)
        self.schedule = Schedule(config.optimizer, training.max_steps)
        self.average = Average(self.parameters, config.optimizer.ema)
        self.stream = Shuffled(
            task.train.sizes, training.batch_frames * world, training.batch_atoms * world, config.seed
        )
        self.step, self.minutes, self.finished = 0, 0.0, False
        self.loss_sum, self.loss_steps = 0.0, 0
        self.best_loss, self.best_step, self.stale = math.inf, 0, 0
        self.best = [value.clone() for value in self.average.values]
        self.last_weights = weights_at(config.loss, training.max_steps)  # those that choose the best
        self.checkpoint = run.path / "checkpoint.pt"
        if task.replay is not None:
            self.replay_order = Shuffled(task.replay.sizes, 1, 1, config.seed + REPLAY_SEED)

    def start_engine(self) -> TrainingEngine | None:
        """The native engine, its filter table by the largest frame and the first parameters; None: torch."""
        if choose_backend(self.config.training.backend, self.device, self.model.net) == "torch":
            return None
        train = self.task.train
        return TrainingEngine(self.model, train.graph(int(np.argmax(train.sizes))))

    def run(self) -> None:
        """Train to the end; afterwards the model holds the best averaged parameters."""
        training, run = self.config.training, self.run_folder
        self.resume()
        started = time.monotonic() - 60.0 * self.minutes
        with run.progress(training.max_steps) as bar:
            while not self.finished:
                self.update()
                self.step += 1
                self.minutes = (time.monotonic() - started) / 60.0
                late = training.max_minutes is not None and collective.agree(self.minutes > training.max_minutes)
                self.finished = late or self.step >= training.max_steps
                if self.finished or self.step % training.valid_every == 0:
                    self.validate()
                if self.finished or self.step % training.checkpoint_every == 0:
                    self.save()
                bar.update(bar.task_ids[0], completed=self.step, note=f"{self.step / self.minutes / 60:.2f} steps/s")
        self.load_best()

    def next_items(self) -> list[tuple[FrameSet, int]]:
        """Frames of the next batch of all processes: new ones, and replayed ones in their proportion on average."""
        task = self.task
        items = [(task.train, int(i)) for i in self.stream.next()]
        if task.replay is not None and task.replay_fraction > 0:
            size = self.config.training.batch_frames * collective.world()
            ratio = size * task.replay_fraction / (1.0 - task.replay_fraction)
            for _ in range(math.floor((self.step + 1) * ratio) - math.floor(self.step * ratio)):
                items.append((task.replay, int(self.replay_order.next()[0])))
        return items

    def update(self) -> None:
        """One step of the optimiser."""
        items = self.next_items()
        counts = sum((frames.counts[i] for frames, i in items), Counts(0, 0, 0))
        mine = items[collective.rank() :: collective.world()]
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.optimizer.zero_grad()
        if mine:
            weights = weights_at(self.config.loss, self.step)
            batch = collate(mine, self.device, native=self.engine is not None)
            loss = batch_loss(self.model, batch, self.config.loss, weights, counts, self.engine)
            loss.backward()
        collective.add_gradients(self.parameters)
        value = float(collective.total(loss.detach()))
        if not math.isfinite(value):
            raise InputError(
                f"loss {value} at step {self.step + 1}", "a finite loss", "lower optimizer.lr, or look for wrong labels"
            )
        if self.config.optimizer.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.config.optimizer.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.optimizer.lr * group["rate"] * self.schedule.factor(self.step)
        self.optimizer.step()
        self.average.update(self.step)
        self.loss_sum, self.loss_steps = self.loss_sum + value, self.loss_steps + 1

    def validate(self) -> None:
        """Errors of the averaged parameters on the validation frames; keeps the best, may end the run."""
        errors, valid = Errors(), self.task.valid
        with self.average.applied():
            if valid is not None:
                errors, _ = evaluate_frames(
                    self.model, valid, self.config.training.batch_atoms, self.device, split=True
                )
        loss = errors.loss(self.last_weights) if valid is not None else math.nan
        self.schedule.validated(loss)
        if valid is None or loss < self.best_loss:
            self.best_loss, self.best_step, self.stale = loss, self.step, 0
            self.best = [value.clone() for value in self.average.values]
            with self.average.applied():
                self.write_model(self.task.card)
        else:
            self.stale += 1
        patience = self.config.training.early_stopping
        self.finished = self.finished or (patience > 0 and self.stale >= patience)
        self.report(errors, loss)

    def report(self, errors: Errors, loss: float) -> None:
        """One row of metrics.csv and one line of the log."""
        rate = self.config.optimizer.lr * self.schedule.factor(self.step - 1)
        row = {"step": self.step, "epoch": self.stream.epoch, "minutes": self.minutes, "lr": rate}
        row |= {"train_loss": self.loss_sum / self.loss_steps, "valid_loss": loss}
        for name, kind in KINDS.items():
            rmse = errors.rmse(name)
            row[f"valid_{kind.word}_rmse"] = math.nan if rmse is None else rmse
        self.run_folder.metrics(row)
        left = self.minutes / self.step * (self.config.training.max_steps - self.step)
        self.run_folder.say(
            f"step {self.step}: train loss {row['train_loss']:.4g}, valid RMSE (MAE): {errors.line()}; "
            f"{self.step / self.minutes / 60:.2f} steps/s, {left:.1f} min left"
        )
        self.loss_sum, self.loss_steps = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        state = {name: getattr(self, name) for name in self.PLAIN}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"average": self.average.values, "best": self.best, "schedule": self.schedule.state_dict()}
        state["stream"] = [self.stream.epoch, self.stream.position]
        if self.task.replay is not None:
            state["replay"] = [self.replay_order.epoch, self.replay_order.position]
        return state

    def save(self) -> None:
        """Write the checkpoint."""
        if self.run_folder.main:
            save_checkpoint(self.checkpoint, self.state_dict())

    def resume(self) -> None:
        """Take the state of the checkpoint, if there is one."""
        if self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint)
            for name in self.PLAIN:
                setattr(self, name, state[name])
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.average.values = [value.to(self.device) for value in state["average"]]
            self.best = [value.to(self.device) for value in state["best"]]
            self.stream.move_to(*state["stream"])
            if self.task.replay is not None:
                self.replay_order.move_to(*state["replay"])
            self.run_folder.say(f"resumed at step {self.step}" + (", which was the last" if self.finished else ""))
        self.run_folder.rewind(self.step)
        collective.barrier()
        if self.config.training.tensorboard:
            self.run_folder.tensorboard(self.step + 1)

    def write_model(self, card: Card) -> None:
        """model.pt with the present parameters."""
        if self.run_folder.main:
            save_model(self.run_folder.path / "model.pt", self.task.model, card, self.task.train.frames[0])

    @torch.no_grad()
    def load_best(self) -> None:
        """Put the best averaged parameters into the model."""
        for parameter, value in zip(self.parameters, self.best, strict=True):
            parameter.copy_(value)
