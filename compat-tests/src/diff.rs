//! A readable difference between two reports.

use crate::Result;

/// How legacy's outcome and the subject's differ, or what kept one of them from coming about.
pub fn outcomes(legacy: Result<String>, subject: Result<String>) -> Option<String> {
    match (legacy, subject) {
        (Ok(a), Ok(b)) => (a != b).then(|| lines(&a, &b, "legacy", "subject")),
        (Err(e), _) | (_, Err(e)) => Some(e.to_string()),
    }
}

/// Lines of both texts, equal ones with a leading blank, `-` only in the first, `+` only in the second.
/// Equal lines far from any difference are left out.
pub fn lines(a: &str, b: &str, name_a: &str, name_b: &str) -> String {
    let (x, y): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let script = edit_script(&x, &y);
    let mut out = format!("--- {name_a}\n+++ {name_b}\n");
    let near = |i: usize| {
        let from = i.saturating_sub(4);
        script[from..script.len().min(i + 3)].iter().any(|(c, _)| *c != ' ')
    };
    let mut gap = false;
    for (i, (c, l)) in script.iter().enumerate() {
        if near(i) {
            out += &format!("{c} {l}\n");
            gap = false;
        } else if !gap {
            out += "  ...\n";
            gap = true;
        }
    }
    out
}

/// Longest common subsequence after the common head and tail are taken off; quadratic in what is left.
fn edit_script<'a>(x: &[&'a str], y: &[&'a str]) -> Vec<(char, &'a str)> {
    let head = x.iter().zip(y).take_while(|(p, q)| p == q).count();
    let tail = x[head..].iter().rev().zip(y[head..].iter().rev()).take_while(|(p, q)| p == q).count();
    let (mx, my) = (&x[head..x.len() - tail], &y[head..y.len() - tail]);
    let mut out: Vec<(char, &str)> = x[..head].iter().map(|l| (' ', *l)).collect();
    if mx.len().saturating_mul(my.len()) > 4_000_000 {
        out.extend(mx.iter().map(|l| ('-', *l)));
        out.extend(my.iter().map(|l| ('+', *l)));
    } else {
        let mut t = vec![vec![0u32; my.len() + 1]; mx.len() + 1];
        for i in (0..mx.len()).rev() {
            for j in (0..my.len()).rev() {
                t[i][j] = if mx[i] == my[j] { t[i + 1][j + 1] + 1 } else { t[i + 1][j].max(t[i][j + 1]) };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < mx.len() || j < my.len() {
            if i < mx.len() && j < my.len() && mx[i] == my[j] {
                out.push((' ', mx[i]));
                (i, j) = (i + 1, j + 1);
            } else if i < mx.len() && (j == my.len() || t[i + 1][j] >= t[i][j + 1]) {
                out.push(('-', mx[i]));
                i += 1;
            } else {
                out.push(('+', my[j]));
                j += 1;
            }
        }
    }
    out.extend(x[x.len() - tail..].iter().map(|l| (' ', *l)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_shown_with_its_neighbours() {
        let d = lines("a\nb\nc\n", "a\nx\nc\n", "legacy", "ours");
        assert_eq!(d, "--- legacy\n+++ ours\n  a\n- b\n+ x\n  c\n");
    }
}
