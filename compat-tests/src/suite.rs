//! Runs scenarios in two worlds at once and compares.

use crate::run::{Outcome, run};
use crate::scenario::{Scenario, parse};
use crate::world::{Family, Kind, World};
use crate::{Result, diff, sys};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const QUICK: Duration = Duration::from_millis(1);
const PATIENT: Duration = Duration::from_millis(40);

/// Which implementation is compared with legacy: bpftables, or legacy itself with `COMPAT_SUBJECT=legacy`.
pub fn subject() -> Kind {
    match std::env::var("COMPAT_SUBJECT").as_deref() {
        Ok("legacy") => Kind::Legacy,
        Ok("ours") | Err(_) => Kind::Ours,
        Ok(other) => panic!("COMPAT_SUBJECT={other}: expected legacy or ours"),
    }
}

/// Two worlds: legacy, and the subject.
#[derive(Debug)]
pub struct Pair {
    legacy: World,
    subject: World,
}

impl Pair {
    /// Builds both.
    pub fn new(kind: Kind, family: Family, vrf: bool) -> Result<Self> {
        Ok(Self { legacy: World::with(Kind::Legacy, family, vrf, 0)?, subject: World::with(kind, family, vrf, 1)? })
    }

    /// Does something in both at once.
    pub fn both<T: Send>(&mut self, f: impl Fn(&mut World) -> Result<T> + Sync) -> Result<(T, T)> {
        let (a, b) = std::thread::scope(|s| {
            let first = s.spawn(|| {
                let _ = sys::pin_to_cpu(0);
                f(&mut self.legacy)
            });
            let second = s.spawn(|| {
                let _ = sys::pin_to_cpu(1);
                f(&mut self.subject)
            });
            (first.join().expect("the legacy run panicked"), second.join().expect("the subject's run panicked"))
        });
        Ok((a.map_err(|e| format!("legacy: {e}"))?, b.map_err(|e| format!("subject: {e}"))?))
    }

    /// Runs a scenario in both.
    pub fn run(&mut self, sc: &Scenario, patience: Duration) -> Result<(Outcome, Outcome)> {
        self.both(|w| run(w, sc, patience))
    }

    /// Makes both as good as new.
    pub fn reset(&mut self) -> Result<()> {
        self.both(World::reset).map(drop)
    }
}

/// Runs all scenarios of a file below `scenarios/` and panics with every difference found.
pub fn file(name: &str) {
    scenarios(name, &read(name));
}

/// Runs those scenarios of a file that need a type of device. Panics with every difference found, and if this kernel has no such device.
pub fn devices_of(name: &str) {
    let mut all = read(name);
    all.retain(|s| s.needs.is_some());
    for sc in &all {
        let kind = sc.needs.as_deref().unwrap_or_default();
        assert!(kernel_has(kind), "this kernel has no {kind} devices: {:?}", sc.name);
    }
    scenarios(name, &all);
}

fn read(name: &str) -> Vec<Scenario> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs scenarios and panics with every difference found. `COMPAT_ONLY=TEXT` picks those whose name has TEXT.
pub fn scenarios(suite: &str, all: &[Scenario]) {
    let only = std::env::var("COMPAT_ONLY").unwrap_or_default();
    let chosen: Vec<&Scenario> = all.iter().filter(|s| s.name.contains(&only)).collect();
    let failures = differences(&chosen, subject());
    assert!(!all.is_empty(), "{suite}: no scenarios");
    if failures.is_empty() {
        return;
    }
    let mut report = String::new();
    for f in &failures {
        let _ = writeln!(report, "\n### {}\n{}", f.name, f.what);
    }
    let _ = write!(report, "\n{suite}: {} of {} scenarios differ:", failures.len(), chosen.len());
    for f in &failures {
        let _ = write!(report, "\n  {}", f.name);
    }
    panic!("{report}");
}

/// A scenario in which the two worlds differ (or one could not run it).
#[derive(Debug)]
pub struct Failure {
    /// The scenario's name.
    pub name: String,
    /// The difference, or the error.
    pub what: String,
}

