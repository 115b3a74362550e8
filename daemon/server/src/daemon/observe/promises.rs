//! How honest the promises are: what was expected, what was told, and what came.

use crate::desk::{Desk, ERROR_BOUNDS};
use crate::web::metrics::Metrics;

const ERROR: &str = "helpline_wait_estimate_error_seconds";
const KEPT: &str = "helpline_wait_promise_kept_total";
const CORRECTIONS: &str = "helpline_corrections_total";
const COVERAGE: &str = "helpline_promise_coverage";
const WIDTH: &str = "helpline_promise_width_ratio";
const FORMULA: &str = "helpline_estimate_vs_qlm_ratio";
const TOOK: &str = "helpline_estimate_seconds";

pub(super) fn declare(metrics: &Metrics) {
    metrics.histogram(
        ERROR,
        "How far first calls were off the median estimate, by whether they came early or late.",
        &["queue", "side"],
        ERROR_BOUNDS,
    );
    metrics.counter(
        KEPT,
        "First calls by how they kept the promise: yes, early, late.",
        &["queue", "kept"],
    );
    metrics.counter(CORRECTIONS, "Promises that a mail corrected.", &["queue"]);
    metrics.gauge(
        COVERAGE,
        "Share of the last 500 first calls that came by the upper bound; meant to be 0.9.",
        &["queue"],
    );
    metrics.gauge(
        WIDTH,
        "Mean upper bound over mean wait of the last 500 first calls.",
        &["queue"],
    );
    metrics.gauge(
        FORMULA,
        "Median wait at the end of the line, simulated over Erlang's formula.",
        &["queue"],
    );
    metrics.gauge(
        TOOK,
        "How long the last look at a line and its simulation took.",
        &["queue"],
    );
}

pub(super) fn show(metrics: &Metrics, desk: &Desk) {
    for (queue, record) in desk.records() {
        for (side, spread) in &record.error {
            metrics.spread(ERROR, &[&queue, side], spread);
        }
        for (kept, count) in &record.kept {
            metrics.set(KEPT, &[&queue, kept], super::number(*count));
        }
        metrics.set(CORRECTIONS, &[&queue], super::number(record.corrections));
        if let Some(coverage) = record.coverage() {
            metrics.set(COVERAGE, &[&queue], coverage);
        }
        if let Some(ratio) = record.width_ratio() {
            metrics.set(WIDTH, &[&queue], ratio);
        }
    }
    for (queue, took, ratio) in desk.estimates() {
        metrics.set(TOOK, &[&queue], took.as_secs_f64());
        if let Some(ratio) = ratio {
            metrics.set(FORMULA, &[&queue], ratio);
        }
    }
}
