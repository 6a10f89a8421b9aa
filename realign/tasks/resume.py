"""The position of a resumed training."""

from typing import Any

_READ = {
    "epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict", "epoch_loop.scheduler_progress",
    "epoch_loop.automatic_optimization.optim_progress", "epoch_loop.val_loop.batch_progress",
}  # fmt: skip


def begin_next_epoch(checkpoint: dict[str, Any]) -> None:
    """Mark the epoch as complete in a checkpoint that was saved at its end.

    Lightning saves it as still open: a resumed run would end it twice or take batches of the next epoch, and number all
    later epochs wrong. Schedules of the learning rate must go by steps, as those of tasks do.

    Args:
        checkpoint: Changed in place; one from within an epoch stays as it is.
    """
    loops = (checkpoint.get("loops") or {}).get("fit_loop")
    if not loops or not loops.keys() >= _READ:
        return
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    after_batch = batches["is_last_batch"] and batches["total"]["processed"] > batches["total"]["completed"]
    after_epoch = epochs["current"]["processed"] > epochs["current"]["completed"]
    if not (after_batch or after_epoch):
        return
    if after_batch:  # as Lightning does it when it resumes
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] += 1
    for counts in (epochs["total"], epochs["current"], batches["total"]):
        counts.update(dict.fromkeys(counts, counts["ready"]))
    _start_anew(loops["epoch_loop.scheduler_progress"])
    _start_anew(loops["epoch_loop.automatic_optimization.optim_progress"])
    _start_anew(batches)
    validation = loops["epoch_loop.val_loop.batch_progress"]
    validation["total"] = dict.fromkeys(validation["total"], 0)
    _start_anew(validation)


def _start_anew(progress: dict[str, Any]) -> None:
    """Set what counts within an epoch to 0, at any depth."""
    for name, value in progress.items():
        if name == "current":
            progress[name] = dict.fromkeys(value, 0)
        elif isinstance(value, dict):
            _start_anew(value)
        elif name == "is_last_batch":
            progress[name] = False
