//! `-m realm`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::named_value;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Realm;
use bpftables_ruleset::matches::devgroup::NamedValue;
use bpftables_ruleset::names::NumberNames;

static SPEC: Spec = Spec {
    name: "realm",
    options: &[Opt::value("realm", 0).mandatory().invertible()],
    checked: true,
    help: "realm match options:\n[!] --realm value[/mask]\n\t\t\t\tthe realm of the route\n",
};

/// Reads `-m realm`.
#[derive(Debug)]
pub(crate) struct RealmBuilder {
    realm: NamedValue,
}

impl Default for RealmBuilder {
    fn default() -> Self {
        Self { realm: NamedValue { value: 0, mask: u32::MAX, name: None, invert: false } }
    }
}

impl Extension for RealmBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.realm = named_value(arg, "realm", "realm", invert, NumberNames::Realms, cx.names)?;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Realm(Realm { realm: self.realm.clone() }))
    }
}
