//! Numbers for Prometheus (text format 0.0.4). Labels are words of closed sets or names from
//! the configuration; never a number, an address or a token.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use helpline_core::ivr::measure::Spread;

/// Most series of one metric; more would be a label that is no closed set.
const SERIES_MAX: usize = 1_000;
/// Upper bounds of `*_seconds` histograms of waits, in seconds.
pub const WAIT_BOUNDS: &[f64] = &[
    10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0,
];
/// Upper bounds of `*_seconds` histograms of answers, in seconds.
pub const ANSWER_BOUNDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0];

/// The sort of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    series: BTreeMap<Vec<String>, Series>,
}

#[derive(Clone, Debug, Default)]
struct Series {
    /// Of a counter or a gauge.
    value: f64,
    /// Of a histogram.
    spread: Spread,
}

type Source = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of the daemon. Cheap to clone; every clone is the same registry.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    families: Mutex<BTreeMap<&'static str, Family>>,
    sources: Mutex<Vec<Source>>,
}

impl Metrics {
    /// A counter; `name` with the prefix `helpline_` and `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) {
        self.family(name, help, Kind::Counter, labels);
    }

    /// A gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) {
        self.family(name, help, Kind::Gauge, labels);
    }

    /// A histogram with the upper bounds `bounds`, ascending.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) {
        self.family(name, help, Kind::Histogram(bounds), labels);
    }

    fn family(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
    ) {
        let mut families = lock(&self.0.families);
        families.entry(name).or_insert(Family {
            help,
            kind,
            labels,
            series: BTreeMap::new(),
        });
    }

    /// Runs at every scrape, first: sets gauges and counters that live beside the code that knows them.
    pub fn source(&self, read: impl Fn(&Metrics) + Send + Sync + 'static) {
        lock(&self.0.sources).push(Box::new(read));
    }

    /// Adds to a counter (or gauge). Values of labels in the order of their names.
    pub fn add(&self, name: &'static str, labels: &[&str], value: f64) {
        self.series(name, labels, |_, series| series.value += value);
    }

    /// Sets a gauge, or a counter whose total is kept elsewhere.
    pub fn set(&self, name: &'static str, labels: &[&str], value: f64) {
        self.series(name, labels, |_, series| series.value = value);
    }

    /// Forgets the series of a gauge: a source that sets those there are calls it first.
    pub fn clear(&self, name: &'static str) {
        if let Some(family) = lock(&self.0.families).get_mut(name) {
            family.series.clear();
        }
    }

    /// Adds an observation to a histogram.
    pub fn observe(&self, name: &'static str, labels: &[&str], value: f64) {
        self.series(name, labels, |kind, series| {
            let Kind::Histogram(bounds) = kind else {
                return;
            };
            series.spread.add(bounds, value);
        });
    }

    /// Puts a histogram that is kept elsewhere; the bounds of its buckets are the family's.
    pub fn spread(&self, name: &'static str, labels: &[&str], spread: &Spread) {
        self.series(name, labels, |_, series| {
            series.spread = spread.clone();
        });
    }

    fn series(&self, name: &'static str, labels: &[&str], change: impl FnOnce(Kind, &mut Series)) {
        let mut families = lock(&self.0.families);
        let Some(family) = families.get_mut(name) else {
            tracing::error!(name, "this metric was not registered");
            return;
        };
        if labels.len() != family.labels.len() {
            tracing::error!(name, "this metric has other labels");
            return;
        }
        let key: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        if family.series.len() >= SERIES_MAX && !family.series.contains_key(&key) {
            return;
        }
        change(family.kind, family.series.entry(key).or_default());
    }

    /// Everything in the text format.
    #[must_use]
    pub fn text(&self) -> String {
        let sources = lock(&self.0.sources);
        for read in sources.iter() {
            read(self);
        }
        drop(sources);
        let mut text = String::new();
        for (name, family) in lock(&self.0.families).iter() {
            family.write(name, &mut text);
        }
        text
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    fn write(&self, name: &str, out: &mut String) {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", self.help);
        for (values, series) in &self.series {
            let labels = self.labels(values);
            if let Kind::Histogram(bounds) = self.kind {
                let comma = if labels.is_empty() { "" } else { "," };
                for (bound, count) in bounds.iter().zip(&series.spread.buckets) {
                    let _ = writeln!(
                        out,
                        "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"
                    );
                }
                let (count, sum) = (series.spread.count, series.spread.sum);
                let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
                let _ = writeln!(out, "{name}_sum{} {sum}", braced(&labels));
                let _ = writeln!(out, "{name}_count{} {count}", braced(&labels));
            } else {
                let _ = writeln!(out, "{name}{} {}", braced(&labels), series.value);
            }
        }
    }

    fn labels(&self, values: &[String]) -> String {
        let pairs = self.labels.iter().zip(values);
        let pair = |(name, value): (&&str, &String)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{name}=\"{}\"", value.replace('\n', "\\n"))
        };
        pairs.map(pair).collect::<Vec<_>>().join(",")
    }
}

fn braced(labels: &str) -> String {
    match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.counter("helpline_requests_total", "Requests.", &["channel"]);
        metrics.gauge("helpline_queue_depth", "Waiting requests.", &[]);
        metrics.histogram("helpline_wait_seconds", "Wait.", &["queue"], &[1.0, 2.5]);
        metrics.add("helpline_requests_total", &["a\"\n\\"], 2.0);
        metrics.source(|metrics| metrics.set("helpline_queue_depth", &[], 7.0));
        for wait in [0.5, 2.0, 9.0] {
            metrics.observe("helpline_wait_seconds", &["help"], wait);
        }
        assert_eq!(
            metrics.text(),
            "# HELP helpline_queue_depth Waiting requests.\n\
             # TYPE helpline_queue_depth gauge\n\
             helpline_queue_depth 7\n\
             # HELP helpline_requests_total Requests.\n\
             # TYPE helpline_requests_total counter\n\
             helpline_requests_total{channel=\"a\\\"\\n\\\\\"} 2\n\
             # HELP helpline_wait_seconds Wait.\n\
             # TYPE helpline_wait_seconds histogram\n\
             helpline_wait_seconds_bucket{queue=\"help\",le=\"1\"} 1\n\
             helpline_wait_seconds_bucket{queue=\"help\",le=\"2.5\"} 2\n\
             helpline_wait_seconds_bucket{queue=\"help\",le=\"+Inf\"} 3\n\
             helpline_wait_seconds_sum{queue=\"help\"} 11.5\n\
             helpline_wait_seconds_count{queue=\"help\"} 3\n"
        );
    }

    #[test]
    fn wrong_use_changes_nothing() {
        let metrics = Metrics::default();
        metrics.counter("helpline_x_total", "X.", &["a"]);
        metrics.add("helpline_x_total", &[], 1.0);
        metrics.add("helpline_y_total", &["a"], 1.0);
        for n in 0..SERIES_MAX + 5 {
            metrics.add("helpline_x_total", &[&n.to_string()], 1.0);
        }
        assert_eq!(metrics.text().lines().count(), 2 + SERIES_MAX);
    }
}
