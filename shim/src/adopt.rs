//! `bpftables adopt` and `bpftables release`: netfilter's rules become ours, and ours netfilter's.
//!
//! Both read a ruleset as text, put it in force on the other side, look whether it is there, and remove it here. In between both sides' rules
//! are in force and no packet passes ([`Hold`]): who is killed has rules in force, twice or once, and the same command goes on from there.

use crate::admin::{AdminError, lock_path};
use crate::context::Context;
use crate::dry::Dry;
use crate::engine::Kernel;
use crate::lock::Waiting;
use crate::multicall::Program;
use crate::names::SystemNames;
use crate::words::many;
use bpftables_ruleset::{Counters, Family, Policy, Ruleset, Slot, Table};
use bpftables_runtime::{Coverage, Hold, Hooked, nft_tables};
use clap::ValueEnum;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};

/// Which of netfilter's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Netfilter {
    /// iptables-legacy's.
    Legacy,
    /// iptables-nft's.
    Nft,
}

fn refused(text: impl Into<String>) -> AdminError {
    AdminError::Refused(text.into())
}

const fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

impl Netfilter {
    const ALL: [Self; 2] = [Self::Legacy, Self::Nft];

    const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        }
    }

    fn program(self, family: Family, what: &str) -> String {
        let begin = if family == Family::V4 { "iptables" } else { "ip6tables" };
        format!("{begin}-{}-{what}", self.name())
    }

    /// Runs one of its programs; none if there is no such program.
    fn call(self, family: Family, what: &str, arguments: &[&str], stdin: &str) -> Result<Option<String>, AdminError> {
        let program = self.program(family, what);
        // The lock that it would wait for is held by this process. Beside it, where nobody else puts links in the way.
        let mut own = lock_path().into_os_string();
        own.push(format!(".handover-{}", std::process::id()));
        let mut command = Command::new(&program);
        command.args(arguments).env("XTABLES_LOCKFILE", &own);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match child {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            child => child?,
        };
        // It may end without having read all, and says why.
        let _ = child.stdin.take().map(|mut pipe| pipe.write_all(stdin.as_bytes()));
        let out = child.wait_with_output()?;
        let _ = std::fs::remove_file(&own);
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; ");
            return Err(refused(format!("{program}: {said}")));
        }
        String::from_utf8(out.stdout).map(Some).map_err(|_| refused(format!("{program}: not UTF-8")))
    }

    /// Whether the kernel has such tables at all here. Asking for one would make it.
    fn may_be_there(self, family: Family) -> bool {
        let names = if family == Family::V4 { "ip_tables_names" } else { "ip6_tables_names" };
        self == Self::Nft
            || std::fs::read_to_string(format!("/proc/thread-self/net/{names}")).is_ok_and(|names| !names.is_empty())
    }

    /// The text of its tables and what is in it, if that is more than empty chains with policy ACCEPT.
    fn saved(self, family: Family) -> Result<Option<(String, Ruleset)>, AdminError> {
        if !self.may_be_there(family) {
            return Ok(None);
        }
        let Some(text) = self.call(family, "save", &["-c"], "")? else {
            let missing = format!("{} is needed, and is not there", self.program(family, "save"));
            let tables = match self {
                Self::Legacy => return Err(refused(missing)),
                Self::Nft => in_force(|of| of == Some(family))?,
            };
            return match tables.as_str() {
                "" => Ok(None),
                tables => Err(refused(format!("{missing}: rules of iptables-nft are in force (tables {tables})"))),
            };
        };
        if let Some(line) = text.lines().find(|line| line.contains("is incompatible, use 'nft' tool")) {
            return Err(refused(line.trim_start_matches(['#', ' ']).to_owned()));
        }
        let ruleset = load(family, &text)?;
        Ok((!bare(&ruleset).tables.is_empty()).then_some((text, ruleset)))
    }

    /// Empties tables.
    fn clear(self, family: Family, ruleset: &Ruleset) -> Result<(), AdminError> {
        let mut text = String::new();
        for table in &ruleset.tables {
            text += &format!("*{}\n", table.kind.name());
            for chain in &table.builtin {
                text += &format!(":{} ACCEPT [0:0]\n", chain.name.0);
            }
            text += "COMMIT\n";
        }
        self.restore(family, &text)?;
        if self == Self::Nft {
            // What is left of such a table are empty chains.
            for table in &ruleset.tables {
                let of = if family == Family::V4 { "ip" } else { "ip6" };
                let _ =
                    Command::new("nft").args(["delete", "table", of, table.kind.name()]).stderr(Stdio::null()).status();
            }
        }
        Ok(())
    }

    fn restore(self, family: Family, text: &str) -> Result<(), AdminError> {
        match self.call(family, "restore", &["-c"], text)? {
            Some(_) => Ok(()),
            None => Err(refused(format!("{} is needed, and is not there", self.program(family, "restore")))),
        }
    }
}

