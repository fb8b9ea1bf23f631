//! Real input: recorded sessions of real programs, and rulesets from public repositories.
//!
//! What belongs to a later issue (IPv6, other matches and targets) is left out line by line, and every such
//! line is counted under the name of what it needs: nothing is skipped silently.

use crate::cli::{Answer, Call, Place, is_numeric, normalise, words};
use crate::world::Kind;
use crate::{Result, diff, workers};
use flate2::read::GzDecoder;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Matches that are in use.
const MATCHES: &[&str] = &[
    "tcp",
    "udp",
    "icmp",
    "comment",
    "conntrack",
    "state",
    "mark",
    "connmark",
    "addrtype",
    "statistic",
    "multiport",
    "limit",
    "mac",
    "owner",
    "pkttype",
    "length",
    "ttl",
    "hl",
    "tos",
    "dscp",
    "ecn",
    "iprange",
    "recent",
    "u32",
    "time",
    "cpu",
    "quota",
    "cluster",
    "sctp",
    "dccp",
    "esp",
    "ah",
    "ipcomp",
    "tcpmss",
    "ipv6header",
    "frag",
    "rt",
    "hbh",
    "dst",
    "mh",
    "srh",
    "eui64",
    "devgroup",
    "physdev",
    "realm",
    "rpfilter",
    "string",
    "bpf",
    "hashlimit",
    "connbytes",
    "connlabel",
    "helper",
    "connlimit",
    "cgroup",
    "rateest",
    "socket",
    "set",
    "policy",
];

/// Targets of legacy that are not chains and not in use yet.
const LATER_TARGETS: &[&str] = &[
    "AUDIT",
    "CLUSTERIP",
    "CONNSECMARK",
    "IDLETIMER",
    "LED",
    "NFQUEUE",
    "QUEUE",
    "SECMARK",
    "SET",
    "SYNPROXY",
    "ULOG",
];

/// How `-L` shows rules of later issues.
const LATER_LISTED: &[&str] = &["CT helper", " HL match HL "];

/// What a rule needs that a later issue brings, by name.
fn later(rule: &[String]) -> Option<String> {
    for pair in rule.windows(2) {
        match pair[0].as_str() {
            "--pol" if pair[1] == "ipsec" && rule.iter().any(|w| w == "out") => {
                return Some("match policy of what IPsec will wrap".into());
            }
            "-m" | "--match" if !MATCHES.contains(&pair[1].as_str()) => return Some(format!("match {}", pair[1])),
            "-j" | "--jump" if LATER_TARGETS.contains(&pair[1].as_str()) => return Some(format!("target {}", pair[1])),
            "-j" | "--jump" if pair[1] == "CT" && rule.iter().any(|w| w == "--helper" || w == "--timeout") => {
                return Some("target CT with a helper or a timeout policy".into());
            }
            _ => {}
        }
    }
    None
}

/// What a replay found.
#[derive(Debug, Default)]
pub struct Report {
    /// Calls or rulesets that were run and compared.
    pub compared: usize,
    /// What was left out, by what it needs.
    pub left_out: BTreeMap<String, usize>,
    /// Differences, each with its place.
    pub different: Vec<String>,
}

impl Report {
    fn leave_out(&mut self, why: &str) {
        *self.left_out.entry(why.to_owned()).or_default() += 1;
    }

    /// The list of what was left out, for the test's output.
    pub fn left_out_text(&self) -> String {
        self.left_out.iter().map(|(k, n)| format!("  {n:5} {k}\n")).collect()
    }
}

/// Takes lines of later issues out of restore input (or of save output).
fn filter_rules(text: &str, report: &mut Report, what: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let rule = words(line).unwrap_or_default();
        if let Some(why) = later(&rule) {
            if !what.is_empty() {
                report.leave_out(&format!("{what} with {why}"));
            }
        } else {
            out += line;
            out.push('\n');
        }
    }
    if !text.ends_with('\n') {
        out.pop();
    }
    out
}

/// Replaces what traffic at recording time left: numbers of packets and bytes.
fn mask_counters(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let mut l = line.to_owned();
        if let (Some(a), Some(b)) = (l.find('['), l.find(']'))
            && a < b
            && l[a + 1..b].split(':').all(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
        {
            l.replace_range(a..=b, "[p:b]");
        }
        if let Some(at) = l.find("(policy ")
            && l.contains(" packets, ")
        {
            let policy: String = l[at..].split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            l.replace_range(at.., &format!("{policy} p b)\n"));
        }
        let numbers: Vec<&str> = l.split_whitespace().take(2).collect();
        if l.starts_with(' ')
            && numbers.len() == 2
            && numbers.iter().all(|n| n.trim_end_matches(['K', 'M', 'G', 'T']).chars().all(|c| c.is_ascii_digit()))
        {
            let rest =
                l.trim_start().split_once(' ').map_or("", |x| x.1).trim_start().split_once(' ').map_or("", |x| x.1);
            l = format!(" p b {rest}");
        }
        out += &l;
    }
    out
}

