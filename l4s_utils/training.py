"""One run: trained with Lightning, resumed where it stopped, its counts stored."""

import contextlib
import math
import os
import platform
import signal
import sys
import time
import warnings
import zipfile
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from filelock import FileLock
from pytorch_lightning.callbacks import Callback, EarlyStopping
from safetensors.torch import load_file, save_file

from l4s_utils import augment, experiments, inputs, losses, metrics, models, patches, sample, splits
from l4s_utils import runs as stored
from l4s_utils.errors import InputError

SCORES = ("loss", "precision", "recall", "f1", "iou")


class Segmenter(pl.LightningModule):
    """A model with its inputs, loss and augmentation, and the counts of the epoch under way.

    config: of the run, as `runs.config` makes it. prepared: fitted `inputs.Inputs`.
    """

    def __init__(self, config, prepared):
        super().__init__()
        settings = config["settings"]
        self.config, self.settings = config, settings
        self.inputs = prepared
        self.model = models.build_model(
            config["model"], prepared.channels, config["image_size"], settings["width"], config["pretrained"]
        )
        self.loss = losses.build_loss(config["loss"])
        self.augment = augment.build_augment(config["augment"], config["bands"])
        self.totals = {}
        self.test_counts = []

    def forward(self, values):
        """Values (N, C, 128, 128) in the files' units -> float32 logits (N, 2, size, size)."""
        with torch.autocast(values.device.type, enabled=False):
            images = self.inputs(values)
        return self.model(images.to(memory_format=torch.channels_last)).float()

    def on_train_epoch_start(self):
        self.totals = {}

    def _add(self, part, loss, counted):
        """Add a batch's loss, weighted by its patches, and counts to the sums of the epoch."""
        sums = torch.cat(
            [
                counted.sum(dim=0).double(),
                torch.stack([loss.detach().double(), loss.new_tensor(1.0).double()]) * len(counted),
            ]
        )
        self.totals[part] = self.totals[part] + sums if part in self.totals else sums

    def training_step(self, batch):
        values, masks = self.augment(
            batch["values"],
            batch["masks"],
            seed=self.config["seed"],
            epoch=self.current_epoch,
            step=batch["step"],
        )
        target = inputs.resize_masks(masks, self.config["image_size"])
        logits = self(values)
        loss = self.loss(logits, target)
        if not torch.isfinite(loss):
            raise InputError(
                f"loss is {loss.item()} in epoch {self.current_epoch}, step {batch['step']}; the best weights so far "
                "are kept. Lower the learning rate or train in 32-bit precision"
            )
        self._add("train", loss, metrics.counts(logits.detach().argmax(dim=1), target))
        return loss

    def validation_step(self, batch):
        target = inputs.resize_masks(batch["masks"], self.config["image_size"])
        logits = self(batch["values"])
        self._add("val", self.loss(logits, target), metrics.counts(logits.argmax(dim=1), target))

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            # float64, so that early stopping compares what epochs.csv shows
            self.log("val_f1", torch.tensor(self.epoch_scores()["val_f1"], dtype=torch.float64))

    def epoch_scores(self) -> dict:
        """Loss and scores of the epoch, for training and validation."""
        row = {}
        for part, sums in self.totals.items():
            tp, fp, fn, loss, patches_seen = sums.tolist()
            values = {"loss": loss / patches_seen} | metrics.scores(int(tp), int(fp), int(fn))
            row |= {f"{part}_{name}": values[name] for name in SCORES}
        return row

    def test_step(self, batch):
        size = self.config["image_size"]
        logits = self(batch["values"])
        resized = metrics.counts(logits.argmax(dim=1), inputs.resize_masks(batch["masks"], size))
        native = inputs.resize_images(logits, patches.SIZE).argmax(dim=1)
        self.test_counts.append(torch.cat([resized, metrics.counts(native, batch["masks"])], dim=1).cpu())

    def configure_optimizers(self):
        s = self.settings
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=s["lr"], weight_decay=s["weight_decay"])
        lowest = s["segformer_min_lr"] if self.config["model"].startswith("segformer") else s["min_lr"]
        if s["schedule"] == "cosine":
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, s["max_epochs"], eta_min=lowest)
            return {"optimizer": optimizer, "lr_scheduler": cosine}
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, s["lr"], total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


