//! `cargo xtask test`: every test of the workspace, as root, against the release binary.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::project::{Project, cargo};
use crate::{setup, sys};

/// The crate whose tests build networks and so may want fewer at a time.
const BLACK_BOX: &str = "bpftables-compat-tests";

/// What the names of its tests have that boot kernels in virtual machines.
const KERNELS: &str = "_on_linux_";
/// The machines are emulated, a CPU each: they take what the other tests leave, most of which wait half of their time.
const NICENESS: &str = "10";

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
    let tests = || test_command(&project, &binary, corpus.as_deref(), options);
    let mut failed = false;
    // Whoever asks for certain tests does not ask for what runs beside the others.
    let everything = options.arguments.is_empty() && !options.no_compat;
    let mut beside = Vec::new();
    if everything {
        // All is built before the machines start: their time is limited.
        let rest = ["--workspace", "--exclude", BLACK_BOX];
        let built = (options.only_compat || status(tests()?.arg("--no-run").args(rest))?)
            && status(tests()?.args(["--no-run", "--package", BLACK_BOX]))?;
        if !built {
            bail!("the tests cannot be built");
        }
        beside.push(kernels(&tests()?)?);
    }
    if !options.only_compat {
        let mut command = tests()?;
        command.args(["--workspace", "--exclude", BLACK_BOX, "--"]).args(&options.arguments);
        failed |= !status(&mut command)?;
    }
    if !options.no_compat {
        if everything {
            beside.push(services()?);
        }
        let mut command = tests()?;
        command.args(["--package", BLACK_BOX, "--"]);
        if let Some(threads) = options.compat_threads {
            command.arg(format!("--test-threads={threads}"));
        }
        if everything {
            command.args(["--skip", KERNELS]);
        }
        command.args(&options.arguments);
        failed |= !status(&mut command)?;
    }
    for run in beside {
        failed |= !run.end()?;
    }
    eprintln!("test: {} s in all", start.elapsed().as_secs());
    if failed {
        bail!("tests failed");
    }
    Ok(())
}

/// What runs beside the tests, since it mostly waits or takes long.
struct Beside {
    name: &'static str,
    /// Waits for it, so that neither of its pipes is ever full.
    output: JoinHandle<io::Result<Output>>,
}

impl Beside {
    fn begin(name: &'static str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        Ok(Self { name, output: std::thread::spawn(|| child.wait_with_output()) })
    }

    /// Waits for its end, prints what it wrote, and says whether it succeeded.
    fn end(self) -> Result<bool> {
        let Self { name, output } = self;
        let output = output.join().map_err(|_| anyhow!("a thread panicked"))?;
        let output = output.with_context(|| format!("cannot wait for {name}"))?;
        print!("{name}:\n{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        println!("test result: {}. {name}", if output.status.success() { "ok" } else { "FAILED" });
        Ok(output.status.success())
    }
}

/// The check of the package and its services, begun.
fn services() -> Result<Beside> {
    setup::services()?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command.arg("systemd");
    Beside::begin("`xtask systemd`", command)
}

/// The virtual machines, begun: the tests of any program that are left out elsewhere, so that a name loses none. `tests` is what runs cargo.
fn kernels(tests: &Command) -> Result<Beside> {
    let mut command = Command::new("nice");
    command.args(["-n", NICENESS]).arg(tests.get_program()).args(tests.get_args());
    command.args(["--package", BLACK_BOX, "--tests", "--", KERNELS]);
    command.envs(tests.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = tests.get_current_dir() {
        command.current_dir(dir);
    }
    Beside::begin("the virtual machines", command)
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
