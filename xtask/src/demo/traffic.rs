//! The requests of the demo, and what has to come of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Answers;
use super::cluster::{self, Cluster, GATEWAY, NODE};

/// Where a request starts.
#[derive(Clone, Copy)]
enum From {
    Client,
    Node,
    Pod(usize),
}

/// Who has to answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Every pod of the service, each at times.
    All,
    /// One of them, always the same.
    One,
    /// Nobody: refused.
    Refused,
}

/// Requests from one place to one address.
pub(crate) struct Flow {
    /// As shown.
    pub(crate) label: String,
    from: From,
    to: String,
    expected: Expected,
    /// The address that the pod has to see.
    source: String,
}

/// What became of a flow's requests.
pub(crate) struct Outcome {
    /// The flow's label.
    pub(crate) label: String,
    /// Requests sent.
    pub(crate) requests: u32,
    /// Requests by the pod that answered.
    pub(crate) answers: Answers,
    /// Refused connections.
    pub(crate) refused: usize,
    /// All requests together.
    pub(crate) elapsed: Duration,
    sources: BTreeSet<String>,
    error: String,
    expected: Expected,
    source: String,
}

/// Every kind of way to a service. `shell` is the pod that serves nothing.
pub(crate) fn flows() -> Vec<Flow> {
    let shell = cluster::BACKENDS;
    let (gateway, shell_address) = (GATEWAY.to_string(), cluster::pod_address(shell).to_string());
    let flow = |label: &str, from, to: String, expected, source: &str| Flow {
        label: format!("{label} {to}"),
        from,
        to,
        expected,
        source: source.to_owned(),
    };
    use Expected::{All, One, Refused};
    vec![
        flow("client -> NodePort", From::Client, format!("{NODE}:{}", cluster::WEB_PORT), All, &gateway),
        flow("node -> ClusterIP", From::Node, cluster::WEB.to_string(), All, &gateway),
        flow("node -> NodePort", From::Node, format!("{NODE}:{}", cluster::WEB_PORT), All, &gateway),
        flow("node -> localhost", From::Node, format!("127.0.0.1:{}", cluster::WEB_PORT), All, &gateway),
        flow("pod -> ClusterIP", From::Pod(shell), cluster::WEB.to_string(), All, &shell_address),
        flow("pod -> itself by service", From::Pod(0), cluster::SOLO.to_string(), One, &gateway),
        flow("pod -> affinity", From::Pod(shell), cluster::STICKY.to_string(), One, &shell_address),
        flow("client -> affinity", From::Client, format!("{NODE}:{}", cluster::STICKY_PORT), One, &gateway),
        flow("client -> no endpoints", From::Client, format!("{NODE}:{}", cluster::EMPTY_PORT), Refused, ""),
        flow("pod -> no endpoints", From::Pod(shell), cluster::EMPTY.to_string(), Refused, ""),
    ]
}

impl Flow {
    /// Sends `requests` requests, one connection each.
    pub(crate) fn run(&self, cluster: &Cluster, requests: u32) -> Result<Outcome> {
        let netns = match self.from {
            From::Client => &cluster.client,
            From::Node => &cluster.node,
            From::Pod(index) => &cluster.pods[index],
        };
        let requests = if self.expected == Expected::Refused { requests.min(REFUSALS) } else { requests };
        let url = format!("http://{}/[1-{requests}]", self.to);
        let start = Instant::now();
        let output = netns
            .command("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "5", "--header", "Connection: close"])
            .arg(url)
            .output()
            .context("cannot run curl")?;
        let elapsed = start.elapsed();
        let mut outcome = Outcome {
            label: self.label.clone(),
            requests,
            answers: Answers::new(),
            refused: 0,
            elapsed,
            sources: BTreeSet::new(),
            error: String::new(),
            expected: self.expected,
            source: self.source.clone(),
        };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let (pod, source) = line.split_once(' ').with_context(|| format!("odd answer from {}: {line}", self.to))?;
            *outcome.answers.entry(pod.to_owned()).or_default() += 1;
            outcome.sources.insert(source.to_owned());
        }
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            if line.contains("refused") || line.contains("Couldn't connect") {
                outcome.refused += 1;
            }
            outcome.error = line.to_owned();
        }
        Ok(outcome)
    }
}

impl Outcome {
    /// Requests that got an answer.
    pub(crate) fn answered(&self) -> usize {
        self.answers.values().sum()
    }

    /// Requests that ended as they have to: answered, or refused where nobody serves.
    pub(crate) fn as_expected(&self) -> usize {
        if self.expected == Expected::Refused { self.refused } else { self.answered() }
    }

    /// What is wrong with it, in a line.
    pub(crate) fn complaint(&self) -> Option<String> {
        let requests = self.requests as usize;
        let pods = self.answers.len();
        let sources = self.sources.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let problem = if self.as_expected() != requests {
            format!("{} of {requests} requests ended as they should; {}", self.as_expected(), self.error)
        } else if self.expected == Expected::Refused {
            return (self.answered() != 0).then(|| format!("{}: answered, expected a refusal", self.label));
        } else if sources != self.source {
            format!("the pods saw {sources}, expected {}", self.source)
        } else if self.expected == Expected::One && pods != 1 {
            format!("{pods} pods answered, expected always the same")
        } else if self.expected == Expected::All && requests >= ENOUGH_FOR_ALL && pods != cluster::BACKENDS {
            format!("{pods} pods answered, expected all {}", cluster::BACKENDS)
        } else {
            return None;
        };
        Some(format!("{}: {problem}", self.label))
    }
}

/// From here on, one of three pods going without a request is a chance of less than one in 10^9.
const ENOUGH_FOR_ALL: usize = 55;

/// The kernel sends bursts of some 50 ICMP errors; a refusal that is held back costs a second and another
/// SYN, which the counters would show.
const REFUSALS: u32 = 10;
