//! `-m u32` (`xt_u32.c`).

use super::packet::Packet;
use crate::matches::U32;
use crate::matches::u32_test::{U32Operator, U32Test};

/// Whether the match holds.
#[must_use]
pub fn holds(m: &U32, packet: &Packet) -> bool {
    let bytes = packet.data.get(..packet.len()).unwrap_or(&packet.data);
    m.tests.iter().all(|test| test_holds(test, bytes).unwrap_or(false)) != m.invert
}

fn word(bytes: &[u8], at: u32) -> Option<u32> {
    let at = at as usize;
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}

/// `None`: a word that the packet does not have.
fn test_holds(test: &U32Test, bytes: &[u8]) -> Option<bool> {
    let mut base = 0u32;
    let mut value = word(bytes, test.start)?;
    for (operator, number) in &test.steps {
        value = match operator {
            U32Operator::And => value & number,
            U32Operator::Left => value.wrapping_shl(*number),
            U32Operator::Right => value.wrapping_shr(*number),
            U32Operator::At => {
                base = base.checked_add(value)?;
                word(bytes, base.checked_add(*number)?)?
            }
        };
    }
    Some(test.values.iter().any(|(lo, hi)| (*lo..=*hi).contains(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Ct;

    #[test]
    fn words_are_found_by_words_and_none_beyond_the_packet() {
        let mut data =
            vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 53, 0, 8, 0, 0];
        data.extend([0xee; 8]); // behind the packet's own length
        let packet = Packet { data, iif: None, oif: None, local: false, mark: 0, ct: Ct::None };
        let test = |start, steps: &[(U32Operator, u32)], lo, hi, invert| {
            let tests = vec![U32Test { start, steps: steps.to_vec(), values: vec![(lo, hi)] }];
            holds(&U32 { tests, invert }, &packet)
        };
        use U32Operator::{And, At, Left, Right};
        assert!(test(6, &[(And, 0xff)], 17, 17, false));
        assert!(test(0, &[(Right, 22), (And, 0x3c), (At, 0), (And, 0xffff)], 53, 53, false));
        assert!(test(0, &[(Left, 4), (Right, 28)], 5, 5, false));
        assert!(test(24, &[], 0x0008_0000, 0x0008_0000, false));
        assert!(!test(25, &[], 0, u32::MAX, false));
        assert!(test(25, &[], 0, u32::MAX, true));
        assert!(!test(12, &[(At, u32::MAX)], 0, u32::MAX, false));
        assert!(!test(u32::MAX, &[], 0, u32::MAX, false));
    }
}
