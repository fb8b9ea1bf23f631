//! What is compared, and how each takes a ruleset.

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::Bench;
use crate::measure::{Measured, measure};
use crate::netns::Netns;

/// An implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Backend {
    /// No rule at all: the kernel's own way.
    None,
    Ours,
    Legacy,
    /// One nft rule for each rule.
    Nft,
    /// An nft set of the rules that are alike.
    NftSet,
}

impl Backend {
    /// Its column in table and JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ours => "ours",
            Self::Legacy => "legacy",
            Self::Nft => "nft",
            Self::NftSet => "nft set",
        }
    }

    /// Replaces the ruleset of the namespace by that of the file.
    pub(super) fn load(self, bench: &Bench, netns: &Netns, file: &Path) -> Result<Measured> {
        let tools = match self {
            Self::Ours => &bench.ours,
            _ => &bench.legacy,
        };
        let restore = tools.restore.to_string_lossy();
        let path = file.to_str().context("the target directory's name is not UTF-8")?;
        match self {
            Self::None | Self::Ours | Self::Legacy => measure(&netns.name, Some(file), bench.limit(), &[&restore]),
            Self::Nft | Self::NftSet => measure(&netns.name, None, bench.limit(), &["nft", "-f", path]),
        }
    }

    /// Prepares a namespace that this will work in, so that nothing of ours outlives it.
    pub(super) fn adopt(self, bench: &Bench, netns: &mut Netns) {
        if let (Self::Ours, Some(admin)) = (self, &bench.ours.admin) {
            netns.detach_with(admin);
        }
    }
}