class Keeper(Callback):
    """Keeps a run: after each epoch the checkpoint, the best weights and `epochs.csv`, in this order.

    The checkpoint holds all three, so whatever a kill leaves behind is made whole from it.
    """

    def __init__(self, path):
        self.path, self.rows, self.best = Path(path), [], {"epoch": -1, "f1": -1.0}
        self.stop_asked = False

    @property
    def checkpoint(self):
        return self.path / "last.ckpt"

    def state_dict(self):
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state):
        self.rows, self.best = state["rows"], state["best"]

    def on_fit_start(self, trainer, pl_module):
        # after Lightning has set its own handlers; only the main thread may set one
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, self._ask_to_stop)
        if self.rows:  # resumed: a kill may have come before the last epoch was published, or patience had run out
            self._publish(pl_module)
            stopping = trainer.early_stopping_callback
            trainer.should_stop = stopping.wait_count >= stopping.patience
            say(f"{self.path.name}: goes on after epoch {self.rows[-1]['epoch'] + 1}")

    def _ask_to_stop(self, *_):
        self.stop_asked = True

    def on_train_epoch_start(self, trainer, pl_module):
        self.started = time.perf_counter()
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_validation_start(self, trainer, pl_module):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.trained = time.perf_counter() - self.started

    def on_train_epoch_end(self, trainer, pl_module):
        epoch, scores = trainer.current_epoch, pl_module.epoch_scores()
        seen = int(pl_module.totals["train"][-1])
        self.rows.append(
            {"epoch": epoch, **scores, "lr": self.lr}
            | {"seconds": time.perf_counter() - self.started, "images_per_second": seen / self.trained}
        )
        if scores["val_f1"] > self.best["f1"]:
            self.best = {"epoch": epoch, "f1": scores["val_f1"]}
        with stored.written_aside(self.checkpoint) as aside:
            trainer.save_checkpoint(aside)
            if broken := zipfile.ZipFile(aside).testzip():
                raise InputError(f"{self.checkpoint}: could not be written ({broken} is damaged); is the disk full?")
        self._publish(pl_module)
        self._report(pl_module.settings["max_epochs"])
        if self.stop_asked:
            raise InputError(f"stopped by SIGTERM after epoch {epoch}; the same command goes on from there")

    def _publish(self, pl_module):
        """Best weights and rows, from what the checkpoint holds."""
        if self.best["epoch"] == self.rows[-1]["epoch"]:
            weights = {name: value.detach().cpu().contiguous() for name, value in pl_module.state_dict().items()}
            with stored.written_aside(self.path / "best.safetensors") as aside:
                save_file(weights, aside)
        stored.write_csv(self.path / "epochs.csv", pd.DataFrame(self.rows))

    def _report(self, epochs):
        row = self.rows[-1]
        left = (epochs - row["epoch"] - 1) * sum(r["seconds"] for r in self.rows) / len(self.rows)
        say(
            f"epoch {row['epoch'] + 1:3d}/{epochs}  loss {row['train_loss']:.4f} / {row['val_loss']:.4f}  "
            f"precision {row['val_precision']:.3f}  recall {row['val_recall']:.3f}  F1 {row['val_f1']:.3f}  "
            f"{row['images_per_second']:.1f} images/s  at most {left / 60:.1f} min left  "
            f"best {self.best['f1']:.3f} in {self.best['epoch'] + 1}"
        )


def say(line):
    """One line of progress, on stderr so that stdout holds results alone."""
    print(line, file=sys.stderr, flush=True)


def precision(device) -> str:
    """The fastest precision that the device computes in hardware."""
    if device.type == "cuda":
        return "16-mixed"
    if device.type == "cpu":
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"
    return "32-true"


def environment(device) -> dict:
    """What the machine chose; none of it changes which run this is."""
    packages = ("torch", "pytorch-lightning", "segmentation-models-pytorch", "timm", "numpy", "h5py")
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "processor": platform.machine(),
        "versions": {name: metadata.version(name) for name in packages},
        "not_deterministic": (
            "CUDA kernels without a deterministic form (bilinear resizing, pooling) may differ in the last bits"
            if device.type == "cuda"
            else None
        ),
    }


