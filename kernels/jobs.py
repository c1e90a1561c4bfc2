"""A chunk of training as numbers: what is asked for, what has been summed up, which rows a step takes."""

from ._compile import kernel
from .losses import sum_rows

# What a job's integers say.
(ROWS, FEATURES, BATCH, FIRST_STEP, STEPS, SHUFFLE, SEED, OPTIMIZER, LOSS, SOFT, INPUT, INPUT_LD, LABELS, TARGETS,
 TARGETS_LD, SCRATCH, BLOCK, PART, FIRST_DENSE, ORDER_EPOCH, ROW_WORDS, PART_WORK) = range(22)  # fmt: skip
JOB = 22
# What the running sums of an epoch, and the end of a chunk, say.
LOSS_SUM, HITS, SEEN, PENALTY_SUM, DONE, BAD_STEP, PENALTY_NOW = range(7)
TALLY = 8
# Columns of the history, one row per epoch.
EPOCH_LOSS, EPOCH_ACCURACY, EPOCH_PENALTY = range(3)


@kernel
def batch_of(job, number):
    """Return (first row, rows) of a step's batch; an epoch's last batch may be short."""
    start = (number % ((job[ROWS] + job[BATCH] - 1) // job[BATCH])) * job[BATCH]
    return start, min(job[BATCH], job[ROWS] - start)


@kernel
def note(job, tally, history, total, hits, m, penalised, number):
    """Add a step to the running sums, and write the epoch's row at its end."""
    tally[LOSS_SUM] += total
    tally[HITS] += sum_rows(hits, m)
    tally[PENALTY_SUM] += penalised * m
    tally[SEEN] += m
    steps = (job[ROWS] + job[BATCH] - 1) // job[BATCH]
    if (number + 1) % steps == 0:
        row = number // steps - job[FIRST_STEP] // steps
        history[row, EPOCH_LOSS] = (tally[LOSS_SUM] + tally[PENALTY_SUM]) / tally[SEEN]
        history[row, EPOCH_ACCURACY] = tally[HITS] / tally[SEEN]
        history[row, EPOCH_PENALTY] = tally[PENALTY_SUM] / tally[SEEN]
        tally[LOSS_SUM], tally[HITS], tally[PENALTY_SUM], tally[SEEN] = 0.0, 0.0, 0.0, 0.0
    tally[DONE] += 1.0