/// The tables of nf_tables that do something to packets and are iptables-nft's of such a family, or nobody's of iptables.
fn in_force(wanted: impl Fn(Option<Family>) -> bool) -> Result<String, AdminError> {
    let tables = nft_tables()?.into_iter().filter(|table| table.in_force && wanted(table.iptables));
    Ok(tables.map(|table| table.to_string()).collect::<Vec<_>>().join(", "))
}

/// Tells of rules that no iptables made.
fn tell_of_others(out: &mut impl Write) -> Result<(), AdminError> {
    let tables = in_force(|of| of.is_none())?;
    if !tables.is_empty() {
        writeln!(out, "nft has rules that are not iptables', and stay in force (tables {tables})")?;
    }
    Ok(())
}

/// What a text says, with its counters, if our programs can run it.
fn load(family: Family, text: &str) -> Result<Ruleset, AdminError> {
    let (mut dry, mut said) = (Dry::default(), Vec::new());
    let mut context = Context {
        backend: &mut dry,
        names: &SystemNames::default(),
        stdin: &mut text.as_bytes(),
        stdout: &mut io::sink(),
        stderr: &mut said,
        lock_path: None,
        now: crate::clock::ctime,
        argv0: String::new(),
    };
    let code = crate::run(Program::Restore(family), &["-c".to_owned()], &mut context);
    if code != 0 {
        return Err(refused(String::from_utf8_lossy(&said).trim().to_owned()));
    }
    if !dry.refused().is_empty() {
        let reasons: Vec<String> = dry.refused().iter().map(ToString::to_string).collect();
        return Err(refused(reasons.join("\nbpftables: ")));
    }
    let mut ruleset = dry.ruleset(family).clone();
    each_slot(&mut ruleset, |slot, _| *slot = Slot::UNASSIGNED);
    Ok(ruleset)
}

fn each_slot(ruleset: &mut Ruleset, mut act: impl FnMut(&mut Slot, &mut Counters)) {
    for table in &mut ruleset.tables {
        for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
            act(&mut chain.slot, &mut chain.offset);
            for rule in &mut chain.rules {
                act(&mut rule.slot, &mut rule.offset);
            }
        }
    }
}

/// Without counters, the order of tables, and tables that hold nothing.
fn bare(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    each_slot(&mut ruleset, |slot, counters| (*slot, *counters) = (Slot::UNASSIGNED, Counters::default()));
    ruleset.tables.retain(|table| !is_empty(table));
    ruleset.tables.sort_by_key(|table| table.kind);
    ruleset
}

fn is_empty(table: &Table) -> bool {
    let accepts = |policy: Option<Policy>| policy == Some(Policy::Accept);
    table.user.is_empty() && table.builtin.iter().all(|chain| chain.rules.is_empty() && accepts(chain.policy))
}

/// Whether every table of `part` is one of `whole`.
fn is_part(part: &Ruleset, whole: &Ruleset) -> bool {
    let whole = bare(whole);
    bare(part).tables.iter().all(|table| whole.table(table.kind) == Some(table))
}

fn count(ruleset: &Ruleset) -> usize {
    ruleset.tables.iter().flat_map(|table| table.chains()).map(|chain| chain.rules.len()).sum()
}

/// A ruleset of netfilter's that is to be ours.
struct Theirs {
    source: Netfilter,
    family: Family,
    text: String,
    ruleset: Ruleset,
    /// An earlier command came so far.
    ours_already: bool,
}

