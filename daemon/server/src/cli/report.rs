//! `helpline report`: waits, outcomes and kept promises.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::ValueEnum;
use helpline_core::calendar::zone_named;
use helpline_core::queue::ewt::Kept;
use helpline_core::time::Wall;
use serde::Serialize;

use super::ConfigArgs;
use crate::clock::Clock;
use crate::store::peek::Peek;
use crate::store::report::Counted;

/// Arguments of `helpline report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line is a queue on a day (or in an hour) of the site's zone. `wait` is the time from the
request to its first call, bookings left out, in seconds; `kept`, `early` and `late` count first
calls against the times that were promised. Requests merged into another one count once.

Exit: 0.")]
pub(super) struct Report {
    /// Requests that came within this time (`24h`, `30d`).
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = super::period)]
    since: std::time::Duration,
    /// Of this queue alone.
    #[arg(long)]
    queue: Option<String>,
    /// What a line is about.
    #[arg(long, value_enum, default_value_t = By::Day)]
    by: By,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Day,
    Hour,
    Total,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

/// A line of a report.
#[derive(Debug, Default, Serialize)]
struct Line {
    queue: String,
    when: String,
    requests: u32,
    open: u32,
    done: u32,
    cancelled: u32,
    unreachable: u32,
    /// Expired, suppressed, refused.
    other: u32,
    calls: u32,
    wait_p50: Option<u64>,
    wait_p90: Option<u64>,
    kept: u32,
    early: u32,
    late: u32,
}

/// Its columns, in the order of its fields.
const COLUMNS: [&str; 14] = [
    "queue",
    "when",
    "requests",
    "open",
    "done",
    "cancelled",
    "unreachable",
    "other",
    "calls",
    "wait_p50",
    "wait_p90",
    "kept",
    "early",
    "late",
];

impl Report {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let now = Clock::system().wall();
        let store = Peek::open(&config.store).await?;
        let until = Wall::from_millis(i64::MAX);
        let mut counted = store.counted(now - self.since, until).await?;
        counted.retain(|c| self.queue.as_ref().is_none_or(|queue| c.queue == *queue));
        let lines = lines(&counted, self.by, &config.site.zone);
        print(&mut std::io::stdout().lock(), &lines, self.format)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn lines(counted: &[Counted], by: By, zone: &str) -> Vec<Line> {
    let zone = zone_named(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let format = match by {
        By::Day => "%Y-%m-%d",
        By::Hour => "%Y-%m-%d %H:00",
        By::Total => "all",
    };
    let mut groups: BTreeMap<(String, String), (Line, Vec<u64>)> = BTreeMap::new();
    for request in counted {
        let at = jiff::Timestamp::from_millisecond(request.accepted_at.millis());
        let when = zone.to_datetime(at.unwrap_or_default()).strftime(format);
        let key = (request.queue.clone(), when.to_string());
        let (line, waits) = groups.entry(key).or_default();
        line.count(request);
        if let Some(called) = request.called_at.filter(|_| !request.is_booked) {
            waits.push(called.since(request.accepted_at).as_secs());
        }
    }
    let finish = |((queue, when), (line, mut waits)): (_, (Line, Vec<u64>))| {
        waits.sort_unstable();
        let tenths =
            |n: usize| waits.get((waits.len() * n / 10).min(waits.len().saturating_sub(1)));
        Line {
            queue,
            when,
            wait_p50: tenths(5).copied(),
            wait_p90: tenths(9).copied(),
            ..line
        }
    };
    groups.into_iter().map(finish).collect()
}

impl Line {
    fn count(&mut self, request: &Counted) {
        self.requests += 1;
        self.calls += request.calls;
        *match request.state.as_str() {
            "done" | "settled_inbound" => &mut self.done,
            "cancelled" => &mut self.cancelled,
            "unreachable" => &mut self.unreachable,
            "expired" | "suppressed" | "refused" => &mut self.other,
            _ => &mut self.open,
        } += 1;
        let kept = request.promise.as_ref().zip(request.called_at);
        match kept.and_then(|(promise, at)| promise.kept(at)) {
            Some(Kept::Yes) => self.kept += 1,
            Some(Kept::Early) => self.early += 1,
            Some(Kept::Late) => self.late += 1,
            None => {}
        }
    }

    fn cells(&self) -> [String; 14] {
        let seconds = |wait: Option<u64>| wait.map_or_else(String::new, |wait| wait.to_string());
        let numbers = [
            self.requests,
            self.open,
            self.done,
            self.cancelled,
            self.unreachable,
            self.other,
            self.calls,
        ];
        let [requests, open, done, cancelled, unreachable, other, calls] =
            numbers.map(|n| n.to_string());
        [
            self.queue.clone(),
            self.when.clone(),
            requests,
            open,
            done,
            cancelled,
            unreachable,
            other,
            calls,
            seconds(self.wait_p50),
            seconds(self.wait_p90),
            self.kept.to_string(),
            self.early.to_string(),
            self.late.to_string(),
        ]
    }
}

fn print(out: &mut impl std::io::Write, lines: &[Line], format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            for line in lines {
                writeln!(out, "{}", serde_json::to_string(line)?)?;
            }
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(COLUMNS)?;
            for line in lines {
                csv.write_record(line.cells())?;
            }
            csv.flush()?;
        }
        Format::Table => {
            let rows: Vec<[String; 14]> = lines.iter().map(Line::cells).collect();
            let mut widths = COLUMNS.map(str::len);
            for row in &rows {
                for (width, cell) in widths.iter_mut().zip(row) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            for row in std::iter::once(&COLUMNS.map(str::to_owned)).chain(&rows) {
                let cells = row.iter().zip(widths).enumerate();
                let cells = cells.map(|(n, (cell, width))| match n {
                    0 | 1 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
                writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use helpline_core::queue::ewt::Promise;

    use super::*;

    fn counted(state: &str, minute: u64, called: Option<u64>) -> Counted {
        // 2026-11-23T22:50:00Z: ten to midnight in Berlin.
        let start = Wall::from_millis(1_795_474_200_000);
        let at = |minutes: u64| start + Duration::from_secs(minutes * 60);
        let mut promise = Promise::booked(at(minute), "UTC");
        promise.to = at(minute + 10);
        Counted {
            queue: "help".into(),
            state: state.into(),
            accepted_at: at(minute),
            is_booked: false,
            promise: Some(promise),
            called_at: called.map(at),
            calls: u32::from(called.is_some()),
        }
    }

    #[test]
    fn a_line_is_a_day_of_the_sites_zone_and_is_printed_in_three_forms() {
        let requests = [
            counted("done", 0, Some(5)),
            counted("cancelled", 1, None),
            counted("waiting", 12, None),
            counted("unreachable", 13, Some(30)),
        ];
        let lines = lines(&requests, By::Day, "Europe/Berlin");
        let text = |format| {
            let mut out = Vec::new();
            print(&mut out, &lines, format).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(Format::Csv),
            "queue,when,requests,open,done,cancelled,unreachable,other,calls,wait_p50,wait_p90,kept,early,late\n\
             help,2026-11-23,2,0,1,1,0,0,1,300,300,1,0,0\n\
             help,2026-11-24,2,1,0,0,1,0,1,1020,1020,0,0,1\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(text(Format::Json).lines().last().unwrap()).unwrap();
        assert_eq!((&json["late"], &json["open"]), (&1.into(), &1.into()));
        assert_eq!(text(Format::Table).lines().count(), 3);
        assert_eq!(super::lines(&requests, By::Total, "UTC").len(), 1);
        assert_eq!(super::lines(&requests, By::Hour, "UTC").len(), 2);
    }
}
