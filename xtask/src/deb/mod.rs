//! `cargo xtask deb`: a Debian package of the release binary, from the files in `packaging/`.
//!
//! What the package links is what the binary says that it answers to, so a name that is added there is in the package as well.

mod page;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::project::{BINARY, Project};
use crate::{setup, static_build};

/// The package's name.
const PACKAGE: &str = "bpftables";
/// The name of the agent, which only a binary that has it gets a unit and a page for.
const AGENT: &str = "bpftablesd";

/// The command line of `cargo xtask deb`.
#[derive(Args)]
pub(crate) struct Options {
    /// Package a binary that needs no shared library
    #[arg(long = "static")]
    standalone: bool,
    /// Where the package is written (default: the target directory's `deb/`)
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The package's version (default: the workspace's and `-1`)
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

/// Builds the binary and the package; prints the package's path.
///
/// # Errors
/// A build fails, or `dpkg-deb` is not there or fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(false)?;
    let project = Project::find()?;
    let binary = if options.standalone { static_build::build(&project)? } else { project.build()? };
    let version = options.version.clone().unwrap_or_else(|| format!("{}-1", env!("CARGO_PKG_VERSION")));
    let output = options.output.clone().unwrap_or_else(|| project.target.join("deb"));
    println!("{}", package(&project, &binary, &version, &output, options.standalone)?.display());
    Ok(())
}

/// Makes a package of a binary that is built, in the directory `output`, and returns its path.
///
/// # Errors
/// `dpkg-deb` is not there or fails.
pub(crate) fn package(
    project: &Project,
    binary: &Path,
    version: &str,
    output: &Path,
    standalone: bool,
) -> Result<PathBuf> {
    let root = output.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    let tree = Tree { root: root.clone(), sources: project.root.join("packaging") };
    tree.fill(project, binary, version, standalone)?;
    let package = output.join(format!("{PACKAGE}_{version}_amd64.deb"));
    succeed(
        Command::new("dpkg-deb").args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(&package),
        "dpkg-deb",
    )?;
    fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    Ok(package)
}

/// The package's files while they are laid out.
struct Tree {
    root: PathBuf,
    sources: PathBuf,
}

impl Tree {
    fn fill(&self, project: &Project, binary: &Path, version: &str, standalone: bool) -> Result<()> {
        let installed =
            self.write(&format!("usr/sbin/{BINARY}"), &fs::read(binary).context("read the binary")?, 0o755)?;
        succeed(Command::new("strip").args(["--strip-unneeded", "-R.comment", "-R.note"]).arg(&installed), "strip")?;
        // The plain names are alternatives; what is ours alone is linked.
        let names = names(binary)?;
        for name in names.iter().filter(|name| name.contains("bpf")) {
            symlink(BINARY, self.path(&format!("usr/sbin/{name}"))?).with_context(|| format!("cannot link {name}"))?;
        }
        let has_agent = names.iter().any(|name| name == AGENT);
        self.copy("restore", "usr/lib/bpftables/restore", 0o755)?;
        self.copy("systemd/bpftables-restore.service", "lib/systemd/system/bpftables-restore.service", 0o644)?;
        self.copy("deb/default", "etc/default/bpftables", 0o644)?;
        if has_agent {
            self.copy("systemd/bpftablesd.service", "lib/systemd/system/bpftablesd.service", 0o644)?;
            // What its options may name: packets are not everybody's to read.
            let logs = self.path("var/log/bpftables")?;
            fs::create_dir(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
            fs::set_permissions(&logs, fs::Permissions::from_mode(0o750))?;
            self.page("bpftablesd.8", &output(binary, &["bpftables", "manual", "--agent"])?)?;
        }
        self.page("bpftables.8", &output(binary, &["bpftables", "manual"])?)?;
        self.differences(project, &names)?;
        for (shell, file) in [
            ("bash", "usr/share/bash-completion/completions/bpftables"),
            ("zsh", "usr/share/zsh/vendor-completions/_bpftables"),
            ("fish", "usr/share/fish/vendor_completions.d/bpftables.fish"),
        ] {
            self.write(file, &output(binary, &["bpftables", "completions", shell])?, 0o644)?;
        }
        self.copy("deb/copyright", "usr/share/doc/bpftables/copyright", 0o644)?;
        let changelog = format!(
            "{PACKAGE} ({version}) unstable; urgency=medium\n\n  * See the project's history.\n\n -- bpftables <bpftables@localhost>  {}\n",
            date(project)?
        );
        self.zipped("usr/share/doc/bpftables/changelog.Debian.gz", changelog.as_bytes())?;
        if standalone {
            let override_line = format!("{PACKAGE}: statically-linked-binary [usr/sbin/{BINARY}]\n");
            self.write("usr/share/lintian/overrides/bpftables", override_line.as_bytes(), 0o644)?;
        }
        self.control(&installed, version, standalone)
    }

    /// `iptables-bpf.8`: docs/deviations.md as a page, for every name of the commands.
    fn differences(&self, project: &Project, names: &[String]) -> Result<()> {
        let text = fs::read_to_string(project.root.join("docs/deviations.md")).context("read docs/deviations.md")?;
        self.page("iptables-bpf.8", page::differences(&text).as_bytes())?;
        let others = names.iter().filter(|name| name.contains("tables-bpf") && *name != "iptables-bpf");
        for name in others.map(String::as_str).chain([BINARY]) {
            symlink("iptables-bpf.8.gz", self.path(&format!("usr/share/man/man8/{name}.8.gz"))?)?;
        }
        Ok(())
    }

    fn control(&self, binary: &Path, version: &str, standalone: bool) -> Result<()> {
        let depends = if standalone { String::new() } else { format!("Depends: {}\n", libraries(binary)?) };
        let kib = size(&self.root)?.div_ceil(1024);
        let control = format!(
            "Package: {PACKAGE}\nVersion: {version}\nArchitecture: amd64\nMaintainer: bpftables <bpftables@localhost>\n\
             Installed-Size: {kib}\n{depends}Section: net\nPriority: optional\n\
             Description: iptables whose rules run as eBPF\n \
             A drop-in replacement for the commands iptables, ip6tables, and their -save and\n \
             -restore. Rules are compiled to tables that fixed eBPF programs read, so the\n \
             cost of a packet hardly grows with the number of rules. Clients such as\n \
             kube-proxy or ufw stay as they are.\n .\n \
             The commands are alternatives beside those of the package iptables. Linux 6.6\n or newer is needed.\n"
        );
        self.write("DEBIAN/control", control.as_bytes(), 0o644)?;
        self.write("DEBIAN/conffiles", b"/etc/default/bpftables\n", 0o644)?;
        for script in ["postinst", "prerm", "postrm"] {
            self.copy(&format!("deb/{script}"), &format!("DEBIAN/{script}"), 0o755)?;
        }
        let sums = Command::new("sh")
            .arg("-c")
            .arg("find . -type f ! -path './DEBIAN/*' -printf '%P\\0' | sort -z | xargs -0 md5sum")
            .current_dir(&self.root)
            .output()
            .context("cannot run md5sum")?;
        self.write("DEBIAN/md5sums", &sums.stdout, 0o644)?;
        Ok(())
    }

    /// A path of the package; directories above it are made.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            let mut above = Some(dir);
            while let Some(dir) = above.filter(|dir| dir.starts_with(&self.root)) {
                fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
                above = dir.parent();
            }
        }
        Ok(path)
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
        let path = self.path(name)?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path)
    }

    fn copy(&self, source: &str, name: &str, mode: u32) -> Result<()> {
        let source = self.sources.join(source);
        let bytes = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        self.write(name, &bytes, mode).map(drop)
    }

    /// Compressed without a time, so that equal input gives an equal package.
    fn zipped(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let plain = self.write(name.trim_end_matches(".gz"), bytes, 0o644)?;
        succeed(Command::new("gzip").args(["-9nf"]).arg(&plain), "gzip")
    }

    fn page(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.zipped(&format!("usr/share/man/man8/{name}.gz"), bytes)
    }
}