/// `Chain x (3 references)` counts rules that may have been left out.
fn without_references(line: &str) -> String {
    match line.split_once(" (") {
        Some((head, tail)) if head.starts_with("Chain ") && tail.ends_with("references)\n") => format!("{head}\n"),
        _ => line.to_owned(),
    }
}

fn expected(text: &str, listing: bool, kind: Kind, rules_left_out: bool) -> String {
    let mut none = Report::default();
    let mut text = filter_rules(&normalise(text, listing), &mut none, "");
    // 1.8.9 does not know this notice of 1.8.11.
    if kind == Kind::Legacy {
        text = text.replace("Ignoring deprecated --wait-interval option.\n", "");
    }
    let text: String = text
        .split_inclusive('\n')
        .filter(|l| !l.split_whitespace().take(4).any(|w| LATER_TARGETS.contains(&w)))
        .filter(|l| !LATER_LISTED.iter().any(|w| l.contains(w)))
        .map(|l| if kind == Kind::Legacy { l.replace(" -p 2 ", " -p igmp ") } else { l.to_owned() })
        .map(|l| if rules_left_out { without_references(&l) } else { l })
        .collect();
    mask_counters(&text)
}

/// The program and the table that an `iptables` or `ip6tables` call makes the kernel have.
fn named_table(argv: &[String]) -> Option<(&str, &str)> {
    let asks = |w: &String| matches!(w.as_str(), "-V" | "--version" | "-h" | "--help");
    let program = argv.first().filter(|name| matches!(name.as_str(), "iptables" | "ip6tables"))?;
    if argv.iter().any(asks) {
        return None;
    }
    let at = argv.iter().position(|w| w == "-t" || w == "--table");
    Some((program, at.map_or(Some("filter"), |i| argv.get(i + 1).map(String::as_str))?))
}

/// Replays one recorded session in a fresh namespace.
pub fn session(file: &Path, kind: Kind) -> Result<Report> {
    let mut report = Report::default();
    let place = Place::new(kind)?;
    let (mut netns, mut begun) = (None, BTreeSet::new());
    let text = |v: &serde_json::Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
    for line in BufReader::new(GzDecoder::new(File::open(file)?)).lines() {
        let v: serde_json::Value = serde_json::from_str(&line?)?;
        let home = netns.get_or_insert_with(|| text(&v, "netns"));
        if *home != text(&v, "netns") {
            report.leave_out("call in another namespace");
            continue;
        }
        let mut argv: Vec<String> = v["argv"]
            .as_array()
            .ok_or("argv expected")?
            .iter()
            .map(|a| a.as_str().unwrap_or_default().to_owned())
            .collect();
        argv[0] = argv[0].rsplit('/').next().unwrap_or_default().to_owned();
        if argv.iter().any(|word| word == "--match-set") {
            report.leave_out("call with a set that another program made");
            continue;
        }
        let place_name = format!("{} call {}: {}", file.display(), v["seq"], argv.join(" "));
        if let Some(why) = later(&argv) {
            report.leave_out(&format!("call with {why}"));
            if kind == Kind::Ours && v["rc"] == 0 && !argv.iter().any(|a| a == "-D" || a == "-C") {
                let a = place.call(&Call { argv, stdin: String::new() })?;
                if a.code == Some(0) {
                    report
                        .different
                        .push(format!("{place_name}\n  needs {why}, was expected to be refused by name, and exited 0"));
                }
            }
            continue;
        }
        let stdin = filter_rules(&text(&v, "stdin"), &mut report, "restore line");
        let listing = is_numeric(&argv);
        if let Some((program, table)) = named_table(&argv)
            && begun.insert(program.to_owned())
        {
            place.begin(program, table)?;
        }
        let got = place.call(&Call { argv, stdin })?;
        report.compared += 1;
        let partial = report.left_out.keys().any(|k| k.starts_with("restore line"));
        let want = Answer {
            code: v["rc"].as_i64().map(|n| n as i32),
            stdout: expected(&text(&v, "stdout"), listing, kind, partial),
            stderr: expected(&text(&v, "stderr"), false, kind, partial),
        };
        let got = Answer {
            code: got.code,
            stdout: expected(&got.stdout, listing, kind, partial),
            stderr: expected(&got.stderr, false, kind, partial),
        };
        if want != got {
            let show = |a: &Answer| format!("exit {:?}\n{}{}", a.code, a.stdout, a.stderr);
            report
                .different
                .push(format!("{place_name}\n{}", diff::lines(&show(&want), &show(&got), "recorded", "subject")));
        }
    }
    Ok(report)
}

