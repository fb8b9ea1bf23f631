//! Command lines under both implementations: exit code, standard output and standard error must be equal.
//!
//! A file holds sessions; each runs in a namespace of its own with devices eth0 and eth1:
//!
//! ```text
//! ### a session's claim
//! $ iptables -A INPUT -s 10.0.0.1,10.0.0.2 -j DROP
//! $ iptables-restore --noflush
//! < *filter
//! < -A INPUT -j DROP
//! < COMMIT
//! $ iptables -A INPUT ! -i + -p 47
//! = exit Some(0)
//! ```
//! Lines with `=` are the whole answer of 1.8.11 where the installed legacy is known to differ; they stand in for legacy's.

use crate::netns::Netns;
use crate::world::{Kind, Tools};
use crate::{Result, diff, workers};
use std::collections::BTreeMap;
use std::io::PipeWriter;
use std::process::{Child, Stdio};

/// One command of a session.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Program name and arguments.
    pub argv: Vec<String>,
    /// Standard input.
    pub stdin: String,
}

/// A named list of commands.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// What is claimed.
    pub name: String,
    /// The commands, in order.
    pub calls: Vec<Call>,
    /// The answer of 1.8.11 to a command (by its place in `calls`), where legacy's own must not be asked.
    pub stated: BTreeMap<usize, String>,
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Splits a command line as a shell does: blanks, single and double quotes.
pub fn words(line: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let w = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(q) if q == c => break,
                        Some(x) => w.push(x),
                        None => return Err(format!("unbalanced quote in {line:?}").into()),
                    }
                }
            }
            ' ' => out.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    Ok(out)
}

/// Reads a file of sessions.
pub fn parse(text: &str) -> Result<Vec<Session>> {
    let mut all: Vec<Session> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let fail = |what: &str| format!("line {}: {line:?}: {what}", n + 1);
        if let Some(name) = line.strip_prefix("### ") {
            all.push(Session { name: name.to_owned(), ..Session::default() });
        } else if let Some(cmd) = line.strip_prefix("$ ") {
            let s = all.last_mut().ok_or_else(|| fail("a command before the first session"))?;
            s.calls.push(Call { argv: words(cmd)?, stdin: String::new() });
        } else if let Some(input) = line.strip_prefix('<') {
            let c = all.last_mut().and_then(|s| s.calls.last_mut()).ok_or_else(|| fail("input without a command"))?;
            c.stdin.push_str(input.strip_prefix(' ').unwrap_or(input));
            c.stdin.push('\n');
        } else if let Some(answer) = line.strip_prefix("= ") {
            let s = all.last_mut().ok_or_else(|| fail("an answer before the first session"))?;
            let at = s.calls.len().checked_sub(1).ok_or_else(|| fail("an answer without a command"))?;
            *s.stated.entry(at).or_default() += &format!("{answer}\n");
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            return Err(fail("expected ###, $, < or =").into());
        }
    }
    Ok(all)
}

/// A namespace with eth0 and eth1, and the tools of one implementation.
#[derive(Debug)]
pub struct Place {
    net: Netns,
    tools: Tools,
}

impl Place {
    /// Makes it.
    pub fn new(kind: Kind) -> Result<Self> {
        Self::with(Tools::new(kind)?)
    }

    /// Makes it for these tools.
    pub fn with(tools: Tools) -> Result<Self> {
        let net = Netns::new(usize::from(tools.kind == Kind::Ours))?;
        net.ip_batch(
            "link set lo up\nlink add eth0 type veth peer name eth0p\nlink add eth1 type veth peer name eth1p\n\
             addr add 10.1.0.1/24 dev eth0\naddr add 10.2.0.1/24 dev eth1\nlink set eth0 up\nlink set eth1 up\n",
        )?;
        Ok(Self { net, tools })
    }

    /// The tools used here.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Makes the first change of a namespace, and takes it back: from then on a table is remembered when it is first named, as legacy does
    /// always (docs/deviations.md).
    pub fn begin(&self, program: &str, table: &str) -> Result<()> {
        for option in ["-N", "-X"] {
            let argv = [program, "-t", table, option, "first-change"].map(str::to_owned).to_vec();
            let a = self.call(&Call { argv, stdin: String::new() })?;
            if a.code != Some(0) {
                return Err(format!("a first change of {table}: {}", a.stderr).into());
            }
        }
        Ok(())
    }

    /// Runs commands of ipset(8); what they complained of.
    pub fn ipset(&self, lines: &[String]) -> Result<Vec<String>> {
        self.net.ipset(lines)
    }

    /// Runs one command.
    pub fn call(&self, call: &Call) -> Result<Answer> {
        self.call_with(call, &[])
    }

