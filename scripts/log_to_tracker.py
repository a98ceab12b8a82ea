#!/usr/bin/env python3
"""Hands the log of a run to MLflow or to Weights & Biases.

    resnet50_train --log run.jsonl --summary run.json ...
    scripts/log_to_tracker.py mlflow run.jsonl --summary run.json
    scripts/log_to_tracker.py wandb run.jsonl --summary run.json

Every number of a line of --log becomes a metric of that line's step; the summary's numbers become metrics of the run,
its texts parameters. Where the tracker writes to is the tracker's own business: MLFLOW_TRACKING_URI; WANDB_MODE=offline.
"""
import argparse
import json
import math
import time


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_steps(path):
    """Yields (step, {metric: number}) for each whole line of a log, which a run may still be writing."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                record = json.loads(line)
                yield record["step"], {name: value for name, value in record.items() if name != "step" and is_number(value)}


def read_summary(path):
    """Returns the summary's numbers, and its texts."""
    if path is None:
        return {}, {}
    with open(path, encoding="utf-8") as file:
        summary = json.load(file)
    return ({name: value for name, value in summary.items() if is_number(value)},
            {name: value for name, value in summary.items() if isinstance(value, str)})


def to_mlflow(steps, numbers, texts, name):
    import mlflow
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    most = 1000  # metrics that MLflow takes in a call
    now = int(1000 * time.time())
    with mlflow.start_run(run_name=name) as run:
        mlflow.log_params(texts)
        waiting = []
        for step, metrics in steps:
            waiting += [Metric(key, value, now, step) for key, value in metrics.items()]
            while len(waiting) >= most:
                MlflowClient().log_batch(run.info.run_id, metrics=waiting[:most])
                waiting = waiting[most:]
        MlflowClient().log_batch(run.info.run_id, metrics=waiting)
        mlflow.log_metrics(numbers)
        return run.info.run_id


def to_wandb(steps, numbers, texts, name):
    import wandb

    run = wandb.init(project="taper", name=name, config=texts)
    for step, metrics in steps:
        run.log(metrics, step=step)
    run.summary.update(numbers)
    run.finish()
    return run.id


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", choices=("mlflow", "wandb"))
    parser.add_argument("log", help="what --log wrote")
    parser.add_argument("--summary", help="what --summary wrote")
    parser.add_argument("--name", help="of the run (the log's file name)")
    given = parser.parse_args()
    numbers, texts = read_summary(given.summary)
    hand_over = {"mlflow": to_mlflow, "wandb": to_wandb}[given.tracker]
    print(hand_over(read_steps(given.log), numbers, texts, given.name or given.log))


if __name__ == "__main__":
    main()