/// `bpftables adopt`.
pub(crate) fn adopt(from: Option<Netfilter>, dry: bool, waiting: Waiting) -> Result<ExitCode, AdminError> {
    let _lock = waiting.acquire(&lock_path())?;
    let mut kernel = Kernel::default();
    let (mut all, mut any_ours) = (Vec::new(), false);
    for family in Family::ALL {
        let ours = kernel.engine()?.read(family)?.ruleset;
        any_ours |= !bare(&ours).tables.is_empty();
        for source in Netfilter::ALL.into_iter().filter(|source| from.is_none_or(|from| from == *source)) {
            let Some((text, ruleset)) = source.saved(family)? else { continue };
            let ours_already = !bare(&ours).tables.is_empty();
            if ours_already && !is_part(&ruleset, &ours) {
                let family = family_name(family);
                return Err(refused(format!("bpftables has other rules for {family} already; nothing was changed")));
            }
            all.push(Theirs { source, family, text, ruleset, ours_already });
        }
    }
    let families: BTreeSet<usize> = all.iter().map(|theirs| theirs.family as usize).collect();
    if families.len() != all.len() {
        return Err(refused("both iptables-legacy and iptables-nft have rules; --from says which are meant"));
    }
    let mut out = io::stdout();
    if all.is_empty() {
        match (from, in_force(|_| true)?.is_empty()) {
            (Some(from), _) => writeln!(out, "iptables-{} has no rules here", from.name())?,
            (None, true) => writeln!(out, "netfilter has no rules here")?,
            (None, false) => writeln!(out, "netfilter has no rules of iptables here")?,
        }
        tell_of_others(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    if dry {
        for theirs in &all {
            let (rules, family) = (many(count(&theirs.ruleset), "rule"), family_name(theirs.family));
            writeln!(out, "{rules} of iptables-{} for {family} can be adopted", theirs.source.name())?;
        }
        tell_of_others(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Whatever takes long comes before the hold: the kernel looks through programs for seconds. Those that are there without rules may
    // remember connections; netfilter's are taken over where there are none.
    let mut new = Vec::new();
    let mut done = Ok(());
    if !any_ours {
        kernel.engine()?.uninstall()?;
        for theirs in &all {
            let engine = kernel.engine()?;
            engine.read(theirs.family)?;
            done = done.and_then(|()| engine.commit(&mut Ruleset::new(theirs.family)).map(drop));
        }
    }
    let hold = Hold::begin()?;
    if let Err(error) = done.map_err(AdminError::from).and_then(|()| take(&mut kernel, &mut all, &mut new, &hold)) {
        undo(&mut kernel, &new, any_ours)?;
        return Err(error);
    }
    for (at, theirs) in all.iter().enumerate() {
        let cleared = theirs.source.clear(theirs.family, &theirs.ruleset);
        if let Err(error) = cleared {
            for theirs in &all[..=at] {
                theirs.source.restore(theirs.family, &theirs.text)?;
            }
            undo(&mut kernel, &new, any_ours)?;
            return Err(error);
        }
    }
    for theirs in &all {
        kernel.engine()?.forget_translated(theirs.family, &hold)?;
    }
    drop(hold);
    let known = kernel.engine()?.conntrack_list()?;
    for theirs in &all {
        let (rules, family) = (many(count(&theirs.ruleset), "rule"), family_name(theirs.family));
        let known = known.iter().filter(|connection| connection.family == theirs.family).count();
        let known = many(known, "connection");
        writeln!(out, "adopted {rules} of iptables-{} for {family}, {known}", theirs.source.name())?;
    }
    tell_of_others(&mut out)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts them in force beside netfilter's, and looks whether they are.
fn take(kernel: &mut Kernel, all: &mut [Theirs], new: &mut Vec<Family>, hold: &Hold) -> Result<(), AdminError> {
    for theirs in all.iter_mut().filter(|theirs| !theirs.ours_already) {
        let committed = kernel.engine()?.adopt(&mut theirs.ruleset, hold)?;
        new.push(theirs.family);
        for warning in &committed.warnings {
            let _ = writeln!(io::stderr(), "bpftables: {warning}");
        }
        if !committed.uncovered.is_empty() {
            return Err(refused(format!("packets of {} would meet no rules", committed.uncovered.join(", "))));
        }
    }
    for theirs in all.iter() {
        let engine = kernel.engine()?;
        let live = engine.read(theirs.family)?.ruleset;
        if !is_part(&theirs.ruleset, &live) {
            return Err(refused("the live rules are not those that were committed"));
        }
        let status = engine.status(theirs.family)?;
        let devices = status.iter().flat_map(|status| &status.devices);
        let mut open = devices.filter(|device| {
            let meant = match device.coverage {
                Coverage::Attached(_) | Coverage::Vrf(_) => true,
                Coverage::BridgePort(of) => of.shown[theirs.family as usize],
                _ => false,
            };
            meant && [device.ingress, device.egress].contains(&Hooked::No)
        });
        if let Some(device) = open.next() {
            return Err(refused(format!("device {} is not attached", device.name)));
        }
    }
    Ok(())
}

/// Takes back what was committed; netfilter's rules are in force.
fn undo(kernel: &mut Kernel, new: &[Family], any_ours: bool) -> Result<(), AdminError> {
    if !any_ours {
        kernel.engine()?.uninstall()?;
        return Ok(());
    }
    for family in new {
        kernel.engine()?.read(*family)?;
        kernel.engine()?.commit(&mut Ruleset::new(*family))?;
    }
    Ok(())
}

/// `bpftables release`.
pub(crate) fn release(to: Netfilter, waiting: Waiting) -> Result<ExitCode, AdminError> {
    let _lock = waiting.acquire(&lock_path())?;
    let mut kernel = Kernel::default();
    let mut all = Vec::new();
    for family in Family::ALL {
        let ours = kernel.engine()?.read(family)?.ruleset;
        if bare(&ours).tables.is_empty() {
            continue;
        }
        if let Some((_, theirs)) = to.saved(family)?
            && !is_part(&theirs, &ours)
        {
            let (family, name) = (family_name(family), to.name());
            return Err(refused(format!("iptables-{name} has other rules for {family} already; nothing was changed")));
        }
        all.push((family, ours, text_of(&mut kernel, family)?));
    }
    let mut out = io::stdout();
    if all.is_empty() {
        writeln!(out, "bpftables has no rules here")?;
        return Ok(ExitCode::SUCCESS);
    }
    let hold = Hold::begin()?;
    if let Err(error) = give(to, &all) {
        for (family, ours, _) in &all {
            // Tables that the kernel does not have can't be emptied either.
            for table in &ours.tables {
                let one = Ruleset { family: *family, tables: vec![table.clone()] };
                if let Err(error) = to.clear(*family, &one) {
                    tracing::debug!(%error, "a table that was to be emptied");
                }
            }
        }
        return Err(error);
    }
    let exported = kernel.engine()?.export(&hold)?;
    kernel.engine()?.uninstall()?;
    drop(hold);
    for (family, ours, _) in &all {
        let (rules, family) = (many(count(ours), "rule"), family_name(*family));
        writeln!(out, "released {rules} for {family} to iptables-{}", to.name())?;
    }
    writeln!(out, "{} handed over, {} not taken", many(exported.taken, "connection"), exported.refused)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts our rules in force in netfilter, beside ours, and looks whether they are.
fn give(to: Netfilter, all: &[(Family, Ruleset, String)]) -> Result<(), AdminError> {
    for (family, ours, text) in all {
        to.restore(*family, text)?;
        let found = to.saved(*family)?.map(|(_, ruleset)| bare(&ruleset));
        if found.as_ref() != Some(&bare(ours)) {
            return Err(refused(format!("iptables-{} does not show the rules that it was given", to.name())));
        }
    }
    Ok(())
}

/// Our rules with their counters, as `iptables-save -c`.
fn text_of(kernel: &mut Kernel, family: Family) -> Result<String, AdminError> {
    let (mut text, mut said) = (Vec::new(), Vec::new());
    let mut context = Context {
        backend: kernel,
        names: &SystemNames::default(),
        stdin: &mut io::empty(),
        stdout: &mut text,
        stderr: &mut said,
        lock_path: None,
        now: crate::clock::ctime,
        argv0: String::new(),
    };
    match crate::run(Program::Save(family), &["-c".to_owned()], &mut context) {
        0 => String::from_utf8(text).map_err(|_| refused("the rules are not UTF-8")),
        _ => Err(refused(String::from_utf8_lossy(&said).trim().to_owned())),
    }
}
