//! `iptables-apply`: new rules for as long as they are confirmed, the old ones again where they are not. Legacy's is a shell script; this
//! one keeps the old rules in memory, and goes back to them also when the terminal that it was started from is gone.

use crate::getopt::{Arg, Getopt, Spec};
use crate::lock::strerror;
use crate::multicall::Program;
use bpftables_ruleset::Family;
use bpftables_runtime::sys::wait;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SPEC: Spec = Spec {
    short: &[('t', Arg::Required), ('w', Arg::Required), ('c', Arg::None), ('h', Arg::None), ('V', Arg::None)],
    long: &[
        ("timeout", Arg::Required, 't'),
        ("write", Arg::Required, 'w'),
        ("command", Arg::None, 'c'),
        ("help", Arg::None, 'h'),
        ("version", Arg::None, 'V'),
    ],
};

/// The version of legacy's script.
const VERSION: &str = "1.1";
/// Distributions stop it while rules change, since it has rules of its own.
const FAIL2BAN: &str = "/etc/init.d/fail2ban";

/// How often a command that runs is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why it ends, and the exit code. What is to be said is on standard error already where there is no text.
struct Ended {
    code: u8,
    text: Option<String>,
}

impl Ended {
    fn error(code: u8, text: impl std::fmt::Display) -> Self {
        Self { code, text: Some(format!("Error: {text}")) }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::error(1, strerror(&error))
    }
}

/// What the command line asks for.
struct Options<'a> {
    timeout: Duration,
    savefile: Option<String>,
    command: bool,
    file: Option<&'a str>,
}

/// Runs one command line; the exit code.
pub fn run(family: Family, arguments: &[String]) -> u8 {
    let apply = Apply { family, program: Program::Apply(family).name() };
    match apply.whole(arguments) {
        Ok(()) => 0,
        Err(Ended { code, text }) => {
            if let Some(text) = text {
                let _ = writeln!(io::stderr(), "{text}");
            }
            code
        }
    }
}

struct Apply {
    family: Family,
    program: &'static str,
}

impl Apply {
    fn default_file(&self, kind: &str) -> String {
        let family = match self.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        format!("/etc/network/{family}.up.{kind}")
    }

    fn whole(&self, arguments: &[String]) -> Result<(), Ended> {
        let options = self.options(arguments)?;
        if let Some(file) = options.savefile.as_deref().filter(|file| Path::new(file).exists())
            && OpenOptions::new().append(true).open(file).is_err()
        {
            return Err(Ended::error(8, format_args!("savefile not writable: {file}")));
        }
        let kind = if options.command { "run" } else { "rules" };
        let file = options.file.map_or_else(|| self.default_file(kind), str::to_owned);
        let rules = if options.command { None } else { Some(readable(&file)?) };
        if options.command {
            executable(&file)?;
        }
        let signals = wait::signals(&[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM])?;
        let Some(old) = self.save() else {
            return Err(Ended::error(4, "unknown error saving old iptables rules"));
        };
        fail2ban("stop");
        let result = match rules {
            Some(rules) => self.restore(&file, rules),
            None => run_command(&file, options.timeout),
        };
        let result = result.and_then(|()| self.confirmed(&options, &signals));
        let result = result.map_err(|ended| {
            if let Some(text) = &ended.text {
                let _ = writeln!(io::stderr(), "{text}");
            }
            self.revert(&old);
            Ended { text: None, ..ended }
        });
        fail2ban("start");
        result?;
        self.keep(&options)
    }

