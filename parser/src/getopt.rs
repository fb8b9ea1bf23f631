//! Options in the order of the command line, long ones abbreviated, as the C library's `getopt_long` finds them when it is told to
//! return arguments that are no options in their order.

use crate::ext::Opt;
use bpftables_ruleset::Family;
use std::borrow::Cow;

/// What an option asks to follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    /// Nothing.
    No,
    /// One argument.
    Required,
    /// An argument in the same word only.
    Optional,
}

/// Which option was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// One of the program's own, by its short letter (`0` is `--line-numbers`).
    Own(char),
    /// One of an extension: the group's number as given to [`LongOptions::add_group`], and the index in the group.
    Extension(usize, usize),
}

/// The next thing on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// An option and its argument.
    Option(Code, Option<&'a str>),
    /// An argument that is no option.
    Word(&'a str),
    /// A known option whose argument is missing.
    MissingArgument,
    /// No such option (or an ambiguous one). The letter, when it was a short one or had an argument it must not have (of an extension's
    /// option legacy then shows the number as a letter).
    Unknown(Option<char>),
}

const SHORT: &[(char, Arg)] = &[
    ('A', Arg::Required),
    ('C', Arg::Required),
    ('D', Arg::Required),
    ('E', Arg::Required),
    ('F', Arg::Optional),
    ('I', Arg::Required),
    ('L', Arg::Optional),
    ('M', Arg::Required),
    ('N', Arg::Required),
    ('P', Arg::Required),
    ('R', Arg::Required),
    ('S', Arg::Optional),
    ('V', Arg::No),
    ('X', Arg::Optional),
    ('Z', Arg::Optional),
    ('c', Arg::Required),
    ('d', Arg::Required),
    ('i', Arg::Required),
    ('j', Arg::Required),
    ('o', Arg::Required),
    ('p', Arg::Required),
    ('s', Arg::Required),
    ('t', Arg::Required),
    ('v', Arg::No),
    ('W', Arg::Optional),
    ('4', Arg::No),
    ('6', Arg::No),
    ('f', Arg::No),
    ('g', Arg::Required),
    ('h', Arg::Optional),
    ('m', Arg::Required),
    ('n', Arg::No),
    ('w', Arg::Optional),
    ('x', Arg::No),
];

const LONG: &[(&str, Arg, char)] = &[
    ("append", Arg::Required, 'A'),
    ("delete", Arg::Required, 'D'),
    ("check", Arg::Required, 'C'),
    ("insert", Arg::Required, 'I'),
    ("replace", Arg::Required, 'R'),
    ("list", Arg::Optional, 'L'),
    ("list-rules", Arg::Optional, 'S'),
    ("flush", Arg::Optional, 'F'),
    ("zero", Arg::Optional, 'Z'),
    ("new-chain", Arg::Required, 'N'),
    ("delete-chain", Arg::Optional, 'X'),
    ("rename-chain", Arg::Required, 'E'),
    ("policy", Arg::Required, 'P'),
    ("source", Arg::Required, 's'),
    ("destination", Arg::Required, 'd'),
    ("src", Arg::Required, 's'),
    ("dst", Arg::Required, 'd'),
    ("protocol", Arg::Required, 'p'),
    ("in-interface", Arg::Required, 'i'),
    ("jump", Arg::Required, 'j'),
    ("table", Arg::Required, 't'),
    ("match", Arg::Required, 'm'),
    ("numeric", Arg::No, 'n'),
    ("out-interface", Arg::Required, 'o'),
    ("verbose", Arg::No, 'v'),
    ("wait", Arg::Optional, 'w'),
    ("wait-interval", Arg::Optional, 'W'),
    ("exact", Arg::No, 'x'),
    ("fragments", Arg::No, 'f'),
    ("version", Arg::No, 'V'),
    ("help", Arg::Optional, 'h'),
    ("line-numbers", Arg::No, '0'),
    ("modprobe", Arg::Required, 'M'),
    ("set-counters", Arg::Required, 'c'),
    ("goto", Arg::Required, 'g'),
    ("ipv4", Arg::No, '4'),
    ("ipv6", Arg::No, '6'),
];

/// The long options known at a moment: the program's, then those of the extensions, the last loaded first.
#[derive(Debug)]
pub(crate) struct LongOptions {
    family: Family,
    groups: Vec<(usize, &'static [Opt])>,
}

impl LongOptions {
    pub(crate) const fn new(family: Family) -> Self {
        Self { family, groups: Vec::new() }
    }

    /// Options with one id are synonyms.
    pub(crate) fn add_group(&mut self, group: usize, options: &'static [Opt]) {
        self.groups.push((group, options));
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, Arg, Code, (usize, u32))> {
        // ip6tables has -f, to refuse it, but no long name for it.
        let known = LONG.iter().filter(|(name, ..)| self.family == Family::V4 || *name != "fragments");
        let own = known.map(|(name, arg, letter)| (*name, *arg, Code::Own(*letter), (usize::MAX, *letter as u32)));
        let extensions = self.groups.iter().rev().flat_map(|(group, options)| {
            options.iter().enumerate().map(|(index, opt)| {
                let arg = if opt.arg { Arg::Required } else { Arg::No };
                (opt.name, arg, Code::Extension(*group, index), (*group, u32::from(opt.id)))
            })
        });
        own.chain(extensions)
    }

    /// The number of an extension's option.
    fn id(&self, group: usize, index: usize) -> u8 {
        let found = self.groups.iter().rev().find(|(known, _)| *known == group);
        found.and_then(|(_, options)| options.get(index)).map_or(0, |opt| opt.id)
    }

    /// By its name or an unambiguous beginning of it.
    fn find(&self, name: &str) -> Option<(Arg, Code)> {
        let mut found: Option<(Arg, Code, (usize, u32))> = None;
        let mut ambiguous = false;
        let first = name.as_bytes().first();
        for (option, arg, code, id) in self.all() {
            if first.is_some() && option.as_bytes().first() != first {
                continue;
            }
            if option == name {
                return Some((arg, code));
            }
            if option.starts_with(name) {
                match found {
                    None => found = Some((arg, code, id)),
                    Some((first_arg, _, first_id)) => ambiguous |= first_arg != arg || first_id != id,
                }
            }
        }
        found.filter(|_| !ambiguous).map(|(arg, code, _)| (arg, code))
    }
}

/// Where the reading of a command line stands.
#[derive(Debug)]
pub(crate) struct Getopt<'a> {
    args: &'a [Cow<'a, str>],
    /// The next word.
    pub(crate) index: usize,
    /// The rest of a word of short options: word and byte offset.
    cluster: Option<(usize, usize)>,
}

