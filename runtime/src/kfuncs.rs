//! Calls of kernel functions (kfuncs) in the programs: aya leaves them alone, so their numbers are written into the object before it sees it.

use crate::error::{EngineError, Result};
use aya::Btf;
use aya_obj::btf::BtfKind;
use std::io;

/// The kfuncs that the programs call, with the marks of `ebpf/c/kernel.h`.
const KFUNCS: [(u32, &str); 2] = [(0x6b66_0001, "bpf_cast_to_kern_ctx"), (0x6b66_0002, "bpf_rdonly_cast")];

/// `call` with `BPF_PSEUDO_KFUNC_CALL` as its source register and offset 0: a function of vmlinux.
const CALL: [u8; 4] = [0x85, 0x20, 0, 0];

/// The object's bytes, with the number of the function in this kernel's types in each call. `object` keeps its length and, as 64-bit
/// words, its alignment; what is behind its end is zero.
///
/// # Errors
/// [`EngineError::OldKernel`]: the kernel has no such function (all from Linux 6.2 on have them).
pub fn link(object: &[u8], kernel: &Btf) -> Result<Vec<u64>> {
    let numbers = KFUNCS.map(|(mark, name)| (mark, name, kernel.id_by_type_name_kind(name, BtfKind::Func)));
    let mut words = Vec::with_capacity(object.len().div_ceil(8));
    for chunk in object.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        if let Some(mark) = word.strip_prefix(&CALL)
            && let Some((_, name, number)) = numbers.iter().find(|(known, ..)| mark == known.to_le_bytes())
        {
            let number = number.as_ref().map_err(|e| EngineError::OldKernel {
                what: format!("calling {name}"),
                source: io::Error::other(e.to_string()),
            })?;
            word[4..].copy_from_slice(&number.to_le_bytes());
        }
        words.push(u64::from_ne_bytes(word));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_ebpf::{OBJECT4, OBJECT6};
    use zerocopy::IntoBytes;

    fn calls(object: &[u8], number: u32) -> usize {
        object.chunks_exact(8).filter(|word| word[..4] == CALL && word[4..] == number.to_le_bytes()).count()
    }

    #[test]
    fn every_call_gets_the_number_of_its_function() {
        let kernel = Btf::from_sys_fs().unwrap();
        for object in [OBJECT4.bytes, OBJECT6.bytes] {
            let words = link(object, &kernel).unwrap();
            let linked = &words.as_bytes()[..object.len()];
            for (mark, name) in KFUNCS {
                let number = kernel.id_by_type_name_kind(name, BtfKind::Func).unwrap();
                assert!(calls(object, mark) > 0, "{name} is never called");
                assert_eq!(calls(linked, number), calls(object, mark), "{name}");
            }
            let changed = object.iter().zip(linked).filter(|(a, b)| a != b).count();
            assert!(changed > 0 && changed <= 4 * KFUNCS.iter().map(|(mark, _)| calls(object, *mark)).sum::<usize>());
        }
    }
}