    fn options<'a>(&self, arguments: &'a [String]) -> Result<Options<'a>, Ended> {
        let mut options = Options { timeout: Duration::from_secs(10), savefile: None, command: false, file: None };
        let mut getopt = Getopt::new(SPEC, arguments);
        let mut timeout = None;
        loop {
            let option = getopt.option();
            match option.map_err(|error| Ended { code: 1, text: Some(format!("{}: {error}", self.program)) })? {
                Some(('t', value)) => timeout = value,
                Some(('w', Some(""))) => options.savefile = Some(self.default_file("rules")),
                Some(('w', value)) => options.savefile = value.map(str::to_owned),
                Some(('c', _)) => options.command = true,
                Some(('h', _)) => return Err(Ended { code: 0, text: Some(self.usage()) }),
                Some(_) => return Err(Ended { code: 0, text: Some(self.heading()) }),
                None => break,
            }
        }
        if let Some(text) = timeout {
            let seconds = text.trim().parse().map_err(|_| Ended::error(1, "timeout must be a positive number"))?;
            options.timeout = Duration::from_secs(seconds);
        }
        options.file = getopt.operands().first().copied().filter(|file| !file.is_empty());
        Ok(options)
    }

    fn heading(&self) -> String {
        format!("{} {VERSION} -- a safer way to update iptables remotely", self.program)
    }

    fn usage(&self) -> String {
        format!(
            "{}\n\n\
             Usage:\n  {program} [-hV] [-t timeout] [-w savefile] {{[rulesfile]|-c [runcmd]}}\n\n\
             Loads rules from a file (as iptables-save writes it) or runs a command that makes\n\
             them, and asks whether the machine can still be reached. Without a yes in time\n\
             the rules are again what they were before.\n\n\
             Options:\n\n\
             -t seconds, --timeout seconds\n  how long to wait for the answer (default: 10)\n\
             -w savefile, --write savefile\n  where confirmed rules are saved (an empty name: {rules})\n\
             -c, --command\n  run a command instead of loading a file (default: {run})\n\
             -h, --help\n  print this text\n\
             -V, --version\n  print the version\n\n\
             The default of rulesfile is {rules}.",
            self.heading(),
            program = self.program,
            rules = self.default_file("rules"),
            run = self.default_file("run"),
        )
    }

    /// One of our own programs.
    fn tool(&self, program: fn(Family) -> Program) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg(program(self.family).name());
        command
    }

    fn save(&self) -> Option<Vec<u8>> {
        let output = self.tool(Program::Save).stdin(Stdio::null()).stderr(Stdio::inherit()).output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    fn restore(&self, file: &str, rules: File) -> Result<(), Ended> {
        say(&format!("Applying new iptables rules from '{file}'... "));
        let status = self.tool(Program::Restore).stdin(rules).status();
        ended_well(
            status.is_ok_and(|status| status.success()),
            5,
            &format!("unknown error applying new iptables rules: {file}"),
        )
    }

    fn revert(&self, old: &[u8]) {
        say("Reverting to old iptables rules... ");
        let reverted = || -> io::Result<bool> {
            // A command that was too slow may have the lock still.
            let mut child = self.tool(Program::Restore).arg("-w").stdin(Stdio::piped()).spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(old)?;
            }
            Ok(child.wait()?.success())
        };
        say(if reverted().unwrap_or(false) { "done.\n" } else { "failed.\n" });
    }

    /// Asks, and waits for the answer.
    fn confirmed(&self, options: &Options<'_>, signals: &OwnedFd) -> Result<(), Ended> {
        say("Can you establish NEW connections to the machine? (y/N) ");
        let answer = one_key(options.timeout, signals);
        say("\n");
        match answer {
            Some(b'y' | b'Y') => return Ok(()),
            None | Some(b'\n') => say("Timeout! Something happened (or did not). Better play it safe...\n"),
            Some(_) => say("No affirmative response! Better play it safe...\n"),
        }
        Err(Ended { code: 255, text: None })
    }

    fn keep(&self, options: &Options<'_>) -> Result<(), Ended> {
        if let Some(file) = &options.savefile {
            say(&format!("Writing successfully applied rules to '{file}'...\n"));
            let written = self.save().map(|rules| fs::write(file, rules));
            if !matches!(written, Some(Ok(()))) {
                return Err(Ended::error(9, format_args!("unknown error writing successfully applied rules: {file}")));
            }
        }
        say("... then my job is done. See you next time.\n");
        Ok(())
    }
}

/// Progress. That nobody sees it any more is the very case in which the rules have to go back.
fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn ended_well(well: bool, code: u8, error: &str) -> Result<(), Ended> {
    say(if well { "done.\n" } else { "failed.\n" });
    if well { Ok(()) } else { Err(Ended::error(code, error)) }
}

fn readable(file: &str) -> Result<File, Ended> {
    File::open(file).map_err(|_| Ended::error(2, format_args!("rulesfile not readable: {file}")))
}

/// As a shell finds it: a file that may be run, and by a path or in `PATH`.
fn executable(file: &str) -> Result<(), Ended> {
    let may_run = |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
    if !may_run(Path::new(file)) {
        return Err(Ended::error(6, format_args!("runcmd not executable: {file}")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if file.contains('/') || std::env::split_paths(&path).any(|folder| may_run(&folder.join(file))) {
        return Ok(());
    }
    Err(Ended::error(127, format_args!("needed command not found: {file}")))
}

fn run_command(file: &str, timeout: Duration) -> Result<(), Ended> {
    say(&format!("Running command '{file}'... "));
    ended_well(in_time(file, timeout).unwrap_or(false), 7, &format!("unknown error running command: {file}"))
}

/// Whether the command succeeded; it is told to end after `timeout`.
fn in_time(file: &str, timeout: Duration) -> io::Result<bool> {
    let mut child = Command::new(file).stdin(Stdio::null()).spawn()?;
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if begin.elapsed() >= timeout {
            Command::new("kill").arg(child.id().to_string()).status()?;
            return Ok(child.wait()?.success());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The next byte of standard input; from a terminal without waiting for the end of the line. `None` when there is none in time, or a signal
/// came first.
fn one_key(timeout: Duration, signals: &OwnedFd) -> Option<u8> {
    let stdin = io::stdin();
    let stty = |arguments: &[&str]| Command::new("stty").args(arguments).stdin(Stdio::inherit()).output();
    let settings = stdin.is_terminal().then(|| stty(&["-g"]).ok()).flatten();
    let settings = settings.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if settings.is_some() {
        let _ = stty(&["-icanon", "min", "1"]);
    }
    let ready = wait::readable(&[stdin.as_fd(), signals.as_fd()], timeout);
    let mut key = [0];
    let read = ready.is_ok_and(|ready| ready[0] && !ready[1]) && stdin.lock().read(&mut key).is_ok_and(|read| read > 0);
    if let Some(settings) = settings {
        let _ = stty(&[&settings]);
    }
    read.then_some(key[0])
}

fn fail2ban(command: &str) {
    if fs::metadata(FAIL2BAN).is_ok_and(|found| found.permissions().mode() & 0o111 != 0) {
        let _ = Command::new(FAIL2BAN).arg(command).status();
    }
}
