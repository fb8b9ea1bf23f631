//! The date in the comments of `iptables-save`.

/// The local time as ctime(3) writes it, without the newline: `Sat Nov 21 23:27:09 2026`.
#[must_use]
pub fn ctime() -> String {
    jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_date_has_the_width_of_ctime() {
        assert_eq!(super::ctime().len(), "Sat Nov 21 23:27:09 2026".len());
    }
}
