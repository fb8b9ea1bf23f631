//! Why an edit is refused.

/// Why an edit was refused. The text is legacy's, as it follows `iptables: ` (the full stop is the shim's).
/// Every one of them is exit code 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The chain named by the command (or, for some commands, by a jump) does not exist.
    #[error("No chain/target/match by that name")]
    NoSuchChain,
    /// `-N` of a chain that is there.
    #[error("Chain already exists")]
    ChainExists,
    /// `-E` onto a chain that is there.
    #[error("File exists")]
    RenameOntoExisting,
    /// `-X` of a chain with rules.
    #[error("Directory not empty")]
    ChainNotEmpty,
    /// `-X` of a chain to which rules jump.
    #[error("Too many links")]
    ChainReferenced,
    /// `-X` of a built-in chain.
    #[error("Invalid argument")]
    BuiltinChain,
    /// `-D` of a rule that is not there, or from a chain that is not there.
    #[error("Bad rule (does a matching rule exist in that chain?)")]
    NoSuchRule,
    /// `-C` or `-D` of a rule that is not there and whose target is no mere verdict.
    #[error("No chain/target/match by that name")]
    NoSuchJumpRule,
    /// `-I CHAIN n` beyond the end.
    #[error("Index of insertion too big")]
    InsertPosition,
    /// `-R CHAIN n` beyond the end.
    #[error("Index of replacement too big")]
    ReplacePosition,
    /// `-D CHAIN n` beyond the end.
    #[error("Index of deletion too big")]
    DeletePosition,
    /// `-Z CHAIN n` beyond the end.
    #[error("Index of counter too big")]
    ZeroPosition,
    /// `-P` of a chain that is not built in.
    #[error("Bad built-in chain name")]
    PolicyChain,
    /// `-P` with something else than ACCEPT and DROP.
    #[error("Bad policy name")]
    BadPolicy,
    /// A jump to a built-in chain.
    #[error("Invalid argument")]
    JumpToBuiltin,
}

impl EditError {
    /// Legacy's errno is EINVAL: "Run `dmesg' for more information." follows the full stop.
    #[must_use]
    pub const fn is_invalid_argument(&self) -> bool {
        matches!(self, Self::BuiltinChain | Self::BadPolicy | Self::JumpToBuiltin)
    }
}
