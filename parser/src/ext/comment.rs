//! `-m comment`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Comment;

static SPEC: Spec = Spec {
    name: "comment",
    options: &[Opt::value("comment", 0).mandatory()],
    checked: true,
    help: crate::help::COMMENT,
};

/// Reads `-m comment`.
#[derive(Debug, Default)]
pub(crate) struct CommentBuilder {
    text: String,
}

impl Extension for CommentBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        // Legacy cuts after 255 bytes without a word; here not in the middle of a character.
        self.text = arg[..arg.floor_char_boundary(255)].to_owned();
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Comment(Comment { text: self.text.as_str().into() }))
    }
}
