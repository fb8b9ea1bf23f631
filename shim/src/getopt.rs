//! getopt_long(3) as the save and restore commands use it: clusters of short options, unambiguous abbreviations of long
//! ones, options after operands. (The rule language of `iptables` itself has its own reader in the parser.)

use std::fmt;

/// Whether an option takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Never.
    None,
    /// Always: attached or the next word.
    Required,
    /// Only attached: `--wait=5`.
    Optional,
}

/// The options of one program.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Short options.
    pub short: &'static [(char, Arg)],
    /// Long options and the short one that each stands for.
    pub long: &'static [(&'static str, Arg, char)],
}

/// A refusal, in glibc's words (without the program's name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetoptError(String);

impl fmt::Display for GetoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Walks over the words of a command line.
#[derive(Debug)]
pub struct Getopt<'a> {
    spec: Spec,
    words: &'a [String],
    next: usize,
    /// The rest of a cluster such as `-cv`, as byte offset into `words[next - 1]`.
    cluster: Option<usize>,
    operands: Vec<&'a str>,
}

impl<'a> Getopt<'a> {
    /// Reads `words`, which do not include the program's name.
    #[must_use]
    pub const fn new(spec: Spec, words: &'a [String]) -> Self {
        Self { spec, words, next: 0, cluster: None, operands: Vec::new() }
    }

    /// The next option and its argument; `None` after the last.
    pub fn option(&mut self) -> Result<Option<(char, Option<&'a str>)>, GetoptError> {
        if let Some(at) = self.cluster.take() {
            return self.short(at).map(Some);
        }
        while let Some(word) = self.words.get(self.next) {
            self.next += 1;
            if word == "--" {
                self.operands.extend(self.words[self.next..].iter().map(String::as_str));
                self.next = self.words.len();
                return Ok(None);
            }
            if let Some(long) = word.strip_prefix("--") {
                return self.long(long).map(Some);
            }
            if word.len() > 1 && word.starts_with('-') {
                return self.short(1).map(Some);
            }
            self.operands.push(word);
        }
        Ok(None)
    }

    /// The next word if it can be an option's loose argument (`-w 5`): neither an option nor `!`.
    pub fn loose_argument(&mut self) -> Option<&'a str> {
        if self.cluster.is_some() {
            return None;
        }
        let word = self.words.get(self.next)?;
        if word.starts_with(['-', '!']) {
            return None;
        }
        self.next += 1;
        Some(word)
    }

    /// The words that are no options, once [`Self::option`] has returned `None`.
    #[must_use]
    pub fn operands(&self) -> &[&'a str] {
        &self.operands
    }

    fn short(&mut self, at: usize) -> Result<(char, Option<&'a str>), GetoptError> {
        let word = &self.words[self.next - 1];
        let Some(letter) = word[at..].chars().next() else {
            return Err(GetoptError("empty option cluster".to_owned()));
        };
        let rest = at + letter.len_utf8();
        let Some((_, arg)) = self.spec.short.iter().find(|(short, _)| *short == letter) else {
            self.cluster = (rest < word.len()).then_some(rest);
            return Err(GetoptError(format!("invalid option -- '{letter}'")));
        };
        let attached = (rest < word.len()).then(|| &word[rest..]);
        match (arg, attached) {
            (Arg::None, Some(_)) => {
                self.cluster = Some(rest);
                Ok((letter, None))
            }
            (Arg::None | Arg::Optional, None) => Ok((letter, None)),
            (Arg::Required | Arg::Optional, Some(value)) => Ok((letter, Some(value))),
            (Arg::Required, None) => match self.words.get(self.next) {
                Some(value) => {
                    self.next += 1;
                    Ok((letter, Some(value)))
                }
                None => Err(GetoptError(format!("option requires an argument -- '{letter}'"))),
            },
        }
    }

    fn long(&mut self, text: &'a str) -> Result<(char, Option<&'a str>), GetoptError> {
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let exact = self.spec.long.iter().find(|(long, ..)| *long == name);
        let mut candidates = self.spec.long.iter().filter(|(long, ..)| long.starts_with(name));
        let (long, arg, letter) = match (exact, candidates.next(), candidates.next()) {
            (Some(option), ..) | (None, Some(option), None) => *option,
            (None, None, _) => return Err(GetoptError(format!("unrecognized option '--{text}'"))),
            (None, Some(_), Some(_)) => {
                let all = self.spec.long.iter().filter(|(long, ..)| long.starts_with(name));
                let possibilities: String = all.map(|(long, ..)| format!(" '--{long}'")).collect();
                return Err(GetoptError(format!("option '--{text}' is ambiguous; possibilities:{possibilities}")));
            }
        };
        match (arg, attached) {
            (Arg::None, Some(_)) => Err(GetoptError(format!("option '--{long}' doesn't allow an argument"))),
            (Arg::Required, None) => match self.words.get(self.next) {
                Some(value) => {
                    self.next += 1;
                    Ok((letter, Some(value)))
                }
                None => Err(GetoptError(format!("option '--{long}' requires an argument"))),
            },
            (_, value) => Ok((letter, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec {
        short: &[('c', Arg::None), ('v', Arg::None), ('w', Arg::None), ('T', Arg::Required)],
        long: &[
            ("counters", Arg::None, 'c'),
            ("table", Arg::Required, 'T'),
            ("test", Arg::None, 't'),
            ("wait", Arg::Optional, 'w'),
            ("wait-interval", Arg::Optional, 'W'),
        ],
    };

    fn all(words: &[&str]) -> (Vec<String>, Vec<String>, Option<String>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut getopt = Getopt::new(SPEC, &words);
        let mut seen = Vec::new();
        loop {
            match getopt.option() {
                Ok(Some((letter, value))) => seen.push(match value {
                    Some(value) => format!("{letter}={value}"),
                    None if letter == 'w' => format!("w:{}", getopt.loose_argument().unwrap_or("none")),
                    None => letter.to_string(),
                }),
                Ok(None) => break,
                Err(error) => return (seen, Vec::new(), Some(error.to_string())),
            }
        }
        (seen, getopt.operands().iter().map(|word| (*word).to_owned()).collect(), None)
    }

    #[test]
    fn clusters_abbreviations_and_operands_in_any_order() {
        let (seen, operands, error) = all(&["file", "-cv", "--tab", "nat", "-Traw", "-w", "5", "--wait=7", "--", "-c"]);
        assert_eq!(seen, ["c", "v", "T=nat", "T=raw", "w:5", "w=7"]);
        assert_eq!(operands, ["file", "-c"]);
        assert_eq!(error, None);
    }

    #[test]
    fn a_loose_argument_is_never_an_option() {
        assert_eq!(all(&["-w", "-c"]).0, ["w:none", "c"]);
    }

    #[test]
    fn refusals_are_worded_as_glibc_words_them() {
        let error = |words: &[&str]| all(words).2.unwrap();
        assert_eq!(error(&["-z"]), "invalid option -- 'z'");
        assert_eq!(error(&["-w5"]), "invalid option -- '5'");
        assert_eq!(error(&["-T"]), "option requires an argument -- 'T'");
        assert_eq!(error(&["--nope=1"]), "unrecognized option '--nope=1'");
        assert_eq!(error(&["--table"]), "option '--table' requires an argument");
        assert_eq!(error(&["--te=1"]), "option '--test' doesn't allow an argument");
        assert_eq!(error(&["--t"]), "option '--t' is ambiguous; possibilities: '--table' '--test'");
    }
}