def _trainer(config, device, keeper):
    """Lightning without its own files and bars: the run folder and the lines above are ours."""
    patience = config["settings"]["patience"]
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision(device),
        max_epochs=config["settings"]["max_epochs"],
        # checked after validation, so that the keeper, at the end of the epoch, saves what it decided
        callbacks=[EarlyStopping("val_f1", mode="max", patience=patience, check_on_train_epoch_end=False), keeper],
        deterministic="warn" if device.type == "cuda" else True,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@contextlib.contextmanager
def _quiet():
    """Lightning's advice on workers and devices, and its seed lines, are of no use here."""
    import logging

    loggers = [
        logging.getLogger(name)
        for name in (
            "pytorch_lightning",
            "lightning_fabric",
            "pytorch_lightning.utilities.rank_zero",
            "lightning_fabric.utilities.seed",
        )
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _interruptible():
    """Ctrl-C as KeyboardInterrupt (Lightning turns it into an exit, which would end a notebook);
    SIGTERM as it was before."""
    previous = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, previous)


def _parts(config, opened):
    """Rows of the packed set for `train`, `val` and `test`, cut to the preset's limit."""
    limit = config["settings"]["limit"]
    chosen = splits.make(config["split"], opened.ids)
    if limit:
        chosen = {part: ids[: limit if part == "train" else math.ceil(limit / 3)] for part, ids in chosen.items()}
    return {part: opened.rows(ids) for part, ids in chosen.items()}


def _train(config, path, opened, device):
    """Fit, then test the best weights; writes everything but `config.json`."""
    pl.seed_everything(config["seed"], verbose=False)
    rows = _parts(config, opened)
    prepared = inputs.Inputs(len(config["bands"]), config["image_size"], config["components"])
    prepared.fit(opened, rows["train"], config["bands"])
    task = Segmenter(config, prepared).to(memory_format=torch.channels_last)
    stored.write_json(path / "environment.json", environment(device) | {"first_layer": task.model.first_layer})

    def batches(part, epoch=None):
        size = config["settings"]["batch_size"]
        return inputs.Batches(opened, rows[part], config["bands"], size, device, config["seed"], epoch)

    keeper = Keeper(path)
    trainer = _trainer(config, device, keeper)
    resume = keeper.checkpoint if keeper.checkpoint.exists() else None
    with _interruptible():
        trainer.fit(
            task,
            batches("train", lambda: task.current_epoch),
            batches("val"),
            ckpt_path=resume,
            weights_only=True,
        )
    started = time.perf_counter()
    task.load_state_dict(load_file(path / "best.safetensors"))
    with _interruptible():
        trainer.test(task, batches("test"), verbose=False)
    counts = pd.DataFrame(torch.cat(task.test_counts).numpy(), columns=stored.COUNTS)
    counts.insert(0, "id", opened.ids[rows["test"]])
    stored.write_csv(path / "test_counts.csv", counts)
    seconds = sum(row["seconds"] for row in keeper.rows) + time.perf_counter() - started
    stored.write_json(path / "test.json", stored.test_summary(counts, seconds))
    keeper.checkpoint.unlink(missing_ok=True)


def load_data(data=""):
    """The training patches of a data folder or packed set; empty means the stand-in, made if missing."""
    return patches.load(data or sample.ensure(patches.workspace() / "data" / "sample"), "train")


def run(experiment, data="", runs="runs", seed=0, preset="demo", split=None) -> stored.Run:
    """Train, validate and test one experiment, or return the stored run if it has finished.

    experiment, preset: names, or an `Experiment` and a `Preset`. data: a folder of L4S files or a
    packed set; empty means the stand-in. split: overrides the experiment's. A run that was stopped
    goes on after its last finished epoch; a second process that asks for the same run waits for it.
    Raises UsageError for unknown names, InputError for data that will not do.
    Source: paper, section 4.
    """
    experiment, preset = experiments.get(experiment), experiments.get_preset(preset)
    split = split or experiment.split
    opened = load_data(data)
    if opened.masks is None:
        raise InputError(f"{opened.name}: the patches have no masks, so nothing can be trained on them")
    opened.channels(experiment.bands)
    config = stored.config(experiment, split, seed, preset, opened)
    splits.make(split, opened.ids)
    path = stored.folder(runs, config)
    path.mkdir(parents=True, exist_ok=True)
    with FileLock(path / ".lock"):
        if not stored.Run(path).finished:
            stored.write_json(path / "config.json", config)
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            say(f"{path.name}: {experiment.question}")
            with _quiet():
                _train(config, path, opened, device)
    return stored.Run(path)
