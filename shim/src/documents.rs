//! The manual page and shell completions of `bpftables`, made from its command line's own description.

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use std::io::{self, Write};

/// Writes the manual page (section 8) of a command and its subcommands. `more`: further sections, their texts as [`section`] reads them.
///
/// # Errors
/// Those of `out`.
pub fn manual(command: Command, more: &[(&str, &str)], out: &mut dyn Write) -> io::Result<()> {
    let mut command = command;
    // Subcommands are described in the page of the program, not in pages of their own.
    command.build();
    let version = command.get_version().unwrap_or_default();
    let mut text = format!(".TH {0} 8 \"\" \"{0} {version}\" bpftables\n", command.get_name());
    let page = Man::new(command.clone());
    for section in [
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ] {
        text.push_str(&rendered(&page, section, true)?);
    }
    if command.has_subcommands() {
        text.push_str(".SH COMMANDS\n");
        describe(&command, "", &mut text)?;
    }
    for (title, body) in more {
        section(title, body, &mut text);
    }
    text.push_str(".SH SEE ALSO\n.BR bpftables (8),\n.BR bpftablesd (8),\n.BR iptables\\-bpf (8)\n");
    out.write_all(text.as_bytes())
}

/// One entry for each command that does something, with its options.
fn describe(command: &Command, path: &str, text: &mut String) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let path = format!("{path}{}", sub.get_name());
        if sub.has_subcommands() {
            text.push_str(&format!(".SS {}\n", escaped(&path)));
            text.push_str(&rendered(&Man::new(sub.clone()), Man::render_description_section, false)?);
            describe(sub, &format!("{path} "), text)?;
            continue;
        }
        // Every command has these two.
        let mut sub = sub.clone().mut_args(|arg| {
            let hidden = arg.is_hide_set() || ["help", "version"].contains(&arg.get_id().as_str());
            arg.hide(hidden)
        });
        let usage = sub.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        text.push_str(&format!(".SS {}\n.B {}\n.PP\n", escaped(&path), escaped(usage)));
        let page = Man::new(sub);
        text.push_str(&rendered(&page, Man::render_description_section, false)?);
        text.push_str(&rendered(&page, Man::render_options_section, false)?);
    }
    Ok(())
}

/// A section as clap_mangen makes it, with or without its title.
fn rendered(page: &Man, section: fn(&Man, &mut dyn Write) -> io::Result<()>, titled: bool) -> io::Result<String> {
    let mut bytes = Vec::new();
    section(page, &mut bytes)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    // Each begins with how apostrophes are to be written, which none has that would have to be.
    let kept =
        |line: &&str| !line.starts_with(".ie ") && !line.starts_with(".el ") && (titled || !line.starts_with(".SH "));
    // An empty line would be one in the page and a fault in its source.
    let line = |line: &str| {
        if line.is_empty() { ".sp\n".to_owned() } else { format!("{}\n", line.replace("\\*(Aq", "\\(aq")) }
    };
    let text: String = text.lines().filter(kept).map(line).collect();
    Ok(text.replace(".br\n.sp\n.br\n", ".sp\n"))
}

