//! `docs/deviations.md` as a manual page: headings, paragraphs, items, bold and code are all that it uses.

/// The page `iptables-bpf(8)`.
pub(crate) fn differences(markdown: &str) -> String {
    let mut page = String::from(
        ".TH iptables\\-bpf 8 \"\" bpftables\n.SH NAME\niptables\\-bpf, ip6tables\\-bpf \\- iptables whose rules run as eBPF\n\
         .SH SYNOPSIS\n.B iptables\\-bpf\n.RI [ \"options of iptables\" ]\n.br\n.B iptables\\-bpf\\-save\n.br\n.B iptables\\-bpf\\-restore\n\
         .SH DESCRIPTION\nThese commands take the options of\n.BR iptables (8),\n.BR iptables\\-save (8)\nand\n\
         .BR iptables\\-restore (8),\nand print what those print. What differs is below; in brackets are the tests that hold it.\n",
    );
    let mut open = false;
    for line in markdown.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            page.push_str(&format!(".SH \"{}\"\n", text(&title.to_uppercase().replace('"', ""))));
            open = true;
        } else if line.starts_with("# ") {
            open = false;
        } else if line.trim().is_empty() {
            page.push_str(if open { ".PP\n" } else { "" });
        } else if let Some(item) = line.strip_prefix("- ") {
            page.push_str(&format!(".IP \\(bu 2\n{}\n", text(item)));
        } else if line.starts_with("**") {
            page.push_str(&format!(".PP\n{}\n", text(line)));
        } else {
            // A line that begins like a request is text all the same.
            page.push_str(&format!("{}\n", text(line.trim_start())));
        }
        if line.starts_with("# ") {
            page.push_str(".SH \"DIFFERENCES\"\n");
            open = true;
        }
    }
    page.push_str(".SH SEE ALSO\n.BR bpftables (8),\n.BR iptables (8)\n");
    squeezed(&page)
}

/// Inline marks, and what roff would take for its own.
fn text(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    let (mut bold, mut code) = (false, false);
    while let Some(c) = rest.chars().next() {
        let mut step = c.len_utf8();
        match c {
            '*' if rest.starts_with("**") && !code => {
                out.push_str(if bold { "\\fR" } else { "\\fB" });
                bold = !bold;
                step = 2;
            }
            '`' => {
                out.push_str(if code { "\\fR" } else { "\\fB" });
                code = !code;
            }
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            c => out.push(c),
        }
        rest = &rest[step..];
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

/// No paragraph that is empty, none right behind a heading.
fn squeezed(page: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for line in page.lines() {
        let heading = line.starts_with(".SH") || line.starts_with(".IP") || line == ".PP";
        if heading && out.last() == Some(&".PP") {
            out.pop();
        }
        if line == ".PP" && out.last().is_some_and(|last| last.starts_with(".SH")) {
            continue;
        }
        out.push(line);
    }
    let mut text = out.join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_items_and_marks_become_requests_and_fonts() {
        let page =
            differences("# Title\n\nIntro.\n\n## REJECT [reject]\n- one `--x` thing\n\n**What.** It's so.\n.start\n");
        for part in [
            ".SH \"DIFFERENCES\"\nIntro.\n",
            ".SH \"REJECT [REJECT]\"\n.IP \\(bu 2\none \\fB\\-\\-x\\fR thing\n",
            ".PP\n\\fBWhat.\\fR It's so.\n\\&.start\n",
        ] {
            assert!(page.contains(part), "no {part:?} in\n{page}");
        }
        assert!(!page.contains(".PP\n.PP") && !page.contains(".PP\n.SH"), "{page}");
    }
}
