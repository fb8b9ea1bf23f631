//! `-j LOG`: its parameters, a line.

use crate::image::Line;
use bpftables_abi::event::LogParams;
use bpftables_ruleset::targets::Log;
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
}