/// The names that the binary answers to, as it lists them to somebody who calls it by none.
fn names(binary: &Path) -> Result<Vec<String>> {
    let output = Command::new(binary).output().with_context(|| format!("cannot run {}", binary.display()))?;
    let text = String::from_utf8(output.stderr)?;
    let names: Vec<String> = text.lines().filter_map(|line| line.strip_prefix(" * ")).map(str::to_owned).collect();
    if !names.iter().any(|name| name == PACKAGE) {
        bail!("{} lists no names: {text}", binary.display());
    }
    Ok(names)
}

/// The libraries of the binary as a `Depends:`; the C library's version is the newest that a symbol asks for.
fn libraries(binary: &Path) -> Result<String> {
    let symbols = output(Path::new("objdump"), &["-T", &binary.to_string_lossy()])?;
    let needed = output(Path::new("objdump"), &["-p", &binary.to_string_lossy()])?;
    let (symbols, needed) = (String::from_utf8(symbols)?, String::from_utf8(needed)?);
    let newest = symbols
        .split("GLIBC_")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            rest[..end].split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<u32>>>()
        })
        .max()
        .context("the binary asks for no version of the C library")?;
    let newest: Vec<String> = newest.iter().map(u32::to_string).collect();
    let mut depends = format!("libc6 (>= {})", newest.join("."));
    for library in needed.lines().filter_map(|line| line.trim().strip_prefix("NEEDED").map(str::trim)) {
        match library {
            "libgcc_s.so.1" => depends.push_str(", libgcc-s1 (>= 4.2)"),
            "libc.so.6" | "libm.so.6" | "ld-linux-x86-64.so.2" => {}
            other => bail!("no package is known for {other}, which the binary needs"),
        }
    }
    Ok(depends)
}

/// When the sources were last changed, as a changelog says it.
fn date(project: &Project) -> Result<String> {
    let log = Command::new("git").args(["log", "-1", "--format=%aD"]).current_dir(&project.root).output();
    match log {
        Ok(log) if log.status.success() && !log.stdout.is_empty() => {
            Ok(String::from_utf8(log.stdout)?.trim().to_owned())
        }
        // Sources without their history.
        _ => Ok(String::from_utf8(output(Path::new("date"), &["-R"])?)?.trim().to_owned()),
    }
}

fn size(dir: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let data = entry.metadata()?;
        total += if data.is_dir() { size(&entry.path())? } else { data.len() };
    }
    Ok(total)
}

fn output(program: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let name = program.display();
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

fn succeed(command: &mut Command, name: &str) -> Result<()> {
    let status = command.stdout(std::process::Stdio::null()).status().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}
