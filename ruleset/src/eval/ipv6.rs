//! IPv6 extension headers, walked as netfilter's `ipv6_find_hdr` does for `-p`.

/// Length of the fixed header.
pub(super) const HEADER: usize = 40;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTH: u8 = 51;
const NONE: u8 = 59;
const DESTINATION: u8 = 60;

/// What stands above the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upper {
    /// Its protocol number.
    pub(super) proto: u8,
    /// Where it begins. Means nothing in a later fragment.
    pub(super) at: usize,
    /// The fragment offset, 0 in a packet that has the header.
    pub(super) fragment: u16,
    /// There is a fragment header before it.
    pub(super) fragmented: bool,
}

/// Whether the walk goes on behind a header. ESP and 59 (nothing follows) end it.
const fn is_extension(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTH | DESTINATION)
}

/// The first header that is no extension header; `None` when they are cut short, or when a later fragment begins with one.
pub(super) fn upper(data: &[u8]) -> Option<Upper> {
    walk(data, false)
}

/// [`upper`], or an authentication header, which ends the walk as well if `to_auth` says so.
pub(super) fn walk(data: &[u8], to_auth: bool) -> Option<Upper> {
    let mut fragmented = false;
    let mut proto = *data.get(6)?;
    let mut at = HEADER;
    while is_extension(proto) {
        let (next, length) = (*data.get(at)?, usize::from(*data.get(at + 1)?));
        let length = match proto {
            FRAGMENT => {
                fragmented = true;
                let fragment = u16::from_be_bytes([*data.get(at + 2)?, *data.get(at + 3)?]) & !7;
                if fragment != 0 {
                    let ends = !is_extension(next);
                    return ends.then_some(Upper { proto: next, at, fragment, fragmented });
                }
                8
            }
            ROUTING => {
                data.get(at + 3)?;
                (length + 1) * 8
            }
            AUTH if to_auth => break,
            AUTH => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        proto = next;
        at += length;
    }
    debug_assert!(to_auth || proto == NONE || !is_extension(proto));
    Some(Upper { proto, at, fragment: 0, fragmented })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut data = vec![0; HEADER];
        data[6] = first;
        data.extend(rest);
        data
    }

    #[test]
    fn extension_headers_are_passed_over_by_their_lengths() {
        let hop = [DESTINATION, 0, 0, 0, 0, 0, 0, 0];
        let dst = [AUTH, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let auth = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let data = packet(HOP_BY_HOP, &[&hop[..], &dst, &auth].concat());
        assert_eq!(upper(&data), Some(Upper { proto: 6, at: 40 + 8 + 16 + 12, fragment: 0, fragmented: false }));
    }

    #[test]
    fn a_later_fragment_has_the_protocol_of_its_header_and_an_offset_in_bytes() {
        let fragment = |next| packet(FRAGMENT, &[next, 0, 0, 9, 0, 0, 0, 1]);
        assert_eq!(upper(&fragment(17)), Some(Upper { proto: 17, at: 40, fragment: 8, fragmented: true }));
        assert_eq!(upper(&fragment(NONE)).map(|upper| upper.proto), Some(NONE));
        assert_eq!(upper(&fragment(ROUTING)), None);
        let first = packet(FRAGMENT, &[17, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(upper(&first), Some(Upper { proto: 17, at: 48, fragment: 0, fragmented: true }));
    }

    #[test]
    fn a_header_that_is_cut_short_has_no_protocol_but_nothing_and_esp_have() {
        assert_eq!(upper(&packet(HOP_BY_HOP, &[6])), None);
        assert_eq!(upper(&packet(ROUTING, &[6, 0, 0])), None);
        assert_eq!(upper(&packet(NONE, &[])).map(|upper| upper.proto), Some(NONE));
        assert_eq!(upper(&packet(50, &[])).map(|upper| upper.proto), Some(50));
    }
}
