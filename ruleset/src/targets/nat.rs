//! The range of `-j SNAT --to-source` and `-j DNAT --to-destination` (struct nf_nat_range2).

use crate::addr::PortRange;
use crate::text::write_ip;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// The range of `-j SNAT --to-source` and `-j DNAT --to-destination` (struct nf_nat_range2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NatRange {
    /// First and last address, host order inside `IpAddr`; `None`: the address is not changed.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// Ports.
    pub ports: Option<PortRange>,
    /// `/PORT`: ports are shifted from this base (DNAT, rev 2), from port 0 whatever was said (SNAT).
    pub base_port: Option<u16>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully` (SNAT only).
    pub random_fully: bool,
    /// `--persistent`.
    pub persistent: bool,
}

impl NatRange {
    /// `ADDR[-ADDR][:PORT[-PORT[/BASE]]]`, IPv6 addresses with ports in brackets.
    fn write_range(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some((first, last)) = self.addrs {
            let brackets = first.is_ipv6() && self.ports.is_some();
            out.write_str(if brackets { "[" } else { "" })?;
            write_ip(first, out)?;
            if first != last {
                out.write_char('-')?;
                write_ip(last, out)?;
            }
            out.write_str(if brackets { "]" } else { "" })?;
        }
        if let Some(ports) = self.ports {
            out.write_char(':')?;
            write_ports(ports, self.base_port, out)?;
        }
        Ok(())
    }

    /// With the option's name (`--to-source `, `to:`) before it and `flag` (`--`, nothing) before each flag.
    pub(crate) fn write(&self, option: &str, flag: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.addrs.is_some() || self.ports.is_some() {
            write!(out, " {option}")?;
            self.write_range(out)?;
        }
        let flags = [(self.random, "random"), (self.random_fully, "random-fully"), (self.persistent, "persistent")];
        write_flags(&flags, flag, out)
    }
}

fn write_flags(flags: &[(bool, &str)], before: &str, out: &mut dyn fmt::Write) -> fmt::Result {
    flags.iter().filter(|(given, _)| *given).try_for_each(|(_, name)| write!(out, " {before}{name}"))
}

/// What REDIRECT and MASQUERADE say: the ports after the option's name (`shifted`: from port 0), then the flags, each after `flag`.
pub(crate) fn write_redirection(
    ports: Option<PortRange>,
    shifted: bool,
    flags: &[(bool, &str)],
    option: &str,
    flag: &str,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    if let Some(ports) = ports {
        write!(out, " {option}")?;
        write_ports(ports, shifted.then_some(0), out)?;
    }
    write_flags(flags, flag, out)
}

/// `PORT[-PORT[/BASE]]`.
fn write_ports(ports: PortRange, base: Option<u16>, out: &mut dyn fmt::Write) -> fmt::Result {
    write!(out, "{}", ports.lo)?;
    if ports.hi != ports.lo {
        write!(out, "-{}", ports.hi)?;
    }
    if let Some(base) = base {
        write!(out, "/{base}")?;
    }
    Ok(())
}
