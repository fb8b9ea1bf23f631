//! LOG and NFLOG: their parameters; and what TRACE says of a chain.

use crate::image::Line;
use crate::lines::Lines;
use bpftables_abi::event::{LogParams, NflogParams};
use bpftables_abi::image::ChainName;
use bpftables_ruleset::Chain;
use bpftables_ruleset::targets::Log;
use bpftables_ruleset::targets::nflog::{Nflog, NflogLength};
use zerocopy::{FromBytes, IntoBytes};

/// A line of [`LogParams`].
pub(crate) fn params(log: &Log) -> Line {
    let mut params = LogParams { level: log.level, flags: log.flags, prefix: [0; 30] };
    // The last byte ends the text, as in the kernel.
    let len = log.prefix.len().min(Log::MAX_PREFIX);
    params.prefix[..len].copy_from_slice(&log.prefix.as_bytes()[..len]);
    let mut line = Line::ZERO;
    line.0[..size_of::<LogParams>()].copy_from_slice(params.as_bytes());
    line
}

/// A line of [`NflogParams`], and one of the prefix. The kernel looks at neither range nor threshold.
pub(crate) fn nflog(nflog: &Nflog) -> [Line; 2] {
    let size = match nflog.length {
        NflogLength::Size(size) => Some(size),
        NflogLength::Unset | NflogLength::Range(_) => None,
    };
    let params = NflogParams { size: size.unwrap_or(0), group: nflog.group, sized: size.is_some().into(), pad: 0 };
    let mut lines = [Line::ZERO; 2];
    lines[0].0[..size_of::<NflogParams>()].copy_from_slice(params.as_bytes());
    let len = nflog.prefix.len().min(Nflog::MAX_PREFIX);
    lines[1].0[..len].copy_from_slice(&nflog.prefix.as_bytes()[..len]);
    lines
}

/// Back from its lines, but for what they do not hold.
pub(crate) fn decode_nflog(params: &Line, prefix: &Line) -> Option<Nflog> {
    let params = NflogParams::read_from_bytes(&params.0[..size_of::<NflogParams>()]).ok()?;
    let end = prefix.0.iter().position(|byte| *byte == 0)?;
    let prefix = std::str::from_utf8(&prefix.0[..end]).ok()?.into();
    let length = if params.sized == 0 { NflogLength::Unset } else { NflogLength::Size(params.size) };
    Some(Nflog { group: params.group, prefix, length, threshold: Nflog::DEFAULT_THRESHOLD })
}

/// The line of what TRACE says of a chain.
pub(crate) fn chain(chain: &Chain, lines: &mut Lines) -> u32 {
    let mut of = ChainName { name: [0; 32], rules: chain.rules.len() as u32, reserved: [0; 7] };
    // The last byte ends the text; no name is so long.
    let len = chain.name.0.len().min(of.name.len() - 1);
    of.name[..len].copy_from_slice(&chain.name.0.as_bytes()[..len]);
    lines.intern(&[Line(zerocopy::transmute!(of))])
}

/// Back from its line.
pub(crate) fn decode(line: &Line) -> Option<Log> {
    let params = LogParams::read_from_bytes(&line.0[..size_of::<LogParams>()]).ok()?;
    let end = params.prefix.iter().position(|byte| *byte == 0)?;
    let prefix = std::str::from_utf8(&params.prefix[..end]).ok()?.into();
    Some(Log { level: params.level, flags: params.flags, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_target_comes_back_from_its_line() {
        let log = Log { level: 6, flags: Log::UID | Log::TCP_SEQUENCE, prefix: "x".repeat(Log::MAX_PREFIX).into() };
        assert_eq!(decode(&params(&log)), Some(log));
        let plain = Log { level: 4, flags: 0, prefix: "".into() };
        assert_eq!(decode(&params(&plain)), Some(plain));
    }

    #[test]
    fn an_nflog_target_comes_back_from_its_lines() {
        let sized = Nflog {
            group: 65535,
            prefix: "x".repeat(Nflog::MAX_PREFIX).into(),
            length: NflogLength::Size(0),
            threshold: Nflog::DEFAULT_THRESHOLD,
        };
        for nflog in [sized, Nflog::default()] {
            let [params, prefix] = super::nflog(&nflog);
            assert_eq!(decode_nflog(&params, &prefix), Some(nflog));
        }
    }
}
