//! `-m srh`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use crate::value::host_mask;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Srh;

const NEXT_HEADER: u8 = 0;
const LENGTH_EQ: u8 = 1;
const LAST_LT: u8 = 9;
const TAG: u8 = 10;
const PREVIOUS: u8 = 11;
const NEXT: u8 = 12;

static SPEC: Spec = Spec {
    name: "srh",
    options: &[
        Opt::value("srh-next-hdr", NEXT_HEADER).invertible(),
        Opt::value("srh-hdr-len-eq", LENGTH_EQ).invertible(),
        Opt::value("srh-hdr-len-gt", 2).invertible(),
        Opt::value("srh-hdr-len-lt", 3).invertible(),
        Opt::value("srh-segs-left-eq", 4).invertible(),
        Opt::value("srh-segs-left-gt", 5).invertible(),
        Opt::value("srh-segs-left-lt", 6).invertible(),
        Opt::value("srh-last-entry-eq", 7).invertible(),
        Opt::value("srh-last-entry-gt", 8).invertible(),
        Opt::value("srh-last-entry-lt", LAST_LT).invertible(),
        Opt::value("srh-tag", TAG).invertible(),
        Opt::value("srh-psid", PREVIOUS).invertible(),
        Opt::value("srh-nsid", NEXT).invertible(),
        Opt::value("srh-lsid", 13).invertible(),
    ],
    checked: true,
    help: "\
srh match options:
[!] --srh-next-hdr\t\tnext-hdr        the header after this one
[!] --srh-hdr-len-eq\t\thdr_len         the header's length
[!] --srh-hdr-len-gt\t\thdr_len         it is greater
[!] --srh-hdr-len-lt\t\thdr_len         it is less
[!] --srh-segs-left-eq\t\tsegs_left       segments left
[!] --srh-segs-left-gt\t\tsegs_left       they are more
[!] --srh-segs-left-lt\t\tsegs_left       they are fewer
[!] --srh-last-entry-eq \tlast_entry      the last entry
[!] --srh-last-entry-gt \tlast_entry      it is greater
[!] --srh-last-entry-lt \tlast_entry      it is less
[!] --srh-tag\t\t\ttag             the tag
[!] --srh-psid\t\t\taddr[/mask]\tthe SID before
[!] --srh-nsid\t\t\taddr[/mask]\tthe SID after
[!] --srh-lsid\t\t\taddr[/mask]\tthe last SID
",
};

impl Extension for Srh {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let option = SPEC.options.iter().find(|opt| opt.id == id).map_or("", |opt| opt.name);
        match id {
            NEXT_HEADER => self.next_header = Some((ranged("srh", option, arg, 0, u8::MAX)?, invert)),
            LENGTH_EQ..=LAST_LT => {
                let number = match (id - LENGTH_EQ) / 3 {
                    0 => &mut self.length,
                    1 => &mut self.segments_left,
                    _ => &mut self.last_entry,
                };
                number.value = ranged("srh", option, arg, 0, u8::MAX)?;
                let way = match (id - LENGTH_EQ) % 3 {
                    0 => &mut number.equal,
                    1 => &mut number.greater,
                    _ => &mut number.less,
                };
                *way = Some(invert);
            }
            TAG => self.tag = Some((ranged("srh", option, arg, 0, u16::MAX)?, invert)),
            _ => {
                let (addr, mask) = host_mask(arg, "srh", option, cx.family, cx.names)?;
                let sid = match id {
                    PREVIOUS => &mut self.previous,
                    NEXT => &mut self.next,
                    _ => &mut self.last,
                };
                *sid = Some((addr, mask, invert));
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Srh(Box::new(self.clone())))
    }
}
