//! Words about numbers.

/// So many of something: `1 rule`, `2 rules`, `0 policies`.
pub(crate) fn many(count: usize, one: &str) -> String {
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let said = |count: usize| [many(count, "rule"), many(count, "policy"), many(count, "user chain")];
        assert_eq!(said(0), ["0 rules", "0 policies", "0 user chains"]);
        assert_eq!(said(1), ["1 rule", "1 policy", "1 user chain"]);
        assert_eq!(said(2), ["2 rules", "2 policies", "2 user chains"]);
    }
}
