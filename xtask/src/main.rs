//! `cargo xtask setup|demo|test|bench|deb|systemd`: everything that a clone of this repository is asked to do.
//!
//! xtask depends on no other crate of the workspace: it builds the release binary with cargo and runs
//! it under the names that clients use, as they do.

mod bench;
mod deb;
mod demo;
mod http;
mod kube;
mod measure;
mod netns;
mod project;
mod setup;
mod static_build;
mod sys;
mod systemd;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "setup, demo, test, bench and package of bpftables")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the tools that are missing (apt); nothing happens when all are there
    Setup,
    /// A small Kubernetes cluster in network namespaces, served by legacy iptables and then by ours
    Demo(demo::Options),
    /// Every test of the workspace, the privileged ones included
    Test(test::Options),
    /// Packets, connections, commits and memory: ours beside legacy and nft, with ratios
    Bench(bench::Options),
    /// A Debian package of the release binary; prints its path
    Deb(deb::Options),
    /// The package in a machine of its own with systemd: installed, its services hardened, watched and restarted, booted, removed
    Systemd(systemd::Options),
    /// (internal) an HTTP server that answers with its name and its client's address
    #[command(hide = true)]
    Serve(http::Options),
    /// (internal) runs a command and prints its time and peak memory as JSON
    #[command(hide = true)]
    Measure(measure::Options),
}

/// Which binaries play the part of "ours"; `legacy` proves the tools themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Ours {
    /// The binary of this workspace
    #[default]
    Bpf,
    /// iptables-legacy on both sides
    Legacy,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Setup => setup::run(true),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Deb(options) => deb::run(&options),
        Command::Systemd(options) => systemd::run(&options),
        Command::Serve(options) => http::serve(&options),
        Command::Measure(options) => measure::run(&options),
    }
}