/// Paragraphs of a text. One that begins with `@` has a line that names what the rest is about, lines that begin with `!` stand as they are.
fn section(title: &str, body: &str, text: &mut String) {
    text.push_str(&format!(".SH \"{title}\"\n"));
    let mut shown = false;
    for line in body.lines() {
        let example = line.strip_prefix("! ");
        if example.is_some() != shown {
            shown = example.is_some();
            text.push_str(if shown { ".RS 4\n.nf\n" } else { ".fi\n.RE\n" });
        }
        match (example, line.strip_prefix("@ ")) {
            (Some(example), _) => text.push_str(&format!("{}\n", escaped(example))),
            (None, Some(term)) => text.push_str(&format!(".TP\n.B {}\n", escaped(term))),
            (None, None) if line.is_empty() => text.push_str(".PP\n"),
            (None, None) => text.push_str(&format!("{}\n", escaped(line))),
        }
    }
    if shown {
        text.push_str(".fi\n.RE\n");
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// Writes the completions of a command for a shell.
pub fn completions(mut command: Command, shell: Shell, out: &mut dyn Write) {
    let name = command.get_name().to_owned();
    generate(shell, &mut command, name, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{admin, daemon};

    fn page() -> String {
        let mut page = Vec::new();
        manual(admin::command(), admin::MANUAL, &mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    /// Without what only lays it out: the words, each with one space before it.
    fn words(text: &str) -> String {
        let lines = text.lines().filter(|line| !line.starts_with(".sp") && !line.starts_with(".PP"));
        let mut plain = lines.collect::<Vec<_>>().join(" ");
        for (from, to) in [("\\-", "-"), ("\\(aq", "'"), ("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\e", "\\")] {
            plain = plain.replace(from, to);
        }
        plain.split_whitespace().map(|word| format!(" {word}")).collect()
    }

    /// Whatever `--help` says of each argument of a command and its subcommands.
    fn told(command: &Command, of: &mut Vec<String>) {
        of.extend(command.get_long_about().or(command.get_about()).map(ToString::to_string));
        let own = |arg: &&clap::Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
        for arg in command.get_arguments().filter(own) {
            of.extend(arg.get_long_help().or(arg.get_help()).map(ToString::to_string));
            let names = arg.get_value_names().unwrap_or_default().iter().map(|name| match arg.is_positional() {
                true => name.to_string(),
                false => format!("<{name}>"),
            });
            let short = arg.get_short().map(|short| format!("-{short}"));
            let long = arg.get_long().map(|long| format!("--{long}"));
            let option = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
            let takes = arg.get_num_args().is_some_and(|count| count.takes_values());
            of.push(option.clone());
            of.extend(names.filter(|_| takes).map(|name| format!("{option} {name}").trim().to_owned()));
            let defaults = arg.get_default_values().iter().filter(|_| takes);
            of.extend(defaults.map(|value| format!("[default: {}]", value.display())));
            for value in arg.get_possible_values().iter().filter(|value| !value.is_hide_set()) {
                let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
                of.push(format!(".IP \\(bu 2 {}{help}", value.get_name()));
            }
        }
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            told(sub, of);
        }
    }

    #[test]
    fn the_manual_pages_tell_what_help_tells() {
        for (mut command, more) in [(admin::command(), admin::MANUAL), (daemon::command(), daemon::MANUAL)] {
            let mut page = Vec::new();
            manual(command.clone(), more, &mut page).unwrap();
            // Brackets stand around what is not needed, and names of values.
            let bare = |text: &str| words(&text.replace(['[', ']', '<', '>'], ""));
            let page = bare(&words(&String::from_utf8(page).unwrap()));
            let mut wanted = Vec::new();
            command.build();
            told(&command, &mut wanted);
            assert!(wanted.len() > 5);
            for text in wanted {
                let text = bare(&words(&text));
                assert!(page.contains(&text), "{text:?} is not in\n{page}");
            }
        }
    }

    #[test]
    fn the_agents_page_tells_signals_and_surroundings() {
        let mut page = Vec::new();
        manual(daemon::command(), daemon::MANUAL, &mut page).unwrap();
        let page = words(&String::from_utf8(page).unwrap());
        for word in [
            "SIGTERM, SIGINT",
            "SIGHUP",
            "EXIT STATUS",
            "BPFTABLES_LOG",
            "BPFTABLESD_OPTIONS",
            "ReadWritePaths=",
            "net.netfilter.nf_log_all_netns=1",
            "one agent",
        ] {
            assert!(page.contains(word), "{word} is not in\n{page}");
        }
    }

    #[test]
    fn the_manual_page_names_every_command() {
        let page = page();
        for command in admin::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(page.contains(&escaped(command.get_name())), "{} is not in\n{page}", command.get_name());
        }
        assert!(page.contains("conntrack {list|\\-L} [OPTIONS]") && page.contains("\\fB\\-\\-json\\fR"), "{page}");
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