    /// Starts a command whose input and output are the caller's.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Result<Child> {
        let mut command = self.tools.command(name);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        self.net.start(command)
    }

    /// Starts a command without input, all of whose output goes into one pipe.
    pub fn start_into(&self, name: &str, arguments: &[&str], pipe: &PipeWriter) -> Result<Child> {
        let mut command = self.tools.command(name);
        command.args(arguments).stdin(Stdio::null()).stdout(pipe.try_clone()?).stderr(pipe.try_clone()?);
        self.net.start(command)
    }

    /// Runs one command with more in its environment.
    pub fn call_with(&self, call: &Call, environment: &[(&str, &str)]) -> Result<Answer> {
        let (name, args) = call.argv.split_first().ok_or("an empty command")?;
        let mut c = self.tools.command(name);
        c.args(args).envs(environment.iter().copied());
        let out = self.net.command(c, call.stdin.as_bytes())?;
        Ok(Answer {
            code: out.status.code(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).split_inclusive('\n').filter(|l| !is_agent_note(l)).collect(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.tools.kind == Kind::Ours {
            let _ = self.call(&Call { argv: vec!["bpftables".into(), "uninstall-hooks".into()], stdin: String::new() });
        }
    }
}

/// A deliberate addition to what legacy says: LOG, NFLOG, TRACE and SET need the agent, which does not run in these tests.
fn is_agent_note(line: &str) -> bool {
    let sets =
        "bpftables: what SET changes holds for rules at once, but ipset does not show it until bpftablesd runs\n";
    line == sets
        || ["LOG", "NFLOG", "TRACE"]
            .iter()
            .any(|t| line == format!("bpftables: {t} writes nothing until bpftablesd runs\n"))
}

/// Takes out what may differ: versions, dates, and (for legacy 1.8.9) numbers where 1.8.11 has names or the other way round.
pub fn normalise(text: &str, listing: bool) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("# Generated by") || line.starts_with("# Completed on") {
            continue;
        }
        let mut l = line.to_owned();
        for v in ["v1.8.9 (legacy)", "v1.8.11 (legacy)", "v1.8.11 (bpf)"] {
            l = l.replace(v, "vX");
        }
        out += &if listing { protocol_names(&l) } else { protocol_numbers(&l) };
    }
    out
}

/// 1.8.9 saves protocol 47 by its name in the C library's list; 1.8.11 saves only the names that it knows itself.
pub fn protocol_numbers(rule: &str) -> String {
    if rule.starts_with("-A ") || rule.starts_with('[') { rule.replace(" -p gre", " -p 47") } else { rule.to_owned() }
}

/// Whether a command lists with numbers.
pub fn is_numeric(argv: &[String]) -> bool {
    argv.iter().any(|w| w == "--numeric" || (w.starts_with('-') && !w.starts_with("--") && w.contains('n')))
}

/// `-nL` of 1.8.9 prints protocol numbers in a column of four; 1.8.11 prints names it knows without a lookup.
fn protocol_names(line: &str) -> String {
    const NAMES: [(&str, &str); 7] =
        [("0", "all"), ("1", "icmp"), ("6", "tcp"), ("17", "udp"), ("132", "sctp"), ("50", "esp"), ("51", "ah")];
    for opt in [" -- ", " -f ", " !f "] {
        let Some(at) = line.find(opt) else { continue };
        let Some(start) = line[..at].trim_end().rfind(' ') else { continue };
        let field = &line[start + 1..at];
        let word = field.trim_end();
        let (bang, number) = word.strip_prefix('!').map_or(("", word), |n| ("!", n));
        if let Some((_, name)) = NAMES.iter().find(|(n, _)| *n == number) {
            let name = format!("{bang}{name}");
            return format!("{} {name:<width$}{}", &line[..start], &line[at..], width = field.len());
        }
    }
    line.to_owned()
}

/// Runs all sessions under legacy and `kind`; returns name and difference of those that differ.
pub fn differences(all: &[Session], kind: Kind) -> Vec<(String, String)> {
    let only = std::env::var("COMPAT_ONLY").unwrap_or_default();
    let chosen: Vec<&Session> = all.iter().filter(|s| s.name.contains(&only)).collect();
    let difference = |s: &&Session| {
        let found = diff::outcomes(transcript(s, Kind::Legacy), transcript(s, kind))?;
        Some((s.name.clone(), found))
    };
    workers::each(&chosen, difference).into_iter().flatten().collect()
}

/// The whole session as text, normalised.
pub fn transcript(s: &Session, kind: Kind) -> Result<String> {
    let place = Place::new(kind)?;
    let mut out = String::new();
    for (i, c) in s.calls.iter().enumerate() {
        let a = place.call(c)?;
        if let (Kind::Legacy, Some(stated)) = (kind, s.stated.get(&i)) {
            out += &format!("$ {}\n{stated}", c.argv.join(" "));
            continue;
        }
        let listing = is_numeric(&c.argv);
        out += &format!("$ {}\n", c.argv.join(" "));
        out += &normalise(&a.stdout, listing);
        for l in normalise(&a.stderr, false).lines() {
            out += &format!("stderr: {l}\n");
        }
        out += &format!("exit {:?}\n", a.code);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_protocols_become_names_in_the_same_column() {
        assert_eq!(protocol_names("DROP       6    --  0.0.0.0/0  x\n"), "DROP       tcp  --  0.0.0.0/0  x\n");
        assert_eq!(protocol_names("DROP       tcp  --  0.0.0.0/0  x\n"), "DROP       tcp  --  0.0.0.0/0  x\n");
        assert_eq!(protocol_names("DROP       !17  --  0.0.0.0/0  x\n"), "DROP       !udp --  0.0.0.0/0  x\n");
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(words("a 'b c' \"d'e\" ''").unwrap(), ["a", "b c", "d'e", ""]);
    }
}
