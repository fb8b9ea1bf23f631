//! A release binary that needs no shared library, for containers that have none.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::project::{BINARY, Project, cargo};

/// Its target: musl's standard library is static, name lookups included.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds it and returns its path. Asks rustup for the target first, which does nothing when it is there.
///
/// # Errors
/// The target cannot be had, or the build fails.
pub(crate) fn build(project: &Project) -> Result<PathBuf> {
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(&project.root)
        .output()
        .with_context(|| format!("cannot run rustup, which brings {TARGET}"))?;
    if !added.status.success() {
        bail!("rustup target add {TARGET}: {}", String::from_utf8_lossy(&added.stderr).trim());
    }
    let status = cargo()
        .current_dir(&project.root)
        .args(["build", "--quiet", "--release", "--target", TARGET, "--package", "bpftables", "--bin", BINARY])
        .status()
        .context("cannot run cargo build")?;
    if !status.success() {
        bail!("the static build of {BINARY} failed ({status})");
    }
    Ok(project.target.join(TARGET).join("release").join(BINARY))
}
