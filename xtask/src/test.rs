//! `cargo xtask test`: every test of the workspace, as root, against the release binary.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::project::{Project, cargo};
use crate::{setup, sys};

/// The crate whose tests build networks and so may want fewer at a time.
const BLACK_BOX: &str = "bpftables-compat-tests";

/// The command line of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Tests of compat-tests at a time (default: as many as CPUs)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    compat_threads: Option<u16>,
    /// Build the tests optimised, too
    #[arg(long)]
    release: bool,
    /// Leave compat-tests out
    #[arg(long, conflicts_with = "only_compat")]
    no_compat: bool,
    /// Run compat-tests alone
    #[arg(long)]
    only_compat: bool,
    /// Passed on to the test programs, such as a part of a test's name
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds the binary, then runs all tests; a failure in one crate does not keep the others from running.
///
/// # Errors
/// Setup or build fail, a test fails, or `CI=true` and there is no corpus.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(false)?;
    if !options.no_compat {
        setup::machines()?;
    }
    let start = Instant::now();
    let project = Project::find()?;
    let corpus = project.corpus()?;
    if corpus.is_none() {
        eprintln!("test: no corpus (BPFTABLES_CORPUS, or ../shared/corpus): its tests have nothing to read");
    }
    let binary = project.build()?;
    let mut failed = false;
    if !options.only_compat {
        let mut command = test_command(&project, &binary, corpus.as_deref(), options)?;
        command.args(["--workspace", "--exclude", BLACK_BOX, "--"]).args(&options.arguments);
        failed |= !status(&mut command)?;
    }
    if !options.no_compat {
        // Beside the others, since it mostly waits. Whoever asks for certain tests does not ask for this one.
        let services = if options.arguments.is_empty() { Some(services()?) } else { None };
        let mut command = test_command(&project, &binary, corpus.as_deref(), options)?;
        command.args(["--package", BLACK_BOX, "--"]);
        if let Some(threads) = options.compat_threads {
            command.arg(format!("--test-threads={threads}"));
        }
        command.args(&options.arguments);
        failed |= !status(&mut command)?;
        if let Some(services) = services {
            let output = services.wait_with_output().context("cannot wait for `xtask systemd`")?;
            print!("`xtask systemd`:\n{}", String::from_utf8_lossy(&output.stdout));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            println!("test result: {}. `xtask systemd`", if output.status.success() { "ok" } else { "FAILED" });
            failed |= !output.status.success();
        }
    }
    eprintln!("test: {} s in all", start.elapsed().as_secs());
    if failed {
        bail!("tests failed");
    }
    Ok(())
}

/// The check of the package and its services, begun.
fn services() -> Result<Child> {
    setup::services()?;
    let itself = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(itself);
    command.arg("systemd").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("cannot run `xtask systemd`")
}

fn test_command(project: &Project, binary: &Path, corpus: Option<&Path>, options: &Options) -> Result<Command> {
    let mut command = cargo();
    command.current_dir(&project.root).args(["test", "--no-fail-fast"]).env("BPFTABLES_BIN", binary);
    if options.release {
        command.arg("--release");
    }
    if let Some(corpus) = corpus {
        command.env("BPFTABLES_CORPUS", corpus);
    }
    if !sys::is_root() {
        // cargo and its caches stay the user's; only the test programs become root.
        let runner = format!("CARGO_TARGET_{}_RUNNER", host()?.replace('-', "_").to_uppercase());
        command.env(runner, "sudo --preserve-env");
    }
    Ok(command)
}

/// The target triple that cargo builds for.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("`rustc -vV` names no host")
}

fn status(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cannot run cargo test")?.success())
}
