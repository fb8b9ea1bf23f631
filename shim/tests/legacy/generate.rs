//! Random sessions. The words of every extension come from the parser's fixtures: each option with the arguments that it has there, put
//! together anew, and damaged now and then.

use super::session::{Call, Session, words};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Options, and the arguments that they were seen with.
type Options = BTreeMap<String, BTreeSet<Vec<String>>>;

/// What the fixtures have of one family.
#[derive(Debug, Default)]
struct Grammar {
    /// `-m NAME`, `-j NAME` or `-p NAME`, and the options seen behind it with their arguments.
    groups: BTreeMap<(String, String), Options>,
    /// All arguments.
    values: Vec<String>,
}

/// The program's own options, which belong to no extension.
const OWN: &[&str] = &["-s", "-d", "-i", "-o", "-g", "-c", "-t", "--source", "--destination", "--set-counters"];

/// What is refused or not by what else there is in the kernel: accounting objects, estimators, control groups. Our datapath is one in
/// memory here.
const KERNELS: &[&str] = &["nfacct", "rateest", "cgroup"];

impl Grammar {
    fn read(folder: &Path) -> Self {
        let mut grammar = Self::default();
        let mut values = BTreeSet::new();
        let entries = folder.read_dir().expect("fixtures").map(|entry| entry.expect("an entry").path());
        for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
            let text = std::fs::read_to_string(path).expect("a fixture");
            for line in text.lines().filter_map(|line| line.strip_prefix("$ ")) {
                grammar.line(&words(line), &mut values);
            }
        }
        grammar.values = values.into_iter().collect();
        grammar
    }

    fn line(&mut self, words: &[String], values: &mut BTreeSet<String>) {
        let mut group = None;
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let arguments = |at: usize| {
                let plain = |word: &&String| !word.starts_with('-') && *word != "!";
                words[at..].iter().take_while(plain).cloned().collect::<Vec<_>>()
            };
            if matches!(word.as_str(), "-m" | "-j" | "-p") {
                group = None;
                if let Some(name) = words.get(at).filter(|name| !KERNELS.contains(&name.as_str())) {
                    let key = (word.clone(), name.clone());
                    self.groups.entry(key.clone()).or_default();
                    group = Some(key);
                }
                at += 1;
            } else if OWN.contains(&word.as_str()) {
                group = None;
            } else if let (Some(key), true) = (&group, word.starts_with("--")) {
                let found = arguments(at);
                at += found.len();
                values.extend(found.iter().cloned());
                self.groups.entry(key.clone()).or_default().entry(word.clone()).or_default().insert(found);
            }
        }
    }
}

/// Makes sessions, the same ones from the same seed.
pub(crate) struct Generator {
    state: u64,
    grammars: [Grammar; 2],
}

const ADDRESSES: [&[&str]; 2] = [
    &[
        "10.0.0.1",
        "10.1.2.3/16",
        "192.168.0.0/255.255.0.255",
        "0/0",
        "1.2.3.4,5.6.7.8",
        "127.1",
        "localhost",
        "::1",
        "1.2.3.4/33",
    ],
    &[
        "::1",
        "fe80::/10",
        "2001:db8::1:2/64",
        "::/0",
        "fc00::1,fc00::2",
        "::ffff:1.2.3.4",
        "localhost",
        "1.2.3.4",
        "::/129",
    ],
];
const DEVICES: &[&str] = &["lo", "eth0", "eth+", "+", "a-device-of-15-", "a-device-of-16--", "a b"];
const PROTOCOLS: &[&str] =
    &["tcp", "udp", "icmp", "icmpv6", "sctp", "6", "47", "all", "0", "esp", "253", "TCP", "256", "nope"];
