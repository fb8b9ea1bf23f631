//! The manual page and shell completions of `bpftables`, made from its command line's own description.

use clap::Command;
use clap_complete::{Shell, generate};
use std::io::{self, Write};

/// Writes the manual page (section 8) of a command and its subcommands.
///
/// # Errors
/// Those of `out`.
pub fn manual(command: Command, out: &mut dyn Write) -> io::Result<()> {
    let mut command = command;
    // Subcommands are described in the page of the program, not in pages of their own.
    command.build();
    let page = clap_mangen::Man::new(command.clone()).section("8").manual("bpftables").date("");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    let mut text = String::new();
    if command.has_subcommands() {
        text.push_str(".SH COMMANDS\n");
        describe(&command, "", &mut text);
    }
    text.push_str(".SH SEE ALSO\n.BR bpftables (8),\n.BR bpftablesd (8),\n.BR iptables\\-bpf (8)\n");
    out.write_all(text.as_bytes())
}

/// One entry for each command that does something, with its options.
fn describe(command: &Command, path: &str, text: &mut String) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let path = format!("{path}{}", sub.get_name());
        if sub.has_subcommands() {
            describe(sub, &format!("{path} "), text);
            continue;
        }
        let arguments = |hide: &clap::Arg| hide.is_hide_set() || ["help", "version"].contains(&hide.get_id().as_str());
        let shown: Vec<_> = sub.get_arguments().filter(|arg| !arguments(arg)).collect();
        let exclusive = sub.get_groups().any(|group| {
            let mut group = group.clone();
            shown.len() > 1
                && !group.is_multiple()
                && shown.iter().all(|arg| group.get_args().any(|id| id == arg.get_id()))
        });
        let words = match shown.as_slice() {
            // Many options are not told twice.
            [_, _, _, _, ..] => " [options]".to_owned(),
            shown if exclusive => {
                format!(" [{}]", shown.iter().map(|arg| escaped(&word(arg))).collect::<Vec<_>>().join(" | "))
            }
            shown => shown.iter().map(|arg| format!(" {}", escaped(&optional(arg)))).collect(),
        };
        text.push_str(&format!(".TP\n.B {}{words}\n", escaped(&path)));
        text.push_str(&format!("{}.\n", sentence(sub.get_about())));
        for arg in shown {
            let help = sentence(arg.get_help());
            text.push_str(&format!(".br\n.B {}\n{help}.\n", escaped(&word(arg))));
        }
    }
}

fn word(arg: &clap::Arg) -> String {
    match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

/// An argument in brackets, unless it has to be there.
fn optional(arg: &clap::Arg) -> String {
    if arg.is_required_set() { word(arg) } else { format!("[{}]", word(arg)) }
}

fn sentence(text: Option<&clap::builder::StyledStr>) -> String {
    escaped(text.map(ToString::to_string).unwrap_or_default().trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Writes the completions of a command for a shell.
pub fn completions(mut command: Command, shell: Shell, out: &mut dyn Write) {
    let name = command.get_name().to_owned();
    generate(shell, &mut command, name, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin;

    fn page() -> String {
        let mut page = Vec::new();
        manual(admin::command(), &mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn the_manual_page_names_every_command() {
        let page = page();
        for command in admin::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(page.contains(&escaped(command.get_name())), "{} is not in\n{page}", command.get_name());
        }
        assert!(page.contains("conntrack list [options]") && page.contains(".B \\-\\-json"), "{page}");
        // What excludes each other is not shown as if all of it could be given, and what may be left out as if it had to be.
        assert!(page.contains(".B conntrack limit [LIMIT | \\-\\-default]\n"), "{page}");
        assert!(page.contains(".B dump\\-image [\\-\\-ipv6] FILE\n"), "{page}");
    }

    #[test]
    fn completions_know_the_commands_in_every_shell_of_debian() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            completions(admin::command(), shell, &mut text);
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("uninstall-hooks") && text.contains("conntrack"), "{shell}: {text}");
        }
    }
}
