//! Names of users, groups and numbers, from the files of `/etc`.

use bpftables_ruleset::names::NumberNames;
use std::path::Path;

/// The text of a file, if there is one.
fn read(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Name and number of each account in a file such as `passwd` or `group`.
pub(crate) fn accounts(path: &Path) -> Vec<(String, u32)> {
    let account = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    read(path).unwrap_or_default().lines().filter_map(account).collect()
}

/// A number as `strtoul` reads it in base 10, or 16 after `0x`, and the rest of the text.
fn leading_number(text: &str) -> Option<(u32, &str)> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    Some((u32::from_str_radix(&digits[..end], radix).ok()?, &digits[end..]))
}

/// The numbers of a file and their names; `None`: there is no such file.
pub(crate) fn number_names(directory: &Path, which: NumberNames) -> Option<Vec<(u32, String)>> {
    let (file, largest) = match which {
        NumberNames::DeviceGroups => ("iproute2/group", 255),
        NumberNames::Realms => ("iproute2/rt_realms", 255),
        NumberNames::ConnectionLabels => ("xtables/connlabel.conf", 127),
    };
    let entry = |line: &str| {
        let line = line.trim_start();
        let (number, rest) = leading_number(line).filter(|(number, _)| *number <= largest)?;
        let name = rest.starts_with(char::is_whitespace).then(|| rest.split_whitespace().next()).flatten()?;
        (!name.starts_with('#')).then(|| (number, name.to_owned()))
    };
    Some(read(&directory.join(file))?.lines().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_name_no_number_are_passed_over() {
        let dir = std::env::temp_dir().join(format!("bpftables-accounts-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("iproute2")).unwrap();
        std::fs::write(dir.join("iproute2/group"), "# 1 no\n0 default\n 0x10\tlab # x\n256 no\n7office\n9 # no\n")
            .unwrap();
        std::fs::write(dir.join("passwd"), "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:1:\ngames:x:5:60::/:/bin/sh\n")
            .unwrap();
        let names = number_names(&dir, NumberNames::DeviceGroups);
        let users = accounts(&dir.join("passwd"));
        assert_eq!(number_names(&dir, NumberNames::Realms), None);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(names, Some(vec![(0, "default".to_owned()), (16, "lab".to_owned())]));
        assert_eq!(users, [("root".to_owned(), 0), ("games".to_owned(), 5)]);
    }
}