const TABLES: [(&str, &[&str]); 5] = [
    ("filter", &["INPUT", "FORWARD", "OUTPUT", "UC"]),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "UC"]),
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "UC"]),
    ("raw", &["PREROUTING", "OUTPUT", "UC"]),
    ("security", &["INPUT", "FORWARD", "OUTPUT", "UC"]),
];

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parser/tests/fixtures");
        let grammars = [Grammar::read(&folder), Grammar::read(&folder.join("ip6"))];
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, grammars }
    }

    /// Below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from((self.state >> 33) % limit.max(1) as u64).expect("a small number")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn negated(&mut self, rule: &mut Vec<String>) {
        if self.one_in(5) {
            rule.push("!".to_owned());
        }
    }

    /// One group of the grammar with some of its options.
    fn group(&mut self, family: usize, kind: &str, rule: &mut Vec<String>) {
        // What serves both families stands in IPv4's fixtures.
        let source = if family == 1 && self.one_in(2) { 0 } else { family };
        let keys: Vec<_> = self.grammars[source].groups.keys().filter(|(k, _)| k == kind).cloned().collect();
        let key = keys[self.below(keys.len())].clone();
        let options: Vec<(String, Vec<Vec<String>>)> = self.grammars[source].groups[&key]
            .iter()
            .map(|(option, values)| (option.clone(), values.iter().cloned().collect()))
            .collect();
        rule.extend([key.0.clone(), key.1]);
        if options.is_empty() {
            return;
        }
        let count = if self.one_in(8) { 0 } else { 1 + self.below(3) };
        for _ in 0..count {
            let (option, values) = &options[self.below(options.len())];
            self.negated(rule);
            let mut values = values[self.below(values.len())].clone();
            if self.one_in(12) && !values.is_empty() {
                let all = self.grammars[source].values.len();
                let other = self.below(all);
                values[0].clone_from(&self.grammars[source].values[other]);
            }
            if self.one_in(15) && values.len() == 1 {
                rule.push(format!("{option}={}", values[0]));
            } else {
                rule.push(option.clone());
                rule.extend(values);
            }
        }
    }

    /// A rule without its command.
    fn rule(&mut self, family: usize) -> Vec<String> {
        let mut rule = Vec::new();
        let push = |rule: &mut Vec<String>, words: [&str; 2]| rule.extend(words.map(str::to_owned));
        match self.below(4) {
            0 => {
                self.negated(&mut rule);
                let name = self.pick(PROTOCOLS);
                push(&mut rule, ["-p", name]);
            }
            1 => self.group(family, "-p", &mut rule),
            2 => push(&mut rule, ["-p", "tcp"]),
            _ => {}
        }
        for option in ["-s", "-d"] {
            if self.one_in(6) {
                self.negated(&mut rule);
                let address = self.pick(ADDRESSES[family]);
                push(&mut rule, [option, address]);
            }
        }
        for option in ["-i", "-o"] {
            if self.one_in(8) {
                self.negated(&mut rule);
                let device = self.pick(DEVICES);
                push(&mut rule, [option, device]);
            }
        }
        if self.one_in(15) {
            self.negated(&mut rule);
            rule.push("-f".to_owned());
        }
        for _ in 0..self.below(3) {
            self.group(family, "-m", &mut rule);
        }
        match self.below(6) {
            0 => {}
            1 => {
                let target = self.pick(&["ACCEPT", "DROP", "RETURN", "UC", "QUEUE", "nope", "INPUT"]);
                push(&mut rule, ["-j", target]);
            }
            2 if self.one_in(3) => push(&mut rule, ["-g", "UC"]),
            _ => self.group(family, "-j", &mut rule),
        }
        if self.one_in(10) {
            self.damage(family, &mut rule);
        }
        rule
    }

    fn damage(&mut self, family: usize, rule: &mut Vec<String>) {
        if rule.is_empty() {
            return;
        }
        let at = self.below(rule.len());
        match self.below(7) {
            0 => drop(rule.remove(at)),
            1 => rule.insert(at, rule[at].clone()),
            2 => rule.insert(at, "!".to_owned()),
            3 => {
                let all = self.grammars[family].values.len();
                let other = self.below(all);
                rule[at].clone_from(&self.grammars[family].values[other]);
            }
            4 => drop(rule[at].pop()),
            5 => {
                let more = self.pick(&["0", "x", ":", ",", "-", "/", " ", "1"]);
                rule[at].push_str(more);
            }
            _ => {
                let other = self.below(rule.len());
                rule.swap(at, other);
            }
        }
    }

    /// For each match and target: its options by twos and threes, each with an argument that it was seen with. Which combinations are refused,
    /// and which of their options is blamed, goes by order and number of the options in legacy.
    pub(crate) fn combinations(&self) -> Vec<Session> {
        let mut sessions = Vec::new();
        for (family, program) in ["iptables", "ip6tables"].into_iter().enumerate() {
            for ((kind, name), options) in &self.grammars[family].groups {
                let options: Vec<Vec<String>> = options
                    .iter()
                    .map(|(option, values)| {
                        // The shortest is the plainest.
                        let plainest = values.iter().min_by_key(|words| words.concat().len());
                        [std::slice::from_ref(option), plainest.map_or(&[], Vec::as_slice)].concat()
                    })
                    .collect();
                let mut calls = Vec::new();
                for (a, first) in options.iter().enumerate() {
                    for (b, second) in options.iter().enumerate().skip(a) {
                        for third in std::iter::once(&[][..]).chain(options[b..].iter().skip(1).map(Vec::as_slice)) {
                            let start = [program, "-t", "mangle", "-A", "FORWARD", kind, name].map(str::to_owned);
                            let argv = [&start[..], third, first, second].concat();
                            calls.push(Call::new(argv, String::new()));
                            // Its rules of one name have to agree, see docs/deviations.md.
                            if name == "hashlimit" {
                                calls.push(Call::command(&format!("{program} -t mangle -F"), String::new()));
                            }
                        }
                    }
                }
                for (number, calls) in calls.chunks(100).enumerate() {
                    let name = format!("{number} of the options of {program} {kind} {name}");
                    sessions.push(Session { name, calls: calls.to_vec() });
                }
            }
        }
        sessions
    }

    /// Two to four rules by command line or by restore, and what they look like then.
    pub(crate) fn session(&mut self, name: String) -> Session {
        let family = self.below(2);
        let program = ["iptables", "ip6tables"][family];
        let (table, chains) = TABLES[if self.one_in(2) { 0 } else { self.below(TABLES.len()) }];
        let mut calls = Vec::new();
        let mut call = |words: &[&str], more: &[String], stdin: String| {
            let mut argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            argv.extend_from_slice(more);
            calls.push(Call::new(argv, stdin));
        };
        call(&[program, "-t", table, "-N", "UC"], &[], String::new());
        for _ in 0..2 + self.below(3) {
            let chain = self.pick(chains);
            let rule = self.rule(family);
            match self.below(6) {
                0 => {
                    let mut text = format!("*{table}\n-A {chain}");
                    for word in &rule {
                        text += &format!(" \"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""));
                    }
                    call(&[&format!("{program}-restore"), "-n"], &[], format!("{text}\nCOMMIT\n"));
                }
                1 => {
                    let verbose = self.pick(&["-v", "-v", "-vv"]);
                    call(&[program, verbose, "-t", table, "-I", chain], &rule, String::new());
                }
                2 => {
                    call(&[program, "-t", table, "-A", chain], &rule, String::new());
                    call(&[program, "-t", table, "-C", chain], &rule, String::new());
                    if self.one_in(2) {
                        call(&[program, "-t", table, "-D", chain], &rule, String::new());
                    }
                }
                _ => call(&[program, "-t", table, "-A", chain], &rule, String::new()),
            }
        }
        call(&[&format!("{program}-save"), "-t", table], &[], String::new());
        call(&[program, "-t", table, "-L", "-n", "-v"], &[], String::new());
        call(&[program, "-t", table, "-L"], &[], String::new());
        Session { name, calls }
    }
}
