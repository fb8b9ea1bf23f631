//! `-j NFQUEUE` and `-j QUEUE`.

use super::{Cx, Extension, Opt, Spec, ranged_u16};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Nfqueue;

const NUMBER: u8 = 0;
const BALANCE: u8 = 1;
const BYPASS: u8 = 2;

static SPEC: Spec = Spec {
    name: "NFQUEUE",
    options: &[
        Opt::value("queue-num", NUMBER).excludes(1 << BALANCE),
        Opt::value("queue-balance", BALANCE).excludes(1 << NUMBER),
        Opt::flag("queue-bypass", BYPASS),
        Opt::flag("queue-cpu-fanout", 3).requires(1 << BALANCE),
    ],
    checked: true,
    help: "\
NFQUEUE target options
  --queue-num value            the number of the queue,
                               0 to 65535
  --queue-balance first:last   several queues, each flow keeps to one.
  --queue-bypass               without a program at the queue the packet goes on.
  --queue-cpu-fanout\tthe CPU chooses the queue, not the flow
",
};

/// `FIRST:LAST`, either of which may be left out.
fn balance(text: &str) -> Result<(u16, u16), ParseError> {
    let range = value::number_range(text, "NFQUEUE", "queue-balance", u64::from(u16::MAX) - 1)?;
    let narrow = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let (first, Some(last)) = range else {
        return Err(ParseError::Parameter(format!("Bad range \"{text}\"")));
    };
    if first >= last {
        return Err(ParseError::Parameter(format!("{first} should be less than {last}")));
    }
    Ok((narrow(first), narrow(last)))
}

/// Reads `-j NFQUEUE`.
#[derive(Debug, Default)]
pub(crate) struct NfqueueBuilder {
    queue: Nfqueue,
}

impl Extension for NfqueueBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            NUMBER => {
                self.queue.first = ranged_u16("NFQUEUE", "queue-num", arg, 0, u16::MAX)?;
                self.queue.last = self.queue.first;
            }
            BALANCE => (self.queue.first, self.queue.last) = balance(arg)?,
            BYPASS => self.queue.bypass = true,
            _ => self.queue.cpu_fanout = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Nfqueue(self.queue.clone()))
    }
}
