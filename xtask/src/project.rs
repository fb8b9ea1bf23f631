//! The workspace as cargo sees it, and the binary that everything here runs.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sys;

/// The binary of `shim/`, one file under many names.
pub(crate) const BINARY: &str = "xtables-bpf-multi";

/// Where the workspace and its target directory are.
#[derive(Debug)]
pub(crate) struct Project {
    /// The directory of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// cargo's target directory, CARGO_TARGET_DIR and configuration considered.
    pub(crate) target: PathBuf,
}

impl Project {
    /// Asks `cargo metadata`.
    ///
    /// # Errors
    /// cargo cannot be run, or the manifest is broken.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let output = cargo()
            .args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"])
            .arg(&manifest)
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
        let path =
            |key: &str| json[key].as_str().map(PathBuf::from).with_context(|| format!("cargo metadata has no {key}"));
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")? })
    }

    /// Builds the release binary and returns its path.
    ///
    /// # Errors
    /// The build fails; cargo has printed why.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        let binary = self.target.join("release").join(BINARY);
        if std::env::var_os(PREBUILT).is_some() {
            return Ok(binary);
        }
        let status = cargo()
            .current_dir(&self.root)
            .args(["build", "--quiet", "--release", "--package", "bpftables", "--bin", BINARY])
            .status()
            .context("cannot run cargo build")?;
        if !status.success() {
            bail!("the release build of {BINARY} failed ({status})");
        }
        Ok(binary)
    }

    /// The directory of recorded input, when there is one: BPFTABLES_CORPUS, else `../shared/corpus`
    /// beside the workspace.
    ///
    /// # Errors
    /// BPFTABLES_CORPUS names no directory, or `CI=true` and there is none.
    pub(crate) fn corpus(&self) -> Result<Option<PathBuf>> {
        if let Some(dir) = std::env::var_os("BPFTABLES_CORPUS").map(PathBuf::from) {
            if !dir.is_dir() {
                bail!("BPFTABLES_CORPUS is {}, which is no directory", dir.display());
            }
            return Ok(Some(dir));
        }
        let beside = self.root.join("../shared/corpus");
        if beside.is_dir() {
            return Ok(Some(beside.canonicalize()?));
        }
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            bail!("CI=true, but the corpus is neither in BPFTABLES_CORPUS nor at {}", beside.display());
        }
        Ok(None)
    }
}

/// Set for our own copy under sudo: the binary has been built by the plain user.
const PREBUILT: &str = "BPFTABLES_XTASK_PREBUILT";

/// Returns when we are root; otherwise replaces this process by itself under sudo.
///
/// # Errors
/// There is no sudo.
pub(crate) fn become_root() -> Result<()> {
    if sys::is_root() {
        return Ok(());
    }
    let itself = std::env::current_exe().context("cannot find this program's own file")?;
    let error = Command::new("sudo")
        .arg("--preserve-env")
        .arg(format!("{PREBUILT}=1"))
        .arg(itself)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("network namespaces need root, and sudo cannot be run")
}

/// Set for our own copy in a mount namespace of its own.
const OWN_MOUNTS: &str = "BPFTABLES_XTASK_OWN_MOUNTS";

/// Returns when nobody else sees what we mount; otherwise replaces this process by itself in a new mount namespace. As root.
///
/// # Errors
/// There is no unshare(1).
pub(crate) fn own_mounts() -> Result<()> {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return Ok(());
    }
    let itself = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(itself).args(std::env::args_os().skip(1));
    let error = command.env(OWN_MOUNTS, "1").env(PREBUILT, "1").exec();
    Err(error).context("cannot run unshare")
}

/// The cargo that runs us, else the one on PATH.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Programs that stand for one implementation.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// iptables
    pub(crate) iptables: PathBuf,
    /// iptables-restore
    pub(crate) restore: PathBuf,
    /// iptables-save
    pub(crate) save: PathBuf,
    /// The admin command; legacy has none.
    pub(crate) admin: Option<PathBuf>,
}

impl Tools {
    /// netfilter's own.
    ///
    /// # Errors
    /// They are not installed.
    pub(crate) fn legacy() -> Result<Self> {
        let find = |name: &str| {
            crate::setup::find(name).with_context(|| format!("{name} is missing; run `cargo xtask setup`"))
        };
        Ok(Self {
            iptables: find("iptables-legacy")?,
            restore: find("iptables-legacy-restore")?,
            save: find("iptables-legacy-save")?,
            admin: None,
        })
    }

    /// Ours: links to `binary` under the names that clients call, in `target/names/`.
    ///
    /// # Errors
    /// The links cannot be made.
    pub(crate) fn ours(project: &Project, binary: &Path) -> Result<Self> {
        let dir = project.target.join("names");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let link = |name: &str| -> Result<PathBuf> {
            let link = dir.join(name);
            if std::fs::read_link(&link).ok().as_deref() != Some(binary) {
                let _ = std::fs::remove_file(&link);
                symlink(binary, &link).with_context(|| format!("cannot link {}", link.display()))?;
            }
            Ok(link)
        };
        Ok(Self {
            iptables: link("iptables")?,
            restore: link("iptables-restore")?,
            save: link("iptables-save")?,
            admin: Some(link("bpftables")?),
        })
    }
}