impl<'a> Getopt<'a> {
    pub(crate) const fn new(args: &'a [Cow<'a, str>]) -> Self {
        Self { args, index: 0, cluster: None }
    }

    pub(crate) fn word(&self, index: usize) -> Option<&'a str> {
        self.args.get(index).map(AsRef::as_ref)
    }

    /// Whether words are left.
    pub(crate) const fn is_left(&self) -> bool {
        self.index < self.args.len()
    }

    /// Takes the next word if it begins neither with `-` nor with `!`.
    pub(crate) fn take_plain(&mut self) -> Option<&'a str> {
        let word = self.word(self.index).filter(|word| !word.starts_with(['-', '!']))?;
        self.index += 1;
        Some(word)
    }

    /// Goes back by a word, to read the same option again with more options known.
    pub(crate) const fn again(&mut self) {
        self.index = self.index.saturating_sub(1);
    }

    /// The next option or word; `None` at the end, or after `--`.
    pub(crate) fn next(&mut self, options: &LongOptions) -> Option<Found<'a>> {
        if let Some((word, offset)) = self.cluster.take() {
            return Some(self.short(word, offset));
        }
        let index = self.index;
        let word = self.word(index)?;
        if word == "--" {
            self.index += 1;
            return None;
        }
        if !word.starts_with('-') || word == "-" {
            self.index += 1;
            return Some(Found::Word(word));
        }
        match word.strip_prefix("--") {
            Some(long) => Some(self.long(long, options)),
            None => Some(self.short(index, 1)),
        }
    }

    fn long(&mut self, text: &'a str, options: &LongOptions) -> Found<'a> {
        self.index += 1;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some((arg, code)) = options.find(name) else { return Found::Unknown(None) };
        match (arg, value) {
            (Arg::No, Some(_)) => Found::Unknown(Some(match code {
                Code::Own(letter) => letter,
                Code::Extension(group, index) => char::from(options.id(group, index)),
            })),
            (Arg::Required, None) => match self.word(self.index) {
                Some(next) => {
                    self.index += 1;
                    Found::Option(code, Some(next))
                }
                None => Found::MissingArgument,
            },
            (_, value) => Found::Option(code, value),
        }
    }

    fn short(&mut self, word: usize, offset: usize) -> Found<'a> {
        let text = self.word(word).unwrap_or_default();
        let Some(letter) = text[offset..].chars().next() else { return Found::Unknown(None) };
        let rest = offset + letter.len_utf8();
        let last = rest == text.len();
        if last {
            self.index = word + 1;
        }
        let Some((_, arg)) = SHORT.iter().find(|(known, _)| *known == letter) else {
            self.cluster = (!last).then_some((word, rest));
            return Found::Unknown(Some(letter));
        };
        let code = Code::Own(letter);
        match arg {
            Arg::No => {
                self.cluster = (!last).then_some((word, rest));
                Found::Option(code, None)
            }
            _ if !last => {
                self.index = word + 1;
                Found::Option(code, Some(&text[rest..]))
            }
            Arg::Optional => Found::Option(code, None),
            Arg::Required => match self.word(self.index) {
                Some(next) => {
                    self.index += 1;
                    Found::Option(code, Some(next))
                }
                None => Found::MissingArgument,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(args: &[&str], expected: &[Found<'_>]) {
        let args: Vec<Cow<'_, str>> = args.iter().map(|s| Cow::Borrowed(*s)).collect();
        let mut getopt = Getopt::new(&args);
        let found: Vec<_> = std::iter::from_fn(|| getopt.next(&LongOptions::new(Family::V4))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn long_options_may_be_abbreviated_unless_ambiguous() {
        all(&["--app", "X"], &[Found::Option(Code::Own('A'), Some("X"))]);
        all(&["--list"], &[Found::Option(Code::Own('L'), None)]);
        all(&["--lis"], &[Found::Unknown(None)]);
        all(&["--line"], &[Found::Option(Code::Own('0'), None)]);
        all(&["--numeric=1"], &[Found::Unknown(Some('n'))]);
        all(&["--jump"], &[Found::MissingArgument]);
    }

    #[test]
    fn short_options_cluster_and_take_the_rest_of_the_word() {
        all(
            &["-nvL", "-LZ", "-ptcp", "x", "--", "-y"],
            &[
                Found::Option(Code::Own('n'), None),
                Found::Option(Code::Own('v'), None),
                Found::Option(Code::Own('L'), None),
                Found::Option(Code::Own('L'), Some("Z")),
                Found::Option(Code::Own('p'), Some("tcp")),
                Found::Word("x"),
            ],
        );
    }
}
