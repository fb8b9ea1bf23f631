//! Results: one table for people, JSON for later comparison.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use super::backend::Backend;
use super::median;

/// One measured cell.
#[derive(Serialize)]
pub(super) struct Row {
    group: &'static str,
    case: &'static str,
    /// Rules or services.
    size: usize,
    backend: &'static str,
    unit: &'static str,
    /// The median of the runs; absent when it could not be measured.
    value: Option<f64>,
    runs: Vec<f64>,
    error: Option<String>,
}

impl Row {
    pub(super) fn new(
        group: &'static str,
        case: &'static str,
        size: usize,
        backend: Backend,
        unit: &'static str,
        result: Result<Vec<f64>>,
    ) -> Self {
        let (runs, error) = match result {
            Ok(runs) => (runs, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        Self { group, case, size, backend: backend.name(), unit, value: median(&runs), runs, error }
    }
}

/// Every row so far.
pub(super) struct Report {
    dir: PathBuf,
    started: u64,
    quick: bool,
    rows: Vec<Row>,
}

/// What the first aims ask of one ratio.
struct Aim {
    text: &'static str,
    reached: Option<bool>,
    seen: String,
}

const COLUMNS: [Backend; 5] = [Backend::None, Backend::Ours, Backend::Legacy, Backend::Nft, Backend::NftSet];

impl Report {
    pub(super) fn new(dir: PathBuf, quick: bool) -> Result<Self> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        Ok(Self { dir, started, quick, rows: Vec::new() })
    }

    /// Adds a row and shows on standard error that things move.
    pub(super) fn add(&mut self, row: Row) {
        let value = match (&row.value, &row.error) {
            (Some(value), _) => format!("{} {}", number(*value), row.unit),
            (None, error) => error.clone().unwrap_or_default(),
        };
        eprintln!("{} · {} · {} · {}: {value}", row.group, row.case, row.size, row.backend);
        self.rows.push(row);
    }

    /// Writes `target/bench/<start>.json` and, the same, `target/bench/latest.json`.
    pub(super) fn save(&self) -> Result<()> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let json = serde_json::to_vec_pretty(&serde_json::json!({
            "started": self.started,
            "quick": self.quick,
            "kernel": kernel.trim(),
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "rows": self.rows,
        }))?;
        for name in [format!("{}.json", self.started), "latest.json".to_owned()] {
            let path = self.dir.join(name);
            std::fs::write(&path, &json).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Prints the table, the aims, and where the JSON is.
    pub(super) fn print(&self) {
        let head: String = COLUMNS.iter().map(|backend| format!(" {:>11}", backend.name())).collect();
        println!("{:<34} {:>8}{head} {:>12}  unit", "", "size", "ours/legacy");
        let mut printed = Vec::new();
        for row in &self.rows {
            let key = (row.group, row.case, row.size);
            if printed.contains(&key) {
                continue;
            }
            printed.push(key);
            let cells: String = COLUMNS
                .iter()
                .map(|backend| {
                    let cell = self.find(key, *backend).map_or_else(String::new, |row| match row.value {
                        Some(value) => number(value),
                        None => "failed".to_owned(),
                    });
                    format!(" {cell:>11}")
                })
                .collect();
            let ratio = self.ratio(key).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            println!("{:<34} {:>8}{cells} {ratio:>12}  {}", format!("{}: {}", row.group, row.case), row.size, row.unit);
        }
        for row in self.rows.iter().filter(|row| row.error.is_some()) {
            println!("failed: {}", row.error.as_deref().unwrap_or_default());
        }
        println!();
        for aim in self.aims() {
            let state = match aim.reached {
                Some(true) => "reached",
                Some(false) => "not reached",
                None => "not measured",
            };
            println!("aim: {:<66} {state}{}", aim.text, aim.seen);
        }
        println!("\nkept in {}", self.dir.join("latest.json").display());
    }

    fn find(&self, (group, case, size): (&str, &str, usize), backend: Backend) -> Option<&Row> {
        self.rows.iter().find(|row| (row.group, row.case, row.size, row.backend) == (group, case, size, backend.name()))
    }

    fn value(&self, key: (&str, &str, usize), backend: Backend) -> Option<f64> {
        self.find(key, backend)?.value
    }

    /// The median of the ratios run by run: the runs of a line alternate, so what the machine does
    /// meanwhile is in both parts of each ratio.
    fn ratio(&self, key: (&str, &str, usize)) -> Option<f64> {
        let (ours, legacy) = (self.find(key, Backend::Ours)?, self.find(key, Backend::Legacy)?);
        let ratios: Vec<f64> = ours.runs.iter().zip(&legacy.runs).map(|(o, l)| o / l).collect();
        median(&ratios)
    }

    /// The first aims of the bench: packets are those of the case `flow per packet`, the least kind to ours.
    fn aims(&self) -> Vec<Aim> {
        let packets = |size| ("forward", "flow per packet", size);
        let at_least = |text, size: usize, least: f64| {
            let ratio = self.ratio(packets(size));
            // What this machine forwards without a filter bounds everybody.
            let bound = self.value(packets(0), Backend::None).zip(self.value(packets(size), Backend::Legacy));
            let bound = bound.map(|(none, legacy)| none / legacy).filter(|bound| *bound < least);
            let bound = bound.map_or_else(String::new, |bound| format!("; no filter at all: {bound:.2}"));
            Aim {
                text,
                reached: ratio.map(|ratio| ratio >= least),
                seen: ratio.map_or_else(String::new, |ratio| format!(" ({ratio:.2}{bound})")),
            }
        };
        let at_most = |text, value: Option<f64>, most: f64| Aim {
            text,
            reached: value.map(|value| value <= most),
            seen: value.map_or_else(String::new, |value| format!(" ({})", number(value))),
        };
        let cost = |size| self.value(packets(size), Backend::Ours).map(|packets| 1.0 / packets);
        let growth = cost(50_000).zip(cost(10)).map(|(large, small)| large / small);
        let restore = |case| self.value(("restore", case, 225_515), Backend::Ours);
        vec![
            at_least("packets at 0 rules, never fewer than legacy", 0, 1.0),
            at_least("packets at 10 rules, never fewer than legacy", 10, 1.0),
            at_least("packets at 1,000 rules, 3 times legacy's", 1000, 3.0),
            at_least("packets at 10,000 rules, 10 times legacy's", 10_000, 10.0),
            at_most("cost of a packet at 50,000 rules, 1.3 times that at 10", growth, 1.3),
            at_most("-A at 5,000 rules, legacy's time", self.ratio(("append", "time", 5000)), 1.0),
            at_most("restore of 225,515 rules, 3,000 ms", restore("time"), 3000.0),
            at_most("restore of 225,515 rules, 600 MiB in the process", restore("process, peak"), 600.0),
        ]
    }
}

/// Three or so figures, thousands separated.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: &[(usize, Backend, f64)]) -> Report {
        let rows = rows
            .iter()
            .map(|(size, backend, value)| {
                Row::new("forward", "flow per packet", *size, *backend, "packets/s", Ok(vec![*value]))
            })
            .collect();
        Report { dir: PathBuf::new(), started: 0, quick: true, rows }
    }

    #[test]
    fn numbers_are_short_and_separated() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(-123.0), "-123");
        assert_eq!(number(0.5), "0.50");
    }

    #[test]
    fn an_aim_is_reached_missed_or_not_measured() {
        let report = report(&[
            (1000, Backend::Ours, 40.0),
            (1000, Backend::Legacy, 10.0),
            (10_000, Backend::Ours, 40.0),
            (10_000, Backend::Legacy, 10.0),
        ]);
        let reached: Vec<Option<bool>> = report.aims().iter().map(|aim| aim.reached).collect();
        assert_eq!(reached[..4], [None, None, Some(true), Some(false)]);
    }

    #[test]
    fn an_aim_that_no_filter_could_reach_says_so() {
        let report = report(&[(0, Backend::None, 20.0), (1000, Backend::Ours, 15.0), (1000, Backend::Legacy, 10.0)]);
        assert_eq!(report.aims()[2].seen, " (1.50; no filter at all: 2.00)");
    }
}
