//! `-j SET`. Legacy checks its options by itself, in its own words; `!` before them is passed over.

use super::set::{find, name_fits, sides};
use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::number;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::SetChange;
use bpftables_ruleset::targets::set::NamedSet;

const ADD: u8 = 0;
const DEL: u8 = 1;
const EXIST: u8 = 2;
const TIMEOUT: u8 = 3;
const MAP: u8 = 4;
const MARK: u8 = 5;
const PRIORITY: u8 = 6;
const QUEUE: u8 = 7;

/// The longest time; the next number stands for none.
const MAX_TIMEOUT: u32 = u32::MAX - 1;

static SPEC: Spec = Spec {
    name: "SET",
    options: &[
        Opt::value("add-set", ADD).invertible(),
        Opt::value("del-set", DEL).invertible(),
        Opt::flag("exist", EXIST).invertible(),
        Opt::value("timeout", TIMEOUT).invertible(),
        Opt::value("map-set", MAP).invertible(),
        Opt::flag("map-mark", MARK).invertible(),
        Opt::flag("map-prio", PRIORITY).invertible(),
        Opt::flag("map-queue", QUEUE).invertible(),
    ],
    checked: false,
    help: "\
SET target options:
 --add-set name flags [--exist] [--timeout n]
 --del-set name flags
 --map-set name flags [--map-mark] [--map-prio] [--map-queue]
\t\t'name' is the set's name, 'flags' a list with commas of
\t\t'src' and 'dst', one for each dimension of the set.
",
};

/// Reads `-j SET`.
#[derive(Debug, Default)]
pub(crate) struct SetBuilder {
    change: SetChange,
}

/// `NAME SIDES`, the latter being the next word.
fn set(known: &Option<NamedSet>, what: &str, name: &str, cx: &mut Cx<'_, '_>) -> Result<Option<NamedSet>, ParseError> {
    if known.is_some() {
        return Err(ParseError::Parameter(format!("--{what}-set can be specified only once")));
    }
    let list = cx.getopt.take_plain();
    let list = list.ok_or_else(|| ParseError::Parameter(format!("--{what}-set requires two args.")))?;
    name_fits(name)?;
    find(name, cx)?;
    Ok(Some(NamedSet { name: name.into(), sources: sides(list)? }))
}

impl Extension for SetBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let change = &mut self.change;
        match id {
            ADD => change.add = set(&change.add, "add", arg, cx)?,
            DEL => change.del = set(&change.del, "del", arg, cx)?,
            MAP => change.map = set(&change.map, "map", arg, cx)?,
            EXIST => change.exist = true,
            TIMEOUT => {
                let seconds = number(arg, 0, MAX_TIMEOUT.into()).and_then(|seconds| u32::try_from(seconds).ok());
                let wrong = || {
                    ParseError::Parameter(format!("Invalid value for option --timeout or out of range 0-{MAX_TIMEOUT}"))
                };
                change.timeout = Some(seconds.ok_or_else(wrong)?);
            }
            MARK => change.mark = true,
            PRIORITY => change.priority = true,
            _ => change.queue = true,
        }
        Ok(())
    }

    fn check(&self, _: u32) -> Result<(), ParseError> {
        let SetChange { add, del, map, exist, timeout, mark, priority, queue } = &self.change;
        let wrong = |text: String| Err(ParseError::Parameter(text));
        if add.is_none() && del.is_none() && map.is_none() {
            return Err(ParseError::parameter("You must specify either `--add-set' or `--del-set' or `--map-set'"));
        }
        let needs = [
            ("Flag `--exist'", *exist, "add", add),
            ("Option `--timeout'", timeout.is_some(), "add", add),
            ("Flag `--map-mark'", *mark, "map", map),
            ("Flag `--map-prio'", *priority, "map", map),
            ("Flag `--map-queue'", *queue, "map", map),
        ];
        for (what, given, needed, set) in needs {
            if given && set.is_none() {
                return wrong(format!("{what} can be used with `--{needed}-set' only"));
            }
        }
        if map.is_some() && !(*mark || *priority || *queue) {
            return Err(ParseError::parameter("You must specify flags `--map-mark' or '--map-prio` or `--map-queue'"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Set(Box::new(self.change.clone())))
    }
}
