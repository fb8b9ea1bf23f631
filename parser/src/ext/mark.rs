//! `-m mark`, `-m connmark`, `-j MARK`, `-j CONNMARK`.

use super::{Cx, Extension, Opt, Spec, ranged, ranged_u32};
use crate::error::ParseError;
use crate::value::mark_mask;
use bpftables_ruleset::matches::{Connmark, Mark};
use bpftables_ruleset::targets::{ConnmarkSet, MarkSet};
use bpftables_ruleset::{Match, Target};

static MARK_SPEC: Spec = Spec {
    name: "mark",
    options: &[Opt::value("mark", 0).mandatory().invertible()],
    checked: true,
    help: crate::help::MARK,
};

static CONNMARK_SPEC: Spec = Spec {
    name: "connmark",
    options: &[Opt::value("mark", 0).mandatory().invertible()],
    checked: true,
    help: crate::help::CONNMARK,
};

/// Reads `-m mark` and `-m connmark`.
#[derive(Debug)]
pub(crate) struct MarkMatchBuilder {
    spec: &'static Spec,
    value: u32,
    mask: u32,
    invert: bool,
}

impl MarkMatchBuilder {
    pub(crate) const fn mark() -> Self {
        Self { spec: &MARK_SPEC, value: 0, mask: 0, invert: false }
    }

    pub(crate) const fn connmark() -> Self {
        Self { spec: &CONNMARK_SPEC, value: 0, mask: 0, invert: false }
    }
}

impl Extension for MarkMatchBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        self.spec
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        (self.value, self.mask) = mark_mask(arg, self.spec.name, "mark")?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        let Self { value, mask, invert, .. } = *self;
        Ok(if self.spec.name == "mark" {
            Match::Mark(Mark { value, mask, invert })
        } else {
            Match::Connmark(Connmark { value, mask, invert })
        })
    }
}

// In legacy's order for CONNMARK, by which the first of several conflicts is named.
const SET: u8 = 0;
const SAVE: u8 = 1;
const RESTORE: u8 = 2;
const AND: u8 = 3;
const OR: u8 = 4;
const XOR: u8 = 5;
const LEFT: u8 = 6;
const RIGHT: u8 = 7;
const XSET: u8 = 8;
const CTMASK: u8 = 9;
const NFMASK: u8 = 10;
const MASK: u8 = 11;

const MARK_OPS: u32 = 1 << SET | 1 << AND | 1 << OR | 1 << XOR | 1 << XSET;
const CONNMARK_OPS: u32 = MARK_OPS | 1 << SAVE | 1 << RESTORE;

static MARK_TARGET_SPEC: Spec = Spec {
    name: "MARK",
    options: &[
        Opt::value("set-xmark", XSET).excludes(MARK_OPS),
        Opt::value("set-mark", SET).excludes(MARK_OPS),
        Opt::value("and-mark", AND).excludes(MARK_OPS),
        Opt::value("or-mark", OR).excludes(MARK_OPS),
        Opt::value("xor-mark", XOR).excludes(MARK_OPS),
    ],
    checked: true,
    help: crate::help::MARK_TARGET,
};

static CONNMARK_TARGET_SPEC: Spec = Spec {
    name: "CONNMARK",
    options: &[
        Opt::value("set-xmark", XSET).excludes(CONNMARK_OPS),
        Opt::value("set-mark", SET).excludes(CONNMARK_OPS),
        Opt::value("and-mark", AND).excludes(CONNMARK_OPS),
        Opt::value("or-mark", OR).excludes(CONNMARK_OPS),
        Opt::value("xor-mark", XOR).excludes(CONNMARK_OPS),
        Opt::flag("save-mark", SAVE).excludes(CONNMARK_OPS),
        Opt::flag("restore-mark", RESTORE).excludes(CONNMARK_OPS),
        Opt::value("left-shift-mark", LEFT),
        Opt::value("right-shift-mark", RIGHT),
        Opt::value("ctmask", CTMASK).excludes(1 << MASK),
        Opt::value("nfmask", NFMASK).excludes(1 << MASK),
        Opt::value("mask", MASK).excludes(1 << CTMASK | 1 << NFMASK),
    ],
    checked: true,
    help: crate::help::CONNMARK_TARGET,
};

/// Value and mask of one of the five ways to set a mark; `None` for other options.
fn operation(id: u8, arg: &str, spec: &Spec) -> Result<Option<(u32, u32)>, ParseError> {
    let bits = |option| ranged_u32(spec.name, option, arg, 0, u32::MAX);
    Ok(Some(match id {
        XSET => mark_mask(arg, spec.name, "set-xmark")?,
        SET => {
            let (value, mask) = mark_mask(arg, spec.name, "set-mark")?;
            (value, value | mask)
        }
        AND => (0, !bits("and-mark")?),
        OR => {
            let value = bits("or-mark")?;
            (value, value)
        }
        XOR => (bits("xor-mark")?, 0),
        _ => return Ok(None),
    }))
}

/// Reads `-j MARK`.
#[derive(Debug, Default)]
pub(crate) struct MarkTargetBuilder {
    value: u32,
    mask: u32,
}

impl Extension for MarkTargetBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &MARK_TARGET_SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if let Some((value, mask)) = operation(id, arg, &MARK_TARGET_SPEC)? {
            (self.value, self.mask) = (value, mask);
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter(
                "MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required",
            ));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Mark(MarkSet { value: self.value, mask: self.mask }))
    }
}

/// Reads `-j CONNMARK`.
#[derive(Debug)]
pub(crate) struct ConnmarkTargetBuilder {
    op: u8,
    value: u32,
    ctmask: u32,
    nfmask: u32,
    /// To the left, and by how much.
    shift: (bool, u8),
}

impl Default for ConnmarkTargetBuilder {
    fn default() -> Self {
        Self { op: SET, value: 0, ctmask: u32::MAX, nfmask: u32::MAX, shift: (true, 0) }
    }
}

impl Extension for ConnmarkTargetBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &CONNMARK_TARGET_SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if let Some((value, mask)) = operation(id, arg, &CONNMARK_TARGET_SPEC)? {
            (self.op, self.value, self.ctmask) = (SET, value, mask);
            return Ok(());
        }
        let mask = |option| ranged_u32("CONNMARK", option, arg, 0, u32::MAX);
        match id {
            SAVE | RESTORE => self.op = id,
            CTMASK => self.ctmask = mask("ctmask")?,
            NFMASK => self.nfmask = mask("nfmask")?,
            MASK => {
                self.ctmask = mask("mask")?;
                self.nfmask = self.ctmask;
            }
            _ => {
                let option = if id == LEFT { "left-shift-mark" } else { "right-shift-mark" };
                self.shift = (id == LEFT, ranged("CONNMARK", option, arg, 0, 32)?);
            }
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen & CONNMARK_OPS == 0 {
            return Err(ParseError::parameter("CONNMARK target: No operation specified"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        let Self { value, ctmask, nfmask, .. } = *self;
        let set = match self.op {
            SAVE => ConnmarkSet::Save { nfmask, ctmask },
            RESTORE => ConnmarkSet::Restore { nfmask, ctmask },
            _ => ConnmarkSet::Set { value, mask: ctmask },
        };
        Ok(Target::Connmark(match self.shift {
            (_, 0) => set,
            (left, bits) => ConnmarkSet::Shifted { set: Box::new(set), left, bits },
        }))
    }
}