/// Runs scenarios against `kind` and returns the differences.
pub fn differences(all: &[&Scenario], kind: Kind) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut pair: Option<Pair> = None;
    for sc in all {
        if let Some(kind) = &sc.needs
            && !kernel_has(kind)
        {
            eprintln!("NOT RUN, this kernel has no {kind} devices: {:?}", sc.name);
            continue;
        }
        if sc.fresh {
            pair = None;
        }
        let result = quick(&mut pair, sc, kind).and_then(|difference| {
            let as_stated = |d: &Difference| kind == Kind::Ours && !sc.ours.is_empty() && d.missing.is_empty();
            if difference.as_ref().is_none_or(as_stated) {
                return Ok(difference);
            }
            // A difference must also be seen in new worlds with all the time in the world.
            pair = None;
            let mut fresh = Pair::new(kind, sc.family, sc.vrf)?;
            let (a, b) = fresh.run(sc, PATIENT)?;
            let real = compare(sc, &a, &b);
            if real.is_none() {
                eprintln!("note: {:?} was equal only at the second, patient run", sc.name);
            }
            Ok(real)
        });
        let what = match result {
            Ok(found) if kind == Kind::Ours && sc.differs.is_some() => match found {
                Some(d) if d.missing.is_empty() => None,
                Some(d) => {
                    Some(format!("differs, but not as stated, for want of:\n{}\n{}", d.missing.join("\n"), d.text))
                }
                None => Some("stated as a deliberate difference, but both are equal: take the @differs away".into()),
            },
            Ok(None) => None,
            Ok(Some(d)) => Some(d.text),
            Err(e) => Some(e.to_string()),
        };
        if let Some(what) = what {
            failures.push(Failure { name: sc.name.clone(), what });
            pair = None;
        }
        if sc.fresh {
            pair = None;
        }
    }
    failures
}

/// Whether a device of this type can be made.
fn kernel_has(kind: &str) -> bool {
    let lines = match kind {
        "vlan" => "link add name probe0 type veth\nlink add link probe0 name probe1 type vlan id 5\n".to_owned(),
        "macvlan" | "ipvlan" => {
            format!("link add name probe0 type veth\nlink add link probe0 name probe1 type {kind}\n")
        }
        "vrf" => "link add name probe1 type vrf table 5\n".to_owned(),
        _ => format!("link add name probe1 type {kind}\n"),
    };
    crate::netns::Netns::new(0).is_ok_and(|net| net.ip_batch(&lines).is_ok())
}

/// What differs, and which lines that the scenario states of bpftables are not in its report.
#[derive(Debug)]
struct Difference {
    text: String,
    missing: Vec<String>,
}

fn quick(pair: &mut Option<Pair>, sc: &Scenario, kind: Kind) -> Result<Option<Difference>> {
    if std::env::var_os("COMPAT_FRESH").is_some() {
        *pair = None;
    }
    if pair.as_ref().is_some_and(|p| (p.legacy.family, p.legacy.vrf) != (sc.family, sc.vrf)) {
        *pair = None;
    }
    if let Some(p) = pair.as_mut()
        && let Err(e) = p.reset()
    {
        eprintln!("note: new namespaces for {:?}, since the old ones could not be emptied: {e}", sc.name);
        *pair = None;
    }
    let p = match pair {
        Some(p) => p,
        None => pair.insert(Pair::new(kind, sc.family, sc.vrf)?),
    };
    let (a, b) = p.run(sc, QUICK)?;
    if std::env::var_os("COMPAT_SHOW").is_some() {
        eprintln!("\n### {}\n{}", sc.name, a.text);
    }
    Ok(compare(sc, &a, &b))
}

fn compare(sc: &Scenario, a: &Outcome, b: &Outcome) -> Option<Difference> {
    if a.evidence == 0 {
        let text = "legacy shows no packet, answer or counter: the scenario proves nothing".to_owned();
        return Some(Difference { missing: vec![text.clone()], text });
    }
    if a.text == b.text {
        return None;
    }
    let missing = sc.ours.iter().filter(|line| !b.text.lines().any(|l| l.trim() == line.as_str())).cloned().collect();
    Some(Difference { text: format!("{}{}", sc.rules, diff::lines(&a.text, &b.text, "legacy", "subject")), missing })
}