/// The tables of a save, each with its lines, without comments.
fn tables(save: &str) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut name = String::new();
    for l in save.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        if let Some(t) = l.strip_prefix('*') {
            name = t.to_owned();
        }
        *out.entry(name.clone()).or_default() += &format!("{l}\n");
    }
    out
}

/// Commands that make the sets of a ruleset, which another program made where it was found.
fn sets_of(rules: &str, program: &str) -> Vec<String> {
    let family = if program == "ip6tables" { "inet6" } else { "inet" };
    let words: Vec<&str> = rules.split_whitespace().collect();
    let named = words.windows(2).filter(|pair| pair[0] == "--match-set").map(|pair| pair[1]);
    let names: BTreeSet<&str> = named.collect();
    names.iter().map(|name| format!("create {name} hash:net family {family}")).collect()
}

/// Restores every ruleset of a folder under legacy and the subject; the saves must be byte-equal.
pub fn rulesets(dir: &Path, kind: Kind) -> Result<Report> {
    let mut report = Report::default();
    let mut files: Vec<_> = std::fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    let mut chosen = Vec::new();
    for f in files {
        let name = f.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let program = match f.extension().and_then(|e| e.to_str()) {
            Some("v4") => "iptables",
            Some("v6") => "ip6tables",
            _ => continue,
        };
        let rules = filter_rules(&String::from_utf8_lossy(&std::fs::read(&f)?), &mut report, "rule");
        chosen.push((name, program, rules));
    }
    report.compared = chosen.len();
    let difference = |(name, program, rules): &(String, &str, String)| {
        let [legacy, subject] = [Kind::Legacy, kind].map(|kind| restored(program, rules, kind));
        Some(format!("{name}\n{}", diff::outcomes(legacy, subject)?))
    };
    report.different = workers::each(&chosen, difference).into_iter().flatten().collect();
    Ok(report)
}

/// What a restore of rules into a new namespace says, and the save of what came of it.
fn restored(program: &str, rules: &str, kind: Kind) -> Result<String> {
    let place = Place::new(kind)?;
    place.begin(program, "security")?;
    if let Some(said) = place.ipset(&sets_of(rules, program))?.first() {
        return Err(said.clone().into());
    }
    let call = |argv: &[&str], stdin: &str| {
        place.call(&Call { argv: argv.iter().map(ToString::to_string).collect(), stdin: stdin.to_owned() })
    };
    let a = call(&[&format!("{program}-restore"), "-c"], rules)?;
    let b = call(&[&format!("{program}-save"), "-c"], "")?;
    Ok(format!("exit {:?}\n{}{}", a.code, normalise(&a.stderr, false), normalise(&b.stdout, false)))
}

/// Reads a compressed text file.
pub fn gunzip(file: &Path) -> Result<String> {
    let mut text = String::new();
    GzDecoder::new(File::open(file)?).read_to_string(&mut text)?;
    Ok(text)
}

/// Restores a dump with its counters and saves it; every table must come back byte for byte.
pub fn round_trip(file: &Path, kind: Kind) -> Result<Option<String>> {
    let dump = gunzip(file)?;
    let place = Place::new(kind)?;
    let restored = place.call(&Call { argv: vec!["iptables-restore".into(), "-c".into()], stdin: dump.clone() })?;
    if restored.code != Some(0) {
        return Ok(Some(format!("iptables-restore exited {:?}: {}", restored.code, restored.stderr)));
    }
    let saved = place.call(&Call { argv: vec!["iptables-save".into(), "-c".into()], stdin: String::new() })?;
    // Without counters in its rules the dump's rules begin at zero.
    let (want, got) = (tables(&dump), tables(&saved.stdout.replace("[0:0] -A", "-A")));
    let show = |t: &BTreeMap<String, String>| t.values().cloned().collect::<String>();
    Ok((want != got).then(|| diff::lines(&show(&want), &show(&got), "dump", "saved")))
}
