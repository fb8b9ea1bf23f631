//! How each chain is searched.

use crate::Options;
use crate::error::CompileError;
use crate::lines::Lines;
use bpftables_abi::image::{Chain, Rule as Record, chain_kind};
use bpftables_ruleset::Rule;

/// Chooses for one chain descriptor and stores the tables it needs.
pub(crate) fn choose(
    _rules: &[Rule],
    _records: &[Record],
    _options: &Options,
    _iface_classes: u16,
    _lines: &mut Lines,
    chain: &mut Chain,
) -> Result<(), CompileError> {
    chain.kind = chain_kind::LIST;
    Ok(())
}
